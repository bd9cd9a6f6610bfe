// Numbers and times in words, and words said to screen readers.

const number = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

/** 1536 → "1.5 kB" */
export function bytes(count) {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  let value = count;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value >= 100 ? Math.round(value) : number.format(value)} ${units[unit]}`;
}

/** 83.4 → "1:23" */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds || 0));
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (n) => String(n).padStart(2, "0");
  return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

/** 83.4 → "1 minute 23 seconds" */
export function spoken(seconds) {
  const whole = Math.max(0, Math.floor(seconds || 0));
  const parts = [
    [Math.floor(whole / 3600), "hour"],
    [Math.floor(whole / 60) % 60, "minute"],
    [whole % 60, "second"],
  ].filter(([n, unit]) => n || (unit === "second" && whole < 60));
  return parts.map(([n, unit]) => `${n} ${unit}${n === 1 ? "" : "s"}`).join(" ");
}

/** A rough time: 47 → "about 50 seconds" */
export function roughly(seconds) {
  const say = (n, unit) => `about ${n} ${unit}${n === 1 ? "" : "s"}`;
  if (seconds < 10) return "a few seconds";
  if (seconds < 60) return say(Math.round(seconds / 10) * 10, "second");
  if (seconds < 90 * 60) return say(Math.round(seconds / 60), "minute");
  return say(Math.round(seconds / 3600), "hour");
}

/** "1:02:03.5" → 3723.5; what is no time → NaN */
export function parseClock(text) {
  if (!/^\d+(:\d{1,2}){0,2}([.,]\d+)?$/.test(text)) return NaN;
  return text.replace(",", ".").split(":").reduce((sum, part) => sum * 60 + Number(part), 0);
}

export const percent = (fraction) => `${Math.floor(fraction * 100)} %`;

/** A time of today, or a date and a time. */
export function when(iso) {
  const date = new Date(iso);
  const today = date.toDateString() === new Date().toDateString();
  const time = { hour: "2-digit", minute: "2-digit" };
  return today
    ? date.toLocaleTimeString(undefined, time)
    : date.toLocaleString(undefined, { day: "numeric", month: "short", ...time });
}

export const files = (n) => `${n} file${n === 1 ? "" : "s"}`;

const byId = (id) => document.getElementById(id);
let pending = [];

/** Tells screen readers; what comes at the same time is told together. */
export function say(text) {
  pending.push(text);
  if (pending.length > 1) return;
  setTimeout(() => {
    byId("said").textContent = pending.length > 4 ? `${pending.slice(0, 3).join(" ")} And ${pending.length - 3} more.` : pending.join(" ");
    pending = [];
  }, 250);
}

let toasted;

/** Tells everybody that something did not work; a session that has ended has a dialog of its own. */
export function complain(problem) {
  if (problem.status === 401) return;
  const toast = byId("toast");
  toast.textContent = problem.message;
  toast.hidden = false;
  clearTimeout(toasted);
  toasted = setTimeout(() => (toast.hidden = true), 8000);
}
