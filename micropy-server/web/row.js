// One file in the list: its upload, then its job.

import { showCover } from "./covers.js";
import { describe } from "./options.js";
import { bytes, clock, percent, roughly, say, when } from "./words.js";

const FINAL = ["done", "failed", "cancelled"];
const template = document.getElementById("row-template");

/** Which buttons a row has in which phase. */
const ACTS = {
  waiting: ["pause", "cancel"],
  sending: ["pause", "cancel"],
  paused: ["resume", "cancel"],
  "cut off": ["resume", "cancel"],
  refused: ["delete"],
  left: ["pick", "cancel"],
  elsewhere: [],
  queued: ["cancel"],
  running: ["cancel"],
  done: ["play", "save", "delete"],
  failed: ["retry", "delete"],
  cancelled: ["retry", "delete"],
};

export class Row {
  job = null;
  upload = null;
  /** Of an upload that this page does not send: how much of it is there. */
  stored = null;
  isElsewhere = false;
  #said;
  /** Whose cover is shown, or will be. */
  #cover;

  constructor(act) {
    this.root = template.content.cloneNode(true).firstElementChild;
    this.place = this.find(".more-of");
    for (const button of this.root.querySelectorAll("[data-act]")) {
      button.addEventListener("click", () => act(button.dataset.act, this));
    }
  }

  find(selector) {
    return this.root.querySelector(selector);
  }

  /** Takes a view of the job. Answers and events overtake each other: an older one changes nothing. */
  see(job) {
    const known = this.job;
    if (known && job.updated < known.updated) return;
    if (known && job.updated === known.updated && FINAL.includes(known.state) && !FINAL.includes(job.state)) return;
    this.job = job;
  }

  get name() {
    return this.job?.file_name ?? this.upload.file.name;
  }

  get phase() {
    const { upload, job } = this;
    if (upload && !["sent", "gone"].includes(upload.phase)) {
      // The last byte is there before the browser knows.
      if (!job || job.state === "receiving") return upload.phase;
    }
    if (!job || (job.state === "receiving" && upload?.phase === "sent")) return "queued";
    if (job.state === "receiving") return this.isElsewhere ? "elsewhere" : "left";
    return job.state;
  }

