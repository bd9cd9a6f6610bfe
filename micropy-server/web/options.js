// How to convert: the form behind the disclosure.

import { clock, parseClock } from "./words.js";

const KEPT = "micropy.options";
const QUALITIES = {
  best: { preset: "music" },
  speech: { preset: "speech" },
  podcast: { preset: "podcast" },
  small: { preset: "small" },
  moviepy: { preset: "moviepy" },
};
/** What the presets set, as the API's document says it. */
const PRESETS = {
  speech: "mono, about 64 kbit/s",
  podcast: "−16 LUFS, 44.1 kHz, 96 kbit/s",
  music: "best quality",
  small: "mono, 24 kHz, about 32 kbit/s",
  moviepy: "44.1 kHz, stereo, 128 kbit/s",
};

const byId = (id) => document.getElementById(id);
const form = byId("options-form");
const { quality, bitrate, loudness, from, to, fadeIn, fadeOut, language, mono, tags, late, split } = form.elements;
/** The part and the language are of one file; the rest is a habit. */
const HABITS = [quality, bitrate, loudness, fadeIn, fadeOut, mono, tags, late, split];

/** The API's options, or null while the form has a mistake in it. */
export function chosen() {
  const options = { ...QUALITIES[quality.value] };
  if (quality.value === "constant") options.bitrate = Number(bitrate.value);
  if (loudness.value) options.normalize = Number(loudness.value);
  if (mono.checked) options.mono = true;
  if (!tags.checked) options.tags = false;
  if (late.checked) options.late_start = true;
  if (split.checked) options.split = "chapters";
  const [start, end] = [from, to].map((field) => (field.value.trim() ? parseClock(field.value.trim()) : null));
  if (Number.isNaN(start) || Number.isNaN(end)) return wrong("A time is written as 1:30 or 90.", Number.isNaN(start) ? from : to);
  if (end !== null && end <= (start ?? 0)) return wrong("The part must end after it starts.", to);
  if (start) options.start = start;
  if (end !== null) options.duration = end - (start ?? 0);
  for (const [name, field] of [["fade_in", fadeIn], ["fade_out", fadeOut]]) {
    const seconds = Number(field.value.trim().replace(",", "."));
    if (!(seconds >= 0 && seconds < 3600)) return wrong("A fade is written as 2 or 0.5.", field);
    if (seconds > 0) options[name] = seconds;
  }
  const code = language.value.trim().toLowerCase();
  if (code && !/^[a-z]{3}$/.test(code)) return wrong("A language is written as three letters: eng, deu.", language);
  if (code) options.language = code;
  wrong("");
  return options;
}

function wrong(why, field) {
  byId("options-wrong").textContent = why;
  for (const each of [from, to, fadeIn, fadeOut, language]) each.removeAttribute("aria-invalid");
  if (field) field.setAttribute("aria-invalid", "true");
  return null;
}

/** Opens the form at its mistake. */
export function showMistake() {
  byId("options").open = true;
  form.querySelector("[aria-invalid]")?.focus();
}

/** A job's options in words; nothing where all is as the source has it. */
export function describe(options) {
  const words = [];
  if (options.preset) words.push(PRESETS[options.preset] ?? options.preset);
  if (options.bitrate) words.push(`${options.bitrate} kbit/s`);
  if (options.abr) words.push(`about ${options.abr} kbit/s`);
  if (options.vbr !== undefined) words.push(options.vbr === 0 ? "best quality" : `quality ${options.vbr}`);
  if (options.sample_rate) words.push(`${options.sample_rate / 1000} kHz`);
  if (options.mono) words.push("mono");
  if (options.normalize !== undefined) words.push(`${options.normalize} LUFS`.replace("-", "−"));
  if (options.start) words.push(`from ${clock(options.start)}`);
  if (options.duration !== undefined) words.push(`to ${clock((options.start ?? 0) + options.duration)}`);
  if (options.fade_in) words.push(`fade in ${options.fade_in} s`);
  if (options.fade_out) words.push(`fade out ${options.fade_out} s`);
  if (options.language) words.push(`language ${options.language}`);
  if (options.track !== undefined) words.push(`track ${options.track + 1}`);
  if (options.late_start) words.push("in step with the video");
  if (options.replay_gain) words.push("ReplayGain");
  if (options.tags === false) words.push("no tags");
  if (options.split === "chapters") words.push("split by chapters");
  if (options.split === "length") words.push(`parts of ${clock(options.split_length)}`);
  if (options.split === "silence") words.push(`parts of up to ${clock(options.split_length)}, split in pauses`);
  if (options.fit) words.push(`up to ${options.fit / 1e6} MB`);
  if (options.trim_silence) words.push("without silence at both ends");
  return words.join(", ");
}

function show() {
  byId("bitrate-field").hidden = quality.value !== "constant";
  const options = chosen();
  byId("choice").textContent = options ? describe(options) || "as good as the source" : "";
  try {
    const kept = HABITS.map((field) => [field.name, field.type === "checkbox" ? field.checked : field.value]);
    localStorage.setItem(KEPT, JSON.stringify(Object.fromEntries(kept)));
  } catch {
    // Then the next visit begins with the defaults.
  }
}

try {
  const kept = JSON.parse(localStorage.getItem(KEPT)) ?? {};
  for (const field of HABITS) {
    if (typeof kept[field.name] === "boolean") field.checked = kept[field.name];
    else if (typeof kept[field.name] === "string") field.value = kept[field.name];
  }
} catch {
  // The defaults.
}
form.addEventListener("input", show);
form.addEventListener("submit", (event) => event.preventDefault());
show();
