// Of a video, only its sound is sent. The service says which bytes that is, by the video's outline: everything but the
// media (docs/api.md).

import { request } from "./api.js";

/** Boxes whose contents the outline has. */
const HELD = "ftyp moov moof meta udta sidx".split(" ");
/** An outline of more boxes takes longer to read than it saves, and one of more bytes the service refuses. */
const MOST_BOXES = 20_000;
const LONGEST = 32 * 1024 * 1024;
/** A smaller file is sent as fast as it is looked into. */
const WORTH_IT = 1024 * 1024;
const BUSY = [429, 503];

/** The file as it is. */
function whole(file) {
  return { blob: file, size: file.size, digest: "" };
}

/**
 * What to send of a video: a `blob` of `size` bytes, and the `digest` by which the same is known again. A `Problem` where
 * the service cannot be asked now.
 */
export async function soundOf(file, { track, language } = {}) {
  if (file.size < WORTH_IT) return whole(file);
  try {
    const outline = await outlineOf(file);
    if (!outline) return whole(file);
    const query = new URLSearchParams({ size: file.size });
    if (track !== undefined) query.set("track", track);
    if (language !== undefined) query.set("language", language);
    const { size, parts, digest, whole: why } = await asked(`/api/v1/sound?${query}`, outline);
    if (why) return whole(file);
    const pieces = parts.map((part) => (Array.isArray(part) ? file.slice(part[0], part[0] + part[1]) : decoded(part)));
    const blob = new Blob(pieces);
    return blob.size === size ? { blob, size, digest } : whole(file);
  } catch (problem) {
    if (problem.status === 0 || problem.status === 401) throw problem;
    // The upload itself will say what is wrong.
    return whole(file);
  }
}

/** What was sent of a video before, if its upload was of so many bytes; nothing where it is another video. */
export async function sentBefore(file, job) {
  if (file.name !== job.file_name) return null;
  if (file.size === job.bytes) return whole(file);
  const sound = await soundOf(file, job.options ?? {});
  return sound.size === job.bytes ? sound : null;
}

/** The outline; nothing where the file is not boxes from its beginning to its end. */
async function outlineOf(file) {
  const pieces = [];
  let length = 0;
  let at = 0;
  while (file.size - at >= 8) {
    const head = new DataView(await file.slice(at, at + 16).arrayBuffer());
    const kind = String.fromCharCode(...new Uint8Array(head.buffer, 4, 4));
    let size = head.getUint32(0);
    let header = 8;
    if (size === 0) size = file.size - at;
    if (size === 1) {
      if (head.byteLength < 16) return null;
      size = Number(head.getBigUint64(8));
      header = 16;
    }
    if (size < header || at + size > file.size) return null;
    const held = HELD.includes(kind) ? size : header;
    length += held;
    if (pieces.push(file.slice(at, at + held)) > MOST_BOXES || length > LONGEST) return null;
    at += size;
  }
  return new Blob(pieces);
}

/** The service's answer to an outline. It may be busy with those of others. */
async function asked(path, outline) {
  const headers = { "content-type": "application/octet-stream" };
  let body = outline;
  if (globalThis.CompressionStream) {
    body = await new Response(outline.stream().pipeThrough(new CompressionStream("deflate"))).blob();
    headers["content-encoding"] = "deflate";
  }
  for (let tries = 1; ; tries++) {
    try {
      return await (await request(path, { method: "POST", headers, body })).json();
    } catch (problem) {
      if (!BUSY.includes(problem.status) || tries === 3) throw problem;
      await new Promise((resolve) => setTimeout(resolve, 1000 * (problem.retryAfter || 1)));
    }
  }
}

function decoded(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}
