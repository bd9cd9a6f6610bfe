// The list: files as they are uploaded and converted, newest first, those sent together in one group.

import { call } from "./api.js";
import { Deletions } from "./deletions.js";
import { Row } from "./row.js";
import { sentBefore } from "./sound.js";
import { isElsewhere, newId, offset } from "./uploads.js";
import { complain, files, say, when } from "./words.js";

const PAGE = 50;
/** How often to ask where queued jobs stand: what moves them is done by others, of whom nothing is heard. */
const LINE_MOVES = 5000;
const UNDER_WAY = ["waiting", "sending", "queued", "running"];
const groupTemplate = document.getElementById("group-template");
const byName = new Intl.Collator(undefined, { numeric: true });
const byId = (id) => document.getElementById(id);

export class Jobs {
  #uploads;
  #email;
  #deletions = new Deletions((row) => this.#putBack(row));
  #rows = new Set();
  #groups = new Map();
  #show = "";
  #next = null;
  #isListed = false;
  #loading = null;

  constructor(uploads, email) {
    this.#uploads = uploads;
    this.#email = email;
    setInterval(() => this.#askForLine(), LINE_MOVES);
    byId("more").onclick = () => this.#page(this.#next);
    byId("list-again").onclick = () => this.load();
    document.addEventListener("click", async (event) => {
      const archive = event.target.closest("a[href^='/api/v1/archive']");
      if (!archive || !this.#deletions.areOpen) return;
      // It is of what is still shown.
      event.preventDefault();
      await this.settle();
      archive.click();
    });
    byId("filter").addEventListener("change", (event) => {
      this.#show = event.target.value;
      this.#clear();
      this.load();
    });
    byId("file-again").addEventListener("change", (event) => {
      const [file] = event.target.files;
      event.target.value = "";
      if (file) this.#goOn(this.picking, file);
    });
  }

  /** Something is being uploaded or converted. */
  get isUnderWay() {
    return [...this.#rows].some((row) => UNDER_WAY.includes(row.phase));
  }

  /** Loads the newest files, and keeps what is there already. */
  load() {
    return this.#page(null);
  }

  /** Tells the service of what was deleted and not undone. */
  settle() {
    return this.#deletions.settle();
  }

  async #askForLine() {
    if (document.hidden || ![...this.#rows].some((row) => row.job && row.phase === "queued")) return;
    try {
      const { jobs } = await call("GET", "/api/v1/jobs?state=queued&limit=100", undefined, { anonymous: true });
      for (const job of jobs) if (this.#find(job.id)) this.#take(job, false);
    } catch {
      // Whoever listens for changes says what is wrong.
    }
  }

  async #page(before) {
    const query = new URLSearchParams({ limit: PAGE });
    if (this.#show) query.set("state", this.#show);
    if (before) query.set("before", before);
    const loading = {};
    this.#loading = loading;
    byId("groups").setAttribute("aria-busy", "true");
    byId("list-wrong").hidden = true;
    byId("nothing").hidden = true;
    byId("loading").hidden = this.#rows.size > 0;
    try {
      const { jobs, next } = await call("GET", `/api/v1/jobs?${query}`);
      if (this.#loading !== loading) return;
      for (const job of jobs) this.#take(job, false);
      // The first page once more says nothing of what comes after the last.
      if (before || !this.#isListed) this.#next = next;
      this.#isListed = true;
      if (!before && !next) this.#dropUnknown(jobs);
      byId("more").hidden = !this.#next;
    } catch (problem) {
      if (this.#loading !== loading) return;
      byId("list-wrong").firstElementChild.textContent = `${problem.message} Your files could not be listed.`;
      byId("list-wrong").hidden = false;
    } finally {
      if (this.#loading === loading) {
        byId("loading").hidden = true;
        byId("groups").setAttribute("aria-busy", "false");
        this.#summary();
      }
    }
  }

  /** Jobs that were removed elsewhere. */
  #dropUnknown(jobs) {
    const known = new Set(jobs.map((job) => job.id));
    for (const row of this.#rows) if (row.job && !row.upload && !known.has(row.job.id)) this.#remove(row);
  }

  #clear() {
    for (const row of this.#rows) if (!row.upload || row.upload.isOver) this.#remove(row);
    this.#next = null;
    this.#isListed = false;
  }

  /** A job is new, or has changed. */
  changed(job) {
    this.#take(job, true);
    this.#summary();
  }

  #take(job, isNews) {
    const deleted = this.#deletions.row(job.id);
    if (deleted) {
      deleted.see(job);
      return null;
    }
    let row = this.#find(job.id);
    const isShown = !this.#show || this.#show.split(",").includes(job.state);
    if (!row) {
      // News of an upload may be faster here than the answer to whoever began it, in this page or elsewhere.
      if (!isShown || (isNews && job.state === "receiving")) return null;
      row = this.#add(job.batch ?? job.id, job.created, isNews);
      row.see(job);
      this.#sort(row);
    }
    row.see(job);
    if (job.state === "receiving" && !row.upload && row.stored === null) this.#measure(row);
    row.render();
    this.#title(this.#groups.get(row.group));
    return row;
  }

  #find(jobId) {
    for (const row of this.#rows) if (row.job?.id === jobId || row.upload?.jobId === jobId) return row;
    return null;
  }

  /** A row in its group, which is made where it is missing: at the top for news. */
  #add(key, created, isNews, row = new Row((act, row) => this.#act(act, row))) {
    let group = this.#groups.get(key);
    if (!group) {
      const root = groupTemplate.content.cloneNode(true).firstElementChild;
      group = { root, list: root.querySelector("ol"), rows: [], created };
      this.#groups.set(key, group);
      const later = [...this.#groups.values()].filter((other) => other !== group && other.created < created);
      const newest = later.sort((a, b) => (a.created < b.created ? 1 : -1))[0];
      byId("groups").insertBefore(root, newest?.root ?? null);
    }
    row.group = key;
    group.rows.push(row);
    group.list.append(row.root);
    this.#rows.add(row);
    if (isNews) row.root.classList.add("is-new");
    return row;
  }

  /** Within a group, files stand by name: in the order that they are mostly chosen in. */
  #sort(row) {
    const { rows, list } = this.#groups.get(row.group);
    const later = rows.filter((other) => other !== row && byName.compare(other.name, row.name) > 0);
    const next = later.sort((a, b) => byName.compare(a.name, b.name))[0];
    list.insertBefore(row.root, next?.root ?? null);
  }

  /** Takes a row away until the service is told, or it is undone. */
  #delete(row) {
    this.#remove(row);
    this.#deletions.add(row);
  }

  #putBack(row) {
    this.#add(row.group, row.job.created, false, row);
    this.#sort(row);
    row.render();
    this.#title(this.#groups.get(row.group));
    this.#summary();
  }

  #remove(row) {
    if (row.job) stopPlaying(row.job.id);
    const group = this.#groups.get(row.group);
    const hadFocus = row.root.contains(document.activeElement);
    const neighbour = row.root.nextElementSibling ?? row.root.previousElementSibling;
    group.rows = group.rows.filter((other) => other !== row);
    row.root.remove();
    this.#rows.delete(row);
    if (group.rows.length === 0) {
      group.root.remove();
      this.#groups.delete(row.group);
    } else {
      this.#title(group);
    }
    if (hadFocus) (neighbour?.querySelector("[data-act]:not([hidden])") ?? byId("list-title")).focus();
    this.#summary();
  }

  #title(group) {
    const { root, rows, created } = group;
    const done = rows.filter((row) => row.phase === "done");
    root.classList.toggle("is-single", rows.length < 2);
    root.querySelector("h3").textContent = rows.length < 2 ? rows[0].name : `${files(rows.length)}, ${when(created)}`;
    const all = root.querySelector(".group-head a");
    all.hidden = rows.length < 2 || done.length < 2;
    if (all.hidden) return;
    all.href = `/api/v1/archive?batch=${rows[0].group}`;
    all.download = "micropy.zip";
    all.querySelector("span").textContent = done.length === rows.length ? "Download these" : `Download ${done.length} of ${rows.length}`;
  }

  #summary() {
    const rows = [...this.#rows];
    const busy = byId("groups").getAttribute("aria-busy") === "true";
    const done = rows.filter((row) => row.phase === "done").length;
    byId("all").hidden = done < 2;
    const nothing = byId("nothing");
    nothing.hidden = busy || rows.length > 0 || !byId("list-wrong").hidden;
    nothing.textContent = this.#show ? "No such files." : "Nothing here yet. Your MP3s will stand here, to play and to download.";
    const under = rows.filter((row) => UNDER_WAY.includes(row.phase)).length;
    document.title = under ? `(${under}) Micropy` : "Micropy";
  }

  /** Takes files in: they are sent, or go on from where they stopped. */
  send(chosen, options) {
    const batch = newId();
    const created = new Date().toISOString();
    say(`${files(chosen.length)} added.`);
    for (const file of chosen) {
      const row = this.#add(batch, created, true);
      this.#attach(row, this.#uploads.add(file, { options, batch }, (upload) => this.#uploaded(row, upload)));
      this.#sort(row);
      this.#title(this.#groups.get(batch));
    }
    this.#summary();
  }

  /** Has the service read a video behind a link. */
  async fetch(url, options) {
    this.changed(await call("POST", "/api/v1/imports", { url, options }));
  }

  #attach(row, upload) {
    row.upload = upload;
    row.render();
  }

  #uploaded(row, upload) {
    if (!this.#rows.has(row)) return;
    if (upload.jobId && !row.job) {
      // An upload of before that goes on has a row already.
      const twin = [...this.#rows].find((other) => other !== row && other.job?.id === upload.jobId);
      if (twin) {
        row.see(twin.job);
        this.#remove(twin);
      }
    }
    if (upload.phase === "gone") return this.#remove(row);
    row.render();
    if (upload.phase === "sent") this.#ended(row);
    this.#summary();
  }

  /** The service may have told of the job before the browser knew that its last byte was there. */
  async #ended(row) {
    try {
      row.see(await call("GET", `/api/v1/jobs/${row.upload.jobId}`));
      row.render();
      this.#title(this.#groups.get(row.group));
      this.#summary();
    } catch (problem) {
      complain(problem);
    }
  }

  /** How far an upload has come that this page does not send. */
  async #measure(row) {
    row.stored = 0;
    row.isElsewhere = await isElsewhere(row.job.id);
    if (!row.isElsewhere) {
      // To ask cuts off whoever sends, which is nobody here.
      row.stored = await offset(row.job.upload_url).catch(() => 0);
    }
    if (this.#rows.has(row)) row.render();
  }

  async #goOn(row, file) {
    const sound = await sentBefore(file, row.job);
    if (!sound) {
      complain(new Error(`This is another file. Please choose ${row.job.file_name}.`));
      return;
    }
    const options = { options: {}, batch: row.group, resumeAt: row.job.upload_url, sound };
    this.#attach(row, this.#uploads.add(file, options, (upload) => this.#uploaded(row, upload)));
  }