  #status(phase) {
    const { upload, job } = this;
    switch (phase) {
      case "waiting":
        return "Waiting for its turn";
      case "sending": {
        if (!upload.sound) return "Looking for its sound";
        if (upload.isStalled) return `Waiting for the connection at ${percent(upload.fraction)}`;
        const left = (upload.size - upload.sent) / upload.speed;
        const rest = Number.isFinite(left) && left > 2 ? `, ${clock(left)} left` : "";
        const only = upload.isSoundOnly ? `, the sound of ${bytes(upload.file.size)}` : "";
        return `Uploading ${bytes(upload.sent)} of ${bytes(upload.size)}${only}${rest}`;
      }
      case "paused":
        return `Paused at ${percent(upload.fraction)}`;
      case "cut off":
        return `${upload.why} The upload goes on when the connection is back.`;
      case "refused":
        return upload.why;
      case "left": {
        const at = this.stored === null ? "" : ` at ${percent(this.stored / job.bytes)}`;
        return `The upload stopped${at}. Choose the file again to go on.`;
      }
      case "elsewhere":
        return "Uploading in another tab";
      case "queued":
        return inLine(job?.queue);
      case "running":
        return job.progress > 0 ? `Converting, ${percent(job.progress)}` : "Converting";
      case "done": {
        const { mp3 } = job;
        const facts = [bytes(mp3.bytes)];
        if (mp3.report?.duration) facts.unshift(clock(mp3.report.duration));
        if (mp3.report?.chapters) facts.push(mp3.report.chapters === 1 ? "1 chapter" : `${mp3.report.chapters} chapters`);
        if (mp3.report?.complete === false) facts.push("incomplete");
        if (upload?.isSoundOnly) facts.push(`${bytes(upload.size)} of ${bytes(upload.file.size)} sent`);
        if (job.mailed) facts.push(`mail sent ${when(job.mailed)}`);
        return facts.join(" \u00b7 ");
      }
      case "failed":
        return isDamage(job) ? "The file is damaged, or was not copied whole." : sentence(job.failure ?? "The conversion failed.");
      case "cancelled":
        return "Cancelled";
    }
  }

  #fraction(phase) {
    if (["waiting", "sending", "paused", "cut off"].includes(phase)) return this.upload.fraction;
    if (phase === "left") return (this.stored ?? 0) / this.job.bytes;
    if (phase === "running") return this.job.progress;
    return phase === "queued" ? 0 : null;
  }

  render() {
    const phase = this.phase;
    const before = this.root.dataset.phase;
    const focused = this.root.contains(document.activeElement) ? document.activeElement : null;
    this.root.dataset.phase = phase;
    this.root.classList.toggle("is-stalled", phase === "sending" && this.upload.isStalled);
    this.find(".name").textContent = phase === "done" ? this.job.mp3.file_name : this.name;
    const status = this.#status(phase);
    const asked = ["queued", "running"].includes(phase) && this.job ? describe(this.job.options ?? {}) : "";
    this.find(".status").textContent = asked ? `${status} \u00b7 ${asked}` : status;
    const detail = this.find(".detail");
    detail.hidden = phase !== "failed" || !isDamage(this.job);
    if (!detail.hidden) detail.querySelector("p").textContent = sentence(this.job.failure);
    // A ZIP file of chapters is there to be saved.
    const isZip = phase === "done" && this.job.mp3.content_type === "application/zip";
    const acts = ACTS[phase].filter((act) => act !== "play" || !isZip);
    for (const button of this.root.querySelectorAll("[data-act]")) {
      button.hidden = !acts.includes(button.dataset.act);
      const label = { play: "Play", pause: "Pause", resume: "Resume", pick: "Choose file for", retry: "Try again:", save: "Download", cancel: "Cancel", delete: phase === "refused" ? "Dismiss" : "Delete" };
      if (button.dataset.act !== "play" || !button.ariaLabel) button.ariaLabel = `${label[button.dataset.act]} ${this.name}`;
    }
    if (phase === "done") {
      const save = this.find("[data-act=save]");
      save.href = `${this.job.mp3.url}?download=1`;
      save.download = this.job.mp3.file_name;
    }
    this.#labels(phase);
    this.#meter(phase);
    // A button that goes takes the focus along, and the keyboard's place in the page.
    if (focused?.hidden) this.find("[data-act]:not([hidden])")?.focus();
    if (before !== undefined && before !== phase) this.#tell(phase, status);
  }

  /** What the MP3 says of itself. */
  #labels(phase) {
    const { fid, report } = (phase === "done" && this.job.mp3) || {};
    const { title, artist, album } = report ?? {};
    const labels = this.find(".labels");
    labels.textContent = [[title, artist].filter(Boolean).join(" \u2014 "), album].filter(Boolean).join(" \u00b7 ");
    labels.hidden = !labels.textContent;
    if (!report?.cover || this.#cover === fid) return;
    this.#cover = fid;
    showCover(this.root, this.find(".thumb"), this.job.mp3);
  }

  #meter(phase) {
    const meter = this.find(".meter");
    const fraction = this.#fraction(phase);
    meter.hidden = fraction === null;
    if (fraction === null) return;
    const hundredths = Math.floor(fraction * 100);
    meter.setAttribute("aria-label", `${phase === "running" || phase === "queued" ? "Conversion" : "Upload"} of ${this.name}`);
    meter.setAttribute("aria-valuenow", hundredths);
    meter.firstElementChild.style.transform = `scaleX(${fraction})`;
  }

  #tell(phase, status) {
    const news = {
      queued: "is uploaded.",
      done: "is ready.",
      failed: `failed. ${status}`,
      refused: `was not taken. ${status}`,
      paused: "is paused.",
      "cut off": "waits for the connection.",
      cancelled: "is cancelled.",
    }[phase];
    if (!news || this.#said === phase) return;
    this.#said = phase;
    say(`${this.name} ${news}`);
  }

  /** The player was opened, closed, started or paused. */
  playing(isOpen, isPlaying) {
    const button = this.find("[data-act=play]");
    button.setAttribute("aria-expanded", String(isOpen));
    button.ariaLabel = `${isPlaying ? "Pause" : "Play"} ${this.name}`;
    button.querySelector("use").setAttribute("href", isPlaying ? "#pause" : "#play");
    this.root.classList.toggle("is-open", isOpen);
  }
}

/** Where a job stands, as far as that is known. */
function inLine(queue) {
  if (!queue) return "In line";
  const { position, begins_in: seconds } = queue;
  const place = position === 1 ? "Next in line" : position ? `Number ${position} in line` : "Waiting for your other files";
  return seconds === null ? place : `${place}, begins in ${roughly(seconds)}`;
}

/** The engine says which bytes of the file are wrong, which is of use to few. */
function isDamage(job) {
  return /^malformed .* at byte \d+/.test(job.failure ?? "");
}

/** What the engine says begins small and has no full stop. */
function sentence(text) {
  const upper = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(upper) ? upper : `${upper}.`;
}
