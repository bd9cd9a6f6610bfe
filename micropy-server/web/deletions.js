// Deleting with a way back: a row goes at once, and a note offers to undo it. The service is told when the note ends, or
// the page is left. Whoever looks at another tab meanwhile has the same time; timers go on there.

import { request } from "./api.js";
import { complain, files, say } from "./words.js";

/** How long it can be undone. */
const LASTS = 8000;
/** How soon to look again whether somebody is still at the note. */
const AGAIN = 1000;

const byId = (id) => document.getElementById(id);
const note = byId("undo");

export class Deletions {
  /** Rows by the ids of their jobs: of those that can be undone, ... */
  #undoable = new Map();
  /** ... and of those that the service was told of, which it may still speak of. */
  #told = new Map();
  #putBack;
  #timer;

  /** `putBack(row)` shows a row again. */
  constructor(putBack) {
    this.#putBack = putBack;
    byId("undo-go").onclick = () => this.#undo();
    document.addEventListener("keydown", (event) => {
      const isUndo = (event.ctrlKey || event.metaKey) && !event.shiftKey && !event.altKey && event.key.toLowerCase() === "z";
      const isTyped = event.target.closest("input:not([type=radio], [type=checkbox], [type=range]), dialog");
      if (!isUndo || isTyped || this.#undoable.size === 0) return;
      event.preventDefault();
      this.#undo();
    });
    // Its timers stop. A hidden page that is ended without either word keeps what was deleted just before.
    document.addEventListener("freeze", () => this.settle());
    addEventListener("pagehide", () => this.settle());
  }

  /** The row of a job that was deleted here. */
  row(jobId) {
    return this.#undoable.get(jobId) ?? this.#told.get(jobId) ?? null;
  }

  /** Whether the service was not told of something yet. */
  get areOpen() {
    return this.#undoable.size > 0;
  }

  /** Deletes the job of a row, which is no longer shown. What is deleted meanwhile is undone together. */
  add(row) {
    this.#undoable.set(row.job.id, row);
    const count = this.#undoable.size;
    byId("undo-text").textContent = count === 1 ? `Deleted ${row.name}.` : `Deleted ${files(count)}.`;
    note.hidden = false;
    say(`${byId("undo-text").textContent} Control Z undoes it.`);
    this.#wait(LASTS);
  }

  #wait(time) {
    clearTimeout(this.#timer);
    // Whoever is at the button has the time that it takes.
    const isInUse = () => !document.hidden && note.matches(":hover, :focus-within");
    this.#timer = setTimeout(() => (isInUse() ? this.#wait(AGAIN) : this.settle()), time);
  }

  #end() {
    clearTimeout(this.#timer);
    const rows = [...this.#undoable.values()];
    this.#undoable.clear();
    note.hidden = true;
    return rows;
  }

  #undo() {
    const rows = this.#end();
    for (const row of rows) this.#putBack(row);
    rows[0]?.find("[data-act=delete], [data-act=cancel]:not([hidden])")?.focus();
    say(rows.length === 1 ? `${rows[0].name} is back.` : `${files(rows.length)} are back.`);
  }

  /** Tells the service of what was not undone. Also while the page is being left. */
  async settle() {
    await Promise.all(this.#end().map((row) => this.#tell(row)));
  }

  async #tell(row) {
    const { id } = row.job;
    this.#told.set(id, row);
    try {
      await request(`/api/v1/jobs/${id}`, { method: "DELETE", keepalive: true });
    } catch (problem) {
      // Somebody else was faster.
      if (problem.status === 404) return;
      this.#told.delete(id);
      this.#putBack(row);
      complain({ ...problem, message: `${row.name} is not deleted. ${problem.message}` });
    }
  }
}
