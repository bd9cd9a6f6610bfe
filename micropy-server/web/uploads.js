// Uploads in parts (tus 1.0): paused, resumed, also after a reload, when the same file is chosen again.

import { Problem, UNREACHABLE, request } from "./api.js";
import { back } from "./session.js";

const ENDPOINT = "/api/v1/tus";
const TUS = { "tus-resumable": "1.0.0" };
/** At the same time: browsers open six connections to one host, and the rest of the page needs some. */
const AT_ONCE = 2;
/** So much is lost at most where a proxy holds requests back until they are whole. */
const PART = 64 * 1024 * 1024;
const PAUSES = [0, 1000, 3000, 5000, 10000, 20000, 30000];
/** What an MP4 file may begin with (ISO/IEC 14496-12 and QuickTime). */
const FIRST_BOXES = "ftyp styp moov moof mdat free skip wide pnot uuid sidx PICT".split(" ");

/** 24 hexadecimal digits. */
export function newId() {
  const random = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(random, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Why a file need not be sent at all, or nothing. */
async function unfit(file, largest) {
  if (file.size === 0) return "The file is empty.";
  if (file.size > largest) return "The file is too large for this service.";
  let start;
  try {
    start = new Uint8Array(await file.slice(4, 8).arrayBuffer());
  } catch {
    return "The browser cannot read this file.";
  }
  const kind = String.fromCharCode(...start);
  return kind.length < 4 || FIRST_BOXES.includes(kind) ? null : "This is not an MP4, M4A, MOV or 3GP file.";
}

/** How much of an upload the service has; an upload that it does not know is a `Problem`. */
export async function offset(url) {
  const answer = await request(url, { method: "HEAD", headers: TUS });
  return Number(answer.headers.get("upload-offset"));
}

/** Whether another tab sends this job's file just now; false where the browser cannot tell. */
export async function isElsewhere(id) {
  const locks = await navigator.locks?.query();
  return Boolean(locks?.held.some((lock) => lock.name === lockName(id)));
}

const lockName = (id) => `micropy-upload-${id}`;

/** The uploads of this page. */
export class Uploads {
  #all = new Set();
  #largest;
  #email;

  constructor(email, largest) {
    this.#email = email;
    this.#largest = largest;
    addEventListener("online", () => this.#wake());
    addEventListener("beforeunload", (event) => {
      if ([...this.#all].some((upload) => upload.isUnderWay)) event.preventDefault();
    });
  }

  /** The connection is there again: what waits for it goes on. */
  reconnected() {
    this.#wake();
  }

  #wake() {
    for (const upload of this.#all) if (upload.phase === "cut off") upload.resume();
  }

  /** Sends a file. `changed(upload)` is called whenever something about it is new. */
  add(file, { options, batch, resumeAt }, changed) {
    const isTaken = (id) => [...this.#all].some((other) => other !== upload && other.jobId === id);
    const upload = new Upload(file, { options, batch, resumeAt, email: this.#email, isTaken }, () => {
      if (upload.isOver) this.#all.delete(upload);
      changed(upload);
      this.#start();
    });
    this.#all.add(upload);
    unfit(file, this.#largest).then((why) => {
      if (why) upload.refuse(why);
      else upload.admit();
    });
    return upload;
  }

  #start() {
    const sending = [...this.#all].filter((upload) => upload.phase === "sending").length;
    const next = [...this.#all].filter((upload) => upload.phase === "waiting" && upload.isAdmitted);
    for (const upload of next.slice(0, Math.max(0, AT_ONCE - sending))) upload.start();
  }
}

/** One file on its way. Phases: waiting, sending, paused, cut off, refused, sent, gone. */
class Upload {
  phase = "waiting";
  isAdmitted = false;
  sent = 0;
  why = "";
  jobId = null;
  /** Bytes a second, lately. */
  speed = 0;
  /** The connection broke, and the next try has not come through yet. */
  isStalled = false;
  #tus;
  #changed;
  #release = () => {};
  #mark = { at: 0, sent: 0 };
  #isTaken;

  constructor(file, { options, batch, resumeAt, email, isTaken }, changed) {
    this.file = file;
    this.batch = batch;
    this.#changed = changed;
    this.#isTaken = isTaken;
    this.jobId = resumeAt?.split("/").pop() ?? null;
    this.#tus = new tus.Upload(file, {
      endpoint: ENDPOINT,
      uploadUrl: resumeAt,
      chunkSize: PART,
      retryDelays: PAUSES,
      removeFingerprintOnSuccess: true,
      headers: { "Idempotency-Key": newId() },
      metadata: { filename: file.name, batch, ...options },
      fingerprint: async () => ["micropy", email, file.name, file.size, file.lastModified].join("-"),
      onShouldRetry: (e) => this.#mayRetry(e.originalResponse),
      onUploadUrlAvailable: () => this.#named(this.#tus.url.split("/").pop()),
      onProgress: (sent) => this.#progress(sent),
      onSuccess: () => this.#enter("sent"),
      onError: (e) => this.#failed(e.originalResponse),
    });
  }

  get fraction() {
    return this.file.size ? this.sent / this.file.size : 0;
  }

  get isUnderWay() {
    return ["waiting", "sending", "cut off"].includes(this.phase);
  }

  get isOver() {
    return ["sent", "gone", "refused"].includes(this.phase);
  }

  admit() {
    this.isAdmitted = true;
    this.#changed();
  }

  refuse(why) {
    this.why = why;
    this.#enter("refused");
  }

  async start() {
    this.#enter("sending");
    this.#mark = { at: performance.now(), sent: this.sent };
    if (!this.jobId) {
      const before = await this.#leftBehind();
      if (before) this.#tus.resumeFromPreviousUpload(before);
    }
    if (this.phase === "sending") this.#tus.start();
  }

  /** An upload of this file that broke off before; not one that is under way, here or in another tab. */
  async #leftBehind() {
    for (const before of await this.#tus.findPreviousUploads()) {
      const id = before.uploadUrl?.split("/").pop();
      if (id && !this.#isTaken(id) && !(await isElsewhere(id))) return before;
    }
    return null;
  }

  pause() {
    this.#enter("paused");
    this.#tus.abort();
  }

  resume() {
    this.#enter("waiting");
  }

  /** Gives the upload up, here and at the service. */
  async cancel() {
    const url = this.#tus.url;
    this.#enter("gone");
    await this.#tus.abort();
    if (!url) return;
    try {
      await request(url, { method: "DELETE", headers: TUS });
    } catch (problem) {
      if (problem.status !== 404) throw problem;
    }
  }

  #enter(phase) {
    this.phase = phase;
    this.speed = 0;
    this.isStalled = false;
    if (phase !== "sending") this.#release();
    this.#changed();
  }

  #named(id) {
    this.jobId = id;
    // Other tabs see by the lock that this upload is not left alone.
    navigator.locks?.request(lockName(id), { ifAvailable: true }, () => {
      return new Promise((resolve) => (this.#release = resolve));
    });
    this.#changed();
  }

  #progress(sent) {
    if (this.phase !== "sending") return;
    // At first, what the service has already.
    this.isStalled &&= sent <= this.sent;
    this.sent = sent;
    const now = performance.now();
    const seconds = (now - this.#mark.at) / 1000;
    if (seconds > 1) {
      const lately = (sent - this.#mark.sent) / seconds;
      this.speed = this.speed ? 0.7 * this.speed + 0.3 * lately : lately;
      this.#mark = { at: now, sent };
    }
    this.#changed();
  }

  #mayRetry(response) {
    const status = response?.getStatus() ?? 0;
    const mayPass = status === 0 || status === 409 || status === 423 || (status >= 500 && status !== 507);
    if (this.phase !== "sending" || !mayPass) return false;
    this.isStalled = true;
    this.speed = 0;
    this.#changed();
    return true;
  }

  #failed(response) {
    if (this.phase !== "sending") return;
    const status = response?.getStatus() ?? 0;
    if (status === 401) {
      this.#enter("paused");
      back().then(() => this.phase === "paused" && this.resume());
    } else if (status === 0 || (status >= 500 && status !== 507)) {
      this.why = UNREACHABLE;
      this.#enter("cut off");
    } else {
      this.refuse(Problem.from(status, response.getBody(), response.getHeader("retry-after")).message);
    }
  }
}
