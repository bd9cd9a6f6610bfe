// Uploads in parts (tus 1.0): paused, resumed, also after a reload, when the same file is chosen again.

import { Problem, UNREACHABLE, request } from "./api.js";
import { back } from "./session.js";
import { soundOf } from "./sound.js";

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
async function unfit(file) {
  if (file.size === 0) return "The file is empty.";
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

  /**
   * Sends a file. `changed(upload)` is called whenever something about it is new. With `resumeAt`, `sound` is what was
   * sent of it before.
   */
  add(file, { options, batch, resumeAt, sound }, changed) {
    const isTaken = (id) => [...this.#all].some((other) => other !== upload && other.jobId === id);
    const about = { options, batch, resumeAt, sound, email: this.#email, largest: this.#largest, isTaken };
    const upload = new Upload(file, about, () => {
      if (upload.isOver) this.#all.delete(upload);
      changed(upload);
      this.#start();
    });
    this.#all.add(upload);
    unfit(file).then((why) => {
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
  /** What is sent of the file, once that is known. */
  sound = null;
  #tus = null;
  #about;
  #changed;
  #release = () => {};
  #mark = { at: 0, sent: 0 };
  /** How often it was started. */
  #runs = 0;

  constructor(file, about, changed) {
    this.file = file;
    this.batch = about.batch;
    this.sound = about.sound ?? null;
    this.#about = about;
    this.#changed = changed;
    this.jobId = about.resumeAt?.split("/").pop() ?? null;
  }

  /** Makes the upload of what is to be sent. */
  #make() {
    const { options, batch, resumeAt, email } = this.#about;
    const { file, sound } = this;
    return new tus.Upload(sound.blob, {
      endpoint: ENDPOINT,
      uploadUrl: resumeAt,
      chunkSize: PART,
      retryDelays: PAUSES,
      removeFingerprintOnSuccess: true,
      headers: { "Idempotency-Key": newId() },
      metadata: { filename: file.name, batch, ...options },
      // What is resumed has to be the same bytes.
      fingerprint: async () => ["micropy", email, file.name, file.size, file.lastModified, sound.digest].join("-"),
      onShouldRetry: (e) => this.#mayRetry(e.originalResponse),
      onUploadUrlAvailable: () => this.#named(this.#tus.url.split("/").pop()),
      onProgress: (sent) => this.#progress(sent),
      onSuccess: () => this.#enter("sent"),
      onError: (e) => this.#failed(problemOf(e.originalResponse)),
    });
  }

  /** Bytes to be sent. */
  get size() {
    return this.sound?.size ?? this.file.size;
  }

  /** Less is sent than the file. */
  get isSoundOnly() {
    return this.size < this.file.size;
  }

  get fraction() {
    return this.size ? this.sent / this.size : 0;
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
    const run = ++this.#runs;
    const isOver = () => this.phase !== "sending" || this.#runs !== run;
    try {
      this.sound ??= await soundOf(this.file, this.#about.options);
    } catch (problem) {
      if (!isOver()) this.#failed(problem);
      return;
    }
    if (isOver()) return;
    if (this.size > this.#about.largest) {
      this.refuse("The file is too large for this service.");
      return;
    }
    this.#tus ??= this.#make();
    if (!this.jobId) {
      const before = await this.#leftBehind();
      if (before) this.#tus.resumeFromPreviousUpload(before);
    }
    if (!isOver()) this.#tus.start();
  }

  /** An upload of this file that broke off before; not one that is under way, here or in another tab. */
  async #leftBehind() {
    for (const before of await this.#tus.findPreviousUploads()) {
      const id = before.uploadUrl?.split("/").pop();
      if (id && !this.#about.isTaken(id) && !(await isElsewhere(id))) return before;
    }
    return null;
  }

  pause() {
    this.#enter("paused");
    this.#tus?.abort();
  }

  resume() {
    this.#enter("waiting");
  }

  /** Gives the upload up, here and at the service. */
  async cancel() {
    const url = this.#tus ? this.#tus.url : this.#about.resumeAt;
    this.#enter("gone");
    await this.#tus?.abort();
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

  #failed(problem) {
    if (this.phase !== "sending") return;
    const { status } = problem;
    if (status === 401) {
      this.#enter("paused");
      back().then(() => this.phase === "paused" && this.resume());
    } else if (status === 0 || (status >= 500 && status !== 507)) {
      this.why = UNREACHABLE;
      this.#enter("cut off");
    } else {
      this.refuse(problem.message);
    }
  }
}

function problemOf(response) {
  if (!response) return new Problem(0, UNREACHABLE);
  return Problem.from(response.getStatus(), response.getBody(), response.getHeader("retry-after"));
}
