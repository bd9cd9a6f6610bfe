// How to convert: the form behind the disclosure.

import { clock, parseClock } from "./words.js";

const KEPT = "micropy.options";
const QUALITIES = {
  best: { vbr: 0 },
  speech: { vbr: 6, mono: true },
  original: { preset: "original" },
};

const byId = (id) => document.getElementById(id);
const form = byId("options-form");
const { quality, bitrate, from, to, mono } = form.elements;

/** The API's options, or null while the form has a mistake in it. */
export function chosen() {
  const options = { ...QUALITIES[quality.value] };
  if (quality.value === "constant") options.bitrate = Number(bitrate.value);
  if (mono.checked) options.mono = true;
  const [start, end] = [from, to].map((field) => (field.value.trim() ? parseClock(field.value.trim()) : null));
  if (Number.isNaN(start) || Number.isNaN(end)) return wrong("A time is written as 1:30 or 90.", Number.isNaN(start) ? from : to);
  if (end !== null && end <= (start ?? 0)) return wrong("The part must end after it starts.", to);
  if (start) options.start = start;
  if (end !== null) options.duration = end - (start ?? 0);
  wrong("");
  return options;
}

function wrong(why, field) {
  byId("trim-wrong").textContent = why;
  for (const each of [from, to]) each.toggleAttribute("aria-invalid", false);
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
  if (options.preset === "original") words.push("44.1 kHz, stereo, 128 kbit/s");
  if (options.bitrate) words.push(`${options.bitrate} kbit/s`);
  if (options.abr) words.push(`about ${options.abr} kbit/s`);
  if (options.vbr !== undefined) words.push(options.vbr === 0 ? "best quality" : `quality ${options.vbr}`);
  if (options.mono) words.push("mono");
  if (options.start) words.push(`from ${clock(options.start)}`);
  if (options.duration !== undefined) words.push(`to ${clock((options.start ?? 0) + options.duration)}`);
  return words.join(", ");
}

function show() {
  byId("bitrate-field").hidden = quality.value !== "constant";
  const options = chosen();
  byId("choice").textContent = options ? describe(options) || "as good as the source" : "";
  try {
    // The part is of one file; the rest is a habit.
    localStorage.setItem(KEPT, JSON.stringify([quality.value, bitrate.value, mono.checked]));
  } catch {
    // Then the next visit begins with the defaults.
  }
}

try {
  const kept = JSON.parse(localStorage.getItem(KEPT));
  if (kept) [quality.value, bitrate.value, mono.checked] = kept;
} catch {
  // The defaults.
}
form.addEventListener("input", show);
form.addEventListener("submit", (event) => event.preventDefault());
show();
