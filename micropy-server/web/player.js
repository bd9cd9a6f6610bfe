// The player: one at a time, in the row of its file.

import { call } from "./api.js";
import { readTag } from "./id3.js";
import { describe } from "./options.js";
import { COUNT, LARGEST, outline, stored } from "./peaks.js";
import { clock, spoken, when } from "./words.js";
import WaveSurfer from "./vendor/wavesurfer.esm.js";

/** A step of the arrow keys, in seconds. */
const STEP = 5;
/** Outlines that were drawn already, by MP3: an MP3 never changes. */
const known = new Map();

const dark = matchMedia("(prefers-color-scheme: dark)");

let current = null;

/** Plays or pauses `job` in `place`; `changed(isOpen, isPlaying)` tells the row. */
export function toggle(job, email, place, changed) {
  if (current?.job.id === job.id) return current.toggle();
  current?.close();
  current = new Player(job, email, place, changed);
  current.toggle();
}

/** Puts the player away if it has this job. */
export function close(jobId) {
  if (current?.job.id === jobId) current.close();
}

class Player {
  #audio = new Audio();
  #stop = new AbortController();
  #wave;
  #peaks;
  #cover;

  constructor(job, email, place, changed) {
    this.job = job;
    this.place = place;
    this.changed = changed;
    this.duration = job.mp3.report?.duration || 0;
    const fragment = document.getElementById("player-template").content.cloneNode(true);
    this.root = fragment.firstElementChild;
    this.root.setAttribute("aria-label", `Player: ${job.mp3.file_name}`);
    place.replaceChildren(fragment, this.#audio);
    place.hidden = false;
    this.#listen();
    this.#facts(email);
    this.#draw();
    this.#tag();
  }

  toggle() {
    if (this.#audio.paused) this.#audio.play().catch((e) => e.name !== "AbortError" && this.#wrong());
    else this.#audio.pause();
  }

  close() {
    this.#stop.abort();
    this.#audio.pause();
    this.#audio.removeAttribute("src");
    this.#audio.load();
    this.#wave.destroy();
    if (this.#cover) URL.revokeObjectURL(this.#cover);
    this.place.replaceChildren();
    this.place.hidden = true;
    current = null;
    this.changed(false, false);
  }

  #find(selector) {
    return this.root.querySelector(selector);
  }

  #listen() {
    const audio = this.#audio;
    const seek = this.#find(".seek");
    audio.preload = "metadata";
    audio.src = this.job.mp3.url;
    const on = (name, handler) => audio.addEventListener(name, handler, { signal: this.#stop.signal });
    on("play", () => {
      this.changed(true, true);
      this.#follow();
    });
    on("pause", () => this.changed(true, false));
    on("error", () => this.#wrong());
    on("durationchange", () => {
      if (Number.isFinite(audio.duration)) this.duration = audio.duration;
      this.#time();
    });
    on("timeupdate", () => this.#time());
    on("seeked", () => this.#time());
    seek.addEventListener("input", () => this.#go(Number(seek.value)));
    seek.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -STEP, ArrowDown: -STEP, ArrowRight: STEP, ArrowUp: STEP }[event.key];
      if (!step) return;
      event.preventDefault();
      this.#go(audio.currentTime + step);
    });
    for (const button of this.root.querySelectorAll("[data-skip]")) {
      button.onclick = () => this.#go(audio.currentTime + Number(button.dataset.skip));
    }
    this.#find(".speed select").onchange = (event) => (audio.playbackRate = Number(event.target.value));
    dark.addEventListener("change", () => this.#colour(), { signal: this.#stop.signal });
    this.#time();
  }

  /** Moves the position along; `timeupdate` comes four times a second only. */
  #follow() {
    if (this.#audio.paused || this.#stop.signal.aborted) return;
    this.#find(".seek").value = this.#audio.currentTime;
    requestAnimationFrame(() => this.#follow());
  }

  #go(seconds) {
    this.#audio.currentTime = Math.min(Math.max(0, seconds), this.duration || 0);
    this.#time();
  }

  #time() {
    const now = this.#audio.currentTime;
    const seek = this.#find(".seek");
    seek.max = this.duration;
    seek.value = now;
    seek.setAttribute("aria-valuetext", `${spoken(now)} of ${spoken(this.duration)}`);
    this.#find(".now").textContent = clock(now);
    this.#find(".end").textContent = clock(this.duration);
    for (const button of this.root.querySelectorAll(".chapters button")) {
      const inside = now >= Number(button.dataset.start) && now < Number(button.dataset.end);
      if (inside) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    }
  }

  async #wrong() {
    if (this.#stop.signal.aborted) return;
    let why = "The browser cannot play this file.";
    try {
      // A session that has ended is noticed by this.
      await call("GET", `/api/v1/jobs/${this.job.id}`);
    } catch (problem) {
      why = problem.message;
    }
    this.#find(".wrong").textContent = why;
  }

  #colours() {
    const style = getComputedStyle(this.root);
    return {
      waveColor: style.getPropertyValue("--wave").trim(),
      progressColor: style.getPropertyValue("--accent").trim(),
    };
  }

  #colour() {
    this.#wave.setOptions(this.#colours());
  }

  #draw() {
    const { mp3 } = this.job;
    const flat = new Float32Array(COUNT).fill(0.04);
    this.#peaks = known.get(mp3.fid) ?? flat;
    this.#wave = WaveSurfer.create({
      container: this.#find(".drawing"),
      height: 64,
      barWidth: 2,
      barGap: 1.5,
      barRadius: 1,
      barMinHeight: 2,
      cursorWidth: 0,
      interact: false,
      hideScrollbar: true,
      media: this.#audio,
      peaks: [this.#peaks],
      duration: this.duration || 1,
      ...this.#colours(),
    });
    if (known.has(mp3.fid) || !this.duration) return;
    const drawn = (peaks) => {
      if (this.#stop.signal.aborted) return;
      const loudest = Math.max(...peaks, 0.05);
      this.#peaks = peaks.map((peak) => Math.max(0.04, peak / loudest));
      // With the URL that it has, the sound is let be; a drawing that is not done yet is superseded.
      this.#wave.load(this.#audio.src, [this.#peaks], this.duration).catch(() => {});
    };
    this.#outline(drawn)
      .then((isWhole) => isWhole && known.set(mp3.fid, this.#peaks))
      // The picture is a help, not the thing: playing tells what is wrong, if anything is.
      .catch(() => {});
  }

  /** Draws the outline that the service has, or that of the MP3; whether it is whole. */
  async #outline(drawn) {
    const { mp3 } = this.job;
    const { signal } = this.#stop;
    if (mp3.peaks) {
      try {
        drawn(await stored(mp3.peaks, signal));
        return !signal.aborted;
      } catch (e) {
        if (e.name === "AbortError") return false;
      }
    }
    if (mp3.bytes > LARGEST) return false;
    await outline(mp3.url, this.duration, drawn, signal);
    return true;
  }

  async #tag() {
    let tag;
    try {
      tag = await readTag(this.job.mp3.url, this.#stop.signal);
    } catch {
      return;
    }
    const title = [tag.title, tag.artist].filter(Boolean).join(" \u2014 ");
    if (title) {
      this.#find(".title").textContent = title;
      this.#find(".title").hidden = false;
    }
    if (tag.cover) {
      this.#cover = URL.createObjectURL(tag.cover);
      this.#find(".cover").src = this.#cover;
      this.#find(".cover").hidden = false;
    }
    if (tag.chapters.length) {
      this.#find(".chapters").hidden = false;
      this.#find(".chapters ol").replaceChildren(...tag.chapters.map((chapter, i) => this.#chapter(chapter, i)));
    }
    if ("mediaSession" in navigator) {
      const named = { title: tag.title || this.job.mp3.file_name, artist: tag.artist };
      navigator.mediaSession.metadata = new MediaMetadata(named);
    }
    this.#time();
  }

  #chapter(chapter, i) {
    const item = document.createElement("li");
    const button = document.createElement("button");
    const [name, time] = [document.createElement("span"), document.createElement("span")];
    button.type = "button";
    button.dataset.start = chapter.start;
    button.dataset.end = chapter.end;
    name.textContent = chapter.title || `Chapter ${i + 1}`;
    time.textContent = clock(chapter.start);
    button.append(name, " ", time);
    button.onclick = () => {
      this.#go(chapter.start);
      if (this.#audio.paused) this.toggle();
    };
    item.append(button);
    return item;
  }

  #facts(email) {
    const { report } = this.job.mp3;
    const channels = { 1: "mono", 2: "stereo" }[report?.channels];
    const facts = [
      ["From", [this.job.file_name, report?.codec].filter(Boolean).join(", ")],
      ["Sound", [report?.sample_rate && `${report.sample_rate / 1000} kHz`, channels].filter(Boolean).join(", ")],
      ["Asked for", describe(this.job.options ?? {})],
      ["Mail", this.job.mailed ? `sent to ${email}, ${when(this.job.mailed)}` : "on its way"],
      ["Note", report?.complete === false ? "The video was incomplete; this is what there was." : ""],
      ...(report?.warnings ?? []).map((warning) => ["Note", String(warning)]),
    ];
    for (const [name, value] of facts) {
      if (!value) continue;
      const pair = document.createElement("div");
      const [term, text] = [document.createElement("dt"), document.createElement("dd")];
      term.textContent = name;
      text.textContent = value;
      pair.append(term, text);
      this.#find(".facts").append(pair);
    }
  }
}
