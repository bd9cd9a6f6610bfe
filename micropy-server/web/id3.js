// What an MP3 says of itself: title, artist, cover and chapters from its ID3v2.3 or 2.4 tag
// (https://id3.org/id3v2.4.0-structure, https://id3.org/id3v2-chapters-1.0).

import { request } from "./api.js";

const HEADER = 10;
/** A tag larger than this is not read to its end. */
const LARGEST = 16 * 1024 * 1024;
/** Bytes of the frames before the cover, which are texts. */
const TEXTS = 32 * 1024;

const latin1 = new TextDecoder("latin1");
const DECODERS = [latin1, new TextDecoder("utf-16"), new TextDecoder("utf-16be"), new TextDecoder("utf-8")];

async function part(url, first, last, options) {
  const answer = await request(url, { headers: { range: `bytes=${first}-${last}` }, ...options });
  return new Uint8Array(await answer.arrayBuffer());
}

const isTag = (bytes) => latin1.decode(bytes.subarray(0, 3)) === "ID3";

/** Reads the tag at the start of the MP3 at `url`. */
export async function readTag(url, signal) {
  const head = await part(url, 0, HEADER - 1, { signal });
  if (!isTag(head)) return parse(new Uint8Array(), 4);
  const size = Math.min(synchsafe(head, 6), LARGEST);
  return parse(size ? await part(url, HEADER, HEADER + size - 1, { signal }) : new Uint8Array(), head[3]);
}

/** Reads the front cover, of `length` bytes, of the MP3 at `url`: nothing of the chapters behind it. */
export async function readCover(url, length) {
  // It is asked for by nobody: a session that has ended is noticed by what people do.
  const start = await part(url, 0, TEXTS + length - 1, { anonymous: true });
  return isTag(start) ? parse(start.subarray(HEADER), start[3]).cover : null;
}

const uint32 = (bytes, at) => ((bytes[at] << 24) | (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3]) >>> 0;
const synchsafe = (bytes, at) => (bytes[at] << 21) | (bytes[at + 1] << 14) | (bytes[at + 2] << 7) | bytes[at + 3];

function* frames(bytes, version) {
  let at = 0;
  while (at + HEADER <= bytes.length && bytes[at] !== 0) {
    const id = latin1.decode(bytes.subarray(at, at + 4));
    const size = version === 4 ? synchsafe(bytes, at + 4) : uint32(bytes, at + 4);
    const body = bytes.subarray(at + HEADER, at + HEADER + size);
    if (body.length < size) return;
    yield { id, body };
    at += HEADER + size;
  }
}

function parse(bytes, version) {
  const tag = { title: "", artist: "", cover: null, chapters: [] };
  for (const { id, body } of frames(bytes, version)) {
    if (id === "TIT2") tag.title = text(body);
    else if (id === "TPE1") tag.artist = text(body);
    else if (id === "APIC" && !tag.cover) tag.cover = picture(body);
    else if (id === "CHAP") tag.chapters.push(chapter(body, version));
  }
  tag.chapters.sort((a, b) => a.start - b.start);
  return tag;
}

/** A text frame: a byte for the encoding, then values parted by NUL. */
function text(body) {
  const decoder = DECODERS[body[0]] ?? latin1;
  return decoder.decode(body.subarray(1)).split("\0").filter(Boolean).join(", ");
}

/** Where a text that ends with NUL ends. */
function afterNul(bytes, at, wide) {
  const step = wide ? 2 : 1;
  while (at + step <= bytes.length && (bytes[at] !== 0 || (wide && bytes[at + 1] !== 0))) at += step;
  return at + step;
}

/** Encoding, media type, kind, description, the picture. */
function picture(body) {
  const typeEnds = afterNul(body, 1, false);
  const type = latin1.decode(body.subarray(1, typeEnds - 1));
  // Nothing else is shown: an SVG could carry more than a picture.
  if (!["image/jpeg", "image/png"].includes(type)) return null;
  const starts = afterNul(body, typeEnds + 1, body[0] === 1 || body[0] === 2);
  return new Blob([body.subarray(starts)], { type });
}

/** Identifier, start and end in milliseconds, two places in the file, frames. */
function chapter(body, version) {
  const at = afterNul(body, 0, false);
  const title = [...frames(body.subarray(at + 16), version)].find((frame) => frame.id === "TIT2");
  return { start: uint32(body, at) / 1000, end: uint32(body, at + 4) / 1000, title: title ? text(title.body) : "" };
}