  async #act(act, row) {
    try {
      await this.#acts[act]?.(row);
    } catch (problem) {
      complain(problem);
    }
  }

  #acts = {
    play: async (row) => {
      const player = await import("./player.js");
      player.toggle(row.job, this.#email, row.place, (isOpen, isPlaying) => row.playing(isOpen, isPlaying));
    },
    pause: (row) => row.upload.pause(),
    resume: (row) => row.upload.resume(),
    pick: (row) => {
      this.picking = row;
      byId("file-again").click();
    },
    retry: async (row) => {
      try {
        this.changed(await call("POST", `/api/v1/jobs/${row.job.id}/retry`));
      } catch (problem) {
        throw problem.status === 404 ? new Error("The video is no longer there. Please upload it again.") : problem;
      }
    },
    cancel: async (row) => {
      if (row.upload && row.phase !== "queued" && row.phase !== "running") return row.upload.cancel();
      if (row.phase === "left") return this.#delete(row);
      this.changed(await call("POST", `/api/v1/jobs/${row.job?.id ?? row.upload.jobId}/cancel`));
    },
    delete: async (row) => {
      if (row.phase === "refused") {
        // What was refused on its way has left a job behind that waits for the rest.
        if (row.upload.jobId) await row.upload.cancel();
        else this.#remove(row);
        return;
      }
      this.#delete(row);
    },
  };

  /** Shows one job, as a link names it. */
  async reveal(id) {
    try {
      const row = this.#find(id) ?? this.#take(await call("GET", `/api/v1/jobs/${encodeURIComponent(id)}`), false);
      this.#summary();
      row?.root.scrollIntoView({ block: "center" });
      row?.root.classList.add("is-new");
      row?.find("[data-act]:not([hidden])")?.focus({ preventScroll: true });
    } catch (problem) {
      complain(problem.status === 404 ? new Error("That file is no longer here.") : problem);
    }
  }
}

async function stopPlaying(jobId) {
  const player = await import("./player.js");
  player.close(jobId);
}
