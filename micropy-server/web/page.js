// The page: lets people in, takes their files, and listens to what becomes of them.

import { arrive, openAccount, remind } from "./account.js";
import { call } from "./api.js";
import { Jobs } from "./jobs.js";
import { chosen, showMistake } from "./options.js";
import { leave, open } from "./session.js";
import { Uploads } from "./uploads.js";
import { bytes, complain, say } from "./words.js";

/** Before the connection is tried again. */
const AGAIN = 3000;
/** A connection that is back by then is not worth a word. */
const NOTICE = 2500;

const byId = (id) => document.getElementById(id);
const banner = byId("banner");

function announce(text) {
  if (banner.textContent !== text) banner.textContent = text;
  banner.hidden = !text;
}

const pause = (time) => new Promise((resolve) => setTimeout(resolve, time));

/** Asks until there is an answer. */
async function insist(question) {
  for (;;) {
    try {
      const answer = await question();
      announce("");
      return answer;
    } catch (problem) {
      announce(`${problem.message} Trying again.`);
      await pause(AGAIN);
    }
  }
}

/**
 * Hears of changes as long as the page is looked at or something is under way: a browser has few connections
 * to one host, and many tabs.
 */
function listen(jobs, uploads) {
  let source = null;
  let notice;
  let again;

  const lost = () => {
    notice ??= setTimeout(() => {
      announce(navigator.onLine ? "The connection is lost. Trying again." : "You are offline. Uploads go on by themselves when you are back.");
    }, NOTICE);
  };
  const found = () => {
    clearTimeout(notice);
    notice = undefined;
    announce("");
  };
  const hush = () => {
    clearTimeout(again);
    source?.close();
    source = null;
  };
  const isIdle = () => document.hidden && !jobs.isUnderWay;
  const hear = () => {
    if (source || isIdle() || byId("expired").open) return;
    source = new EventSource("/api/v1/events");
    source.addEventListener("ready", () => {
      found();
      jobs.load();
      uploads.reconnected();
    });
    source.addEventListener("job", (event) => jobs.changed(JSON.parse(event.data)));
    source.addEventListener("error", async () => {
      lost();
      if (source?.readyState !== EventSource.CLOSED) return;
      hush();
      // A session that has ended is noticed by this.
      await call("GET", "/api/v1/auth/me").catch(() => {});
      again = setTimeout(hear, AGAIN);
    });
  };

  document.addEventListener("visibilitychange", () => (isIdle() ? hush() : hear()));
  document.addEventListener("micropy:back", hear);
  addEventListener("online", () => {
    hush();
    hear();
  });
  addEventListener("offline", lost);
  hear();
}

function takeFiles(jobs) {
  const drop = byId("drop");
  const input = byId("files");
  // Nothing is dropped with a finger.
  if (matchMedia("(hover: none)").matches) byId("drop-title").textContent = "Videos to MP3s";

  const take = (list) => {
    const files = [...list];
    if (files.length === 0) return;
    const options = chosen();
    if (options) jobs.send(files, options);
    else showMistake();
  };

  byId("choose").onclick = () => input.click();
  input.addEventListener("change", () => {
    take(input.files);
    input.value = "";
  });

  // The whole window takes files: to miss the field must not open the video in place of the page.
  let inside = 0;
  const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
  const over = (is) => drop.classList.toggle("is-over", is);
  addEventListener("dragenter", (event) => {
    if (!carriesFiles(event)) return;
    inside += 1;
    over(true);
  });
  addEventListener("dragleave", (event) => {
    if (!carriesFiles(event)) return;
    inside = Math.max(0, inside - 1);
    if (inside === 0) over(false);
  });
  addEventListener("dragover", (event) => {
    if (carriesFiles(event)) event.preventDefault();
  });
  addEventListener("drop", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    inside = 0;
    over(false);
    take(event.dataTransfer.files);
  });
}

function takeLinks(jobs) {
  const form = byId("link");
  const input = byId("link-url");
  const take = async (url) => {
    const options = chosen();
    if (!options) return showMistake();
    try {
      await jobs.fetch(url, options);
      form.reset();
      say("The link is taken.");
    } catch (problem) {
      complain(problem);
    }
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    take(input.value);
  });
  // A link may be pasted anywhere but into a field.
  addEventListener("paste", (event) => {
    const text = event.clipboardData?.getData("text").trim() ?? "";
    if (event.target.closest?.("input, dialog") || !/^https?:\/\/\S+$/.test(text)) return;
    event.preventDefault();
    input.value = text;
    input.focus();
  });
}

async function begin() {
  const about = await insist(() => call("GET", "/api/v1/about"));
  byId("version").textContent = `Micropy ${about.version}`;
  await arrive();
  const email = await insist(() => open(about));
  await insist(() => remind(about));

  byId("who-email").textContent = email;
  byId("who").hidden = false;
  byId("who-email").onclick = () => openAccount(email);
  byId("drop-hint").textContent = `MP4, M4A, MOV or 3GP, up to ${bytes(about.max_upload)} each`;
  byId("desk").hidden = false;
  byId("main").focus();

  const uploads = new Uploads(email, about.max_upload);
  const jobs = new Jobs(uploads, email);
  byId("sign-out").onclick = async () => {
    await jobs.settle();
    await leave();
  };
  takeFiles(jobs);
  takeLinks(jobs);
  listen(jobs, uploads);

  const linked = () => {
    const [, id] = location.hash.match(/^#job-([0-9a-f]{24})$/) ?? [];
    if (id) jobs.reveal(id);
  };
  addEventListener("hashchange", linked);
  addEventListener("hashchange", async () => {
    await arrive();
    await remind(about).catch(complain);
  });
  linked();
}

begin();
