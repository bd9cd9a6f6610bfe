// The page in a real browser, against the real service: node page.mjs TARGET SERVICE CHROMIUM
//
// TARGET is the folder that screenshots and the service's data go to, SERVICE the binary `micropy-server`. Adds its
// results to the file that MICROPY_RESULTS names.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHmac } from "node:crypto";
import { appendFileSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { join } from "node:path";

const [target, service, executablePath] = process.argv.slice(2);
const require = createRequire(join(target, "node_modules", "x"));
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const top = join(import.meta.dirname, "../../..");
const SONG = join(top, "examples/media/song.mp4");
const BOOK = join(top, "micropy-core/tests/media/chapters.m4b");
const COVER = join(top, "micropy-core/tests/media/tags-cover-jpeg.m4a");
const SILENT = join(top, "micropy-core/tests/media/video-only.mp4");
const ANN = { email: "ann@example.com", password: "correct horse battery" };
const PATIENCE = 15_000;

const data = join(target, "data");
const made = join(target, "made");
rmSync(data, { recursive: true, force: true });
mkdirSync(made, { recursive: true });

/**
 * The song, and behind it so many bytes that say nothing: a `free` box of ISO/IEC 14496-12. It lacks its last byte, so
 * that the file is sent as it is, and not its sound alone.
 */
function padded(name, size) {
  const box = Buffer.alloc(size);
  box.writeUInt32BE(size + 1);
  box.write("free", 4);
  const path = join(made, name);
  writeFileSync(path, Buffer.concat([readFileSync(SONG), box]));
  return path;
}

/** The song, and in its `mdat` so many bytes more, as a video has them beside its sound. */
function film(name, size) {
  const song = readFileSync(SONG);
  const mdat = song.indexOf("mdat") - 4;
  assert.equal(mdat + song.readUInt32BE(mdat), song.length, "the media come last");
  song.writeUInt32BE(song.readUInt32BE(mdat) + size, mdat);
  const path = join(made, name);
  writeFileSync(path, Buffer.concat([song, Buffer.alloc(size)]));
  return path;
}

function result(line) {
  console.log(line);
  if (process.env.MICROPY_RESULTS) appendFileSync(process.env.MICROPY_RESULTS, `${line}\n`);
}

async function serve(address = "127.0.0.1:0") {
  const log = join(target, "service.log");
  writeFileSync(log, "");
  const args = ["serve", "--listen", address, "--auth-listen", "127.0.0.1:0", "--health-listen", "127.0.0.1:0", "--data-dir", data];
  // What is meant for the tests is no setting of the service.
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("MICROPY_")));
  // Videos behind links are on this machine.
  env.MICROPY_ALLOWED_NETWORKS = "127.0.0.1";
  const child = spawn(service, args, { stdio: ["ignore", "pipe", "pipe"], env });
  child.stderr.on("data", (text) => appendFileSync(log, text));
  const url = await new Promise((resolve, reject) => {
    child.stdout.on("data", (text) => resolve(/http:\S+/.exec(text)?.[0]));
    child.on("exit", (code) => reject(new Error(`the service ended with ${code}: see ${log}`)));
  });
  return { child, url };
}

let { child, url } = await serve();
process.on("exit", () => child.kill("SIGKILL"));
process.on("SIGTERM", () => process.exit(1));
const browser = await chromium.launch({
  executablePath,
  args: [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
  ],
});
const context = await browser.newContext({ viewport: { width: 1200, height: 900 }, acceptDownloads: true, colorScheme: "light" });
context.setDefaultTimeout(PATIENCE);
const page = await context.newPage();

/** Console errors and requests to others: none, but for those that a test is about. */
let errors = [];
const strangers = new Set();
page.on("console", (message) => message.type() === "error" && errors.push(`${message.text()} ${message.location().url}`));
page.on("pageerror", (e) => errors.push(String(e)));
page.on("request", (request) => {
  if (!request.url().startsWith(`${url}/`) && !/^(blob|data|about):/.test(request.url())) strangers.add(request.url());
});
page.on("dialog", (dialog) => dialog.accept());

let passed = 0;
let failed = 0;
async function check(name, test) {
  const started = performance.now();
  errors = [];
  try {
    await test();
    assert.deepEqual(errors, [], "errors in the console");
    passed += 1;
    console.log(`ok   ${name} (${Math.round(performance.now() - started)} ms)`);
  } catch (e) {
    failed += 1;
    result(`failed browser: ${name}`);
    console.log(e.stack ?? e, errors);
    await page.screenshot({ path: join(target, `failed-${failed}.png`) }).catch(() => {});
  }
}

const row = (name) => page.locator(".row", { has: page.locator(".name", { hasText: name }) }).first();
const phase = (name, wanted) => page.locator(`.row[data-phase="${wanted}"]`, { has: page.locator(".name", { hasText: name }) }).first().waitFor();
const audio = (what) => page.evaluate((what) => document.querySelector("audio")?.[what], what);
const until = async (question, what) => {
  const end = Date.now() + PATIENCE;
  while (!(await question())) {
    assert.ok(Date.now() < end, `not in time: ${what}`);
    await page.waitForTimeout(50);
  }
};

/** How many different heights the bars of a waveform have. */
function barHeights(name) {
  return row(name).locator(".drawing canvas").first().evaluate((canvas) => {
    const { data, width, height } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    const heights = new Set();
    for (let x = 0; x < width; x++) {
      let n = 0;
      for (let y = 0; y < height; y++) if (data[(y * width + x) * 4 + 3] > 128) n++;
      heights.add(n);
    }
    return heights.size;
  });
}

async function signIn({ email, password }) {
  await page.fill("#email", email);
  await page.fill("#password", password);
  await page.click("#sign-in-go");
  await page.waitForSelector("#desk:not([hidden])");
}

/** Screenshots and accessibility of what is to be seen, light and dark, wide and narrow. */
async function look(name) {
  const serious = [];
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    for (const width of [1200, 390]) {
      await page.setViewportSize({ width, height: width === 390 ? 844 : 900 });
      await page.waitForTimeout(120);
      await page.screenshot({ path: join(target, `${name}-${colorScheme}-${width}.png`), fullPage: true });
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      if (overflow > 0) serious.push(`${colorScheme} ${width}: wider than the window by ${overflow}`);
      await page.evaluate(axe);
      const { violations } = await page.evaluate(() => window.axe.run(document));
      for (const { id, impact, nodes } of violations) {
        if (!["serious", "critical"].includes(impact)) continue;
        serious.push(`${colorScheme} ${width}: ${id} at ${nodes.map((node) => `${node.target}: ${node.failureSummary}`).join("; ")}`);
      }
    }
  }
  await page.setViewportSize({ width: 1200, height: 900 });
  await page.emulateMedia({ colorScheme: "light", reducedMotion: "no-preference" });
  assert.deepEqual(serious, [], "accessibility");
}

await check("the door is there and accessible", async () => {
  await page.goto(url);
  await page.waitForSelector("#door:not([hidden])");
  await look("door");
});

await check("somebody registers", async () => {
  await page.click("#swap-go");
  await page.fill("#email", ANN.email);
  await page.fill("#password", ANN.password);
  await page.click("#sign-in-go");
  await page.waitForSelector("#desk:not([hidden])");
  await page.getByText("Nothing here yet").waitFor();
  await look("empty");
});

await check("a job that waits says where it stands and when it begins, as it changes", async () => {
  let queue = { position: 3, begins_in: 130 };
  const waiting = async (route) => {
    const response = await route.fetch();
    const list = await response.json();
    const job = { ...list.jobs[0], id: "0123456789abcdef01234567", batch: null, file_name: "waits.mp4", state: "queued", queue, mp3: null,
      bytes: 1, progress: 0, attempts: 0, options: {}, upload_url: null, created: "2026-01-01T00:00:00.000Z", updated: "2026-01-01T00:00:00.000Z" };
    await route.fulfill({ response, json: { jobs: [job], next: null } });
  };
  await page.route(/\/api\/v1\/jobs\?/, waiting);
  await page.reload();
  const said = (text) => row("waits").getByText(text, { exact: true }).waitFor();
  await said("Number 3 in line, begins in about 2 minutes");
  // Nothing is heard of what is others': the page asks again.
  queue = { position: 1, begins_in: 4 };
  await said("Next in line, begins in a few seconds");
  queue = { position: null, begins_in: 47 };
  await said("Waiting for your other files, begins in about 50 seconds");
  await look("waiting");
  queue = null;
  await said("In line");
  await page.unroute(/\/api\/v1\/jobs\?/, waiting);
  await page.reload();
  await page.getByText("Nothing here yet").waitFor();
});

await check("two files sent together are converted while the page watches", async () => {
  await page.setInputFiles("#files", [SONG, BOOK]);
  await phase("song", "done");
  await phase("chapters", "done");
  assert.equal(await row("song").locator(".name").textContent(), "song.mp3");
  assert.match(await row("song").locator(".status").textContent(), /^0:12 · \d+ kB/);
  await until(async () => /mail sent/.test(await row("song").locator(".status").textContent()), "the mail is told of");
});

await check("a file without sound fails with its reason, and what is no video is not sent", async () => {
  const notes = join(made, "notes.txt");
  writeFileSync(notes, "not a video at all");
  await page.setInputFiles("#files", [SILENT, notes]);
  await phase("video-only", "failed");
  assert.match(await row("video-only").locator(".status").textContent(), /audio/);
  await phase("notes.txt", "refused");
  assert.match(await row("notes.txt").locator(".status").textContent(), /not an MP4/);
  await row("notes.txt").getByRole("button", { name: "Dismiss" }).click();
  await row("notes.txt").waitFor({ state: "detached" });
  const [answer] = await Promise.all([
    page.waitForResponse((response) => response.url().endsWith("/retry")),
    row("video-only").getByRole("button", { name: "Try again" }).click(),
  ]);
  assert.equal(answer.status(), 200);
  await page.waitForTimeout(500);
  await phase("video-only", "failed");
});

await check("a damaged file fails in plain words, and which bytes are wrong folds out", async () => {
  const cut = join(made, "cut.mp4");
  writeFileSync(cut, readFileSync(SONG).subarray(0, 600));
  await page.setInputFiles("#files", cut);
  await phase("cut", "failed");
  assert.match(await row("cut").locator(".status").textContent(), /^The file is damaged/);
  assert.ok(!(await row("cut").getByText(/at byte/).isVisible()));
  await row("cut").getByText("Details").click();
  await row("cut").getByText(/^Malformed moov at byte/).waitFor();
});

await check("a link that is pasted is converted, with the options of the page", async () => {
  const song = readFileSync(SONG);
  const server = createServer((request, response) => {
    const [, from, to] = /bytes=(\d+)-(\d*)/.exec(request.headers.range ?? "") ?? [];
    const range = from === undefined ? song : song.subarray(Number(from), to ? Number(to) + 1 : undefined);
    const headers = { "content-length": range.length, "accept-ranges": "bytes", etag: '"song"' };
    if (from !== undefined) headers["content-range"] = `bytes ${from}-${Number(from) + range.length - 1}/${song.length}`;
    response.writeHead(from === undefined ? 200 : 206, headers);
    response.end(request.method === "HEAD" ? undefined : range);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const link = `http://127.0.0.1:${server.address().port}/linked.mp4?key=1`;
  await page.evaluate((link) => {
    const clipboardData = new DataTransfer();
    clipboardData.setData("text/plain", link);
    document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true }));
  }, link);
  assert.equal(await page.inputValue("#link-url"), link);
  await page.keyboard.press("Enter");
  await phase("linked", "done");
  assert.equal(await page.inputValue("#link-url"), "");
  server.close();
});

await check("an MP3 plays, and seeks by keyboard and by pointer", async () => {
  await row("song").getByRole("button", { name: "Play" }).click();
  await until(async () => (await audio("currentTime")) > 0.4, "the time advances");
  const seek = row("song").getByRole("slider", { name: "Position" });
  await seek.focus();
  const before = await audio("currentTime");
  await page.keyboard.press("ArrowRight");
  await until(async () => (await audio("currentTime")) >= before + 4.5, "five seconds on");
  assert.match(await seek.getAttribute("aria-valuetext"), /seconds of 12 seconds/);
  const box = await seek.boundingBox();
  await page.mouse.click(box.x + box.width * 0.25, box.y + box.height / 2);
  await until(async () => Math.abs((await audio("currentTime")) - 3) < 1, "a quarter of it");
  await row("song").getByRole("button", { name: "Pause" }).click();
  await until(() => audio("paused"), "it pauses");
  // The waveform is drawn: bars of many heights.
  await page.waitForTimeout(300);
  const heights = await barHeights("song");
  assert.ok(heights > 10, `${heights} different heights`);
  await look("player");
});

await check("the waveform is there at once, without the MP3; a file from before has its own drawn", async () => {
  const asked = [];
  const noted = (request) => {
    // The sound is fetched by the element `audio`, and the tag by its range.
    if (request.resourceType() === "fetch" && /\/(mp3|peaks)$/.test(request.url()) && !request.headers().range) {
      asked.push(request.url().split("/").at(-1));
    }
  };
  page.on("request", noted);
  /** The waveform with only these routes: how many heights it has, and what was asked for it. */
  const drawn = async () => {
    asked.length = 0;
    await page.reload();
    await phase("song", "done");
    await row("song").getByRole("button", { name: "Play" }).click();
    await until(async () => (await barHeights("song")) > 10, "bars of many heights");
    return [...asked];
  };
  // Nothing but the waveform itself can have drawn it.
  await page.route(/\/mp3$/, (route) => (route.request().resourceType() === "fetch" ? route.abort() : route.continue()));
  assert.deepEqual(await drawn(), ["peaks"]);
  await page.unroute(/\/mp3$/);
  errors = errors.filter((e) => !e.includes("ERR_FAILED"));
  // As an earlier version made it.
  const old = async (route) => {
    const response = await route.fetch();
    const list = await response.json();
    for (const job of list.jobs) if (job.mp3) job.mp3.peaks = null;
    await route.fulfill({ response, json: list });
  };
  await page.route(/\/api\/v1\/jobs\?/, old);
  assert.deepEqual(await drawn(), ["mp3"]);
  await page.unroute(/\/api\/v1\/jobs\?/, old);
  // The route is there, and what it gives is not.
  await page.route(/\/peaks$/, (route) => route.fulfill({ status: 404, body: "" }));
  assert.deepEqual(await drawn(), ["peaks", "mp3"]);
  await page.unroute(/\/peaks$/);
  errors = errors.filter((e) => !e.includes("404"));
  page.off("request", noted);
  await page.reload();
  await phase("song", "done");
});

await check("a book has chapters, and a cover is shown", async () => {
  await row("chapters").getByRole("button", { name: "Play" }).click();
  const chapters = row("chapters").locator(".chapters button");
  await chapters.first().waitFor();
  assert.ok((await chapters.count()) > 1);
  await chapters.nth(1).click();
  await until(() => chapters.nth(1).getAttribute("aria-current"), "the second chapter is current");
  await page.setInputFiles("#files", COVER);
  await phase("tags-cover", "done");
  await row("tags-cover").getByRole("button", { name: "Play" }).click();
  await until(() => row("tags-cover").locator(".cover").evaluate((image) => image.naturalWidth > 0), "the cover");
  await look("list");
});

await check("a row has title, artist and album at once, and a cover that is read when the row is seen, no more than it", async () => {
  const asked = [];
  const noted = (request) => /\/mp3$/.test(request.url()) && asked.push(request.headers().range);
  page.on("request", noted);
  await page.reload();
  await phase("tags-cover", "done");
  const labels = row("tags-cover").locator(".labels");
  assert.equal(await labels.textContent(), "Harbour at Seven \u2014 The Kettle \u00b7 Fresh Snow \u2013 Gr\u00f6\u00dfe");
  const thumb = row("tags-cover").locator(".thumb");
  await until(() => thumb.evaluate((image) => !image.hidden && image.naturalWidth > 0), "the cover");
  assert.match(await thumb.getAttribute("src"), /^blob:/);
  assert.equal(await row("cut").locator(".thumb").isVisible(), false);
  // One request for each that has a cover and is seen.
  const covers = await page.evaluate(async () => {
    const { jobs } = await (await fetch("/api/v1/jobs?limit=500")).json();
    return jobs.map((job) => job.mp3?.report?.cover).filter(Boolean);
  });
  const ranges = covers.map((length) => `bytes=0-${32 * 1024 + length - 1}`);
  assert.ok(asked.length > 0 && asked.every((range) => ranges.includes(range)), `${asked} for ${ranges}`);
  assert.equal(new Set(asked).size, asked.length, "each once");
  page.off("request", noted);
});

await check("a cover that is no picture runs nothing and is not shown", async () => {
  const script = `<svg xmlns="http://www.w3.org/2000/svg"><script>top.document.title = "gotcha"</script><rect width="9" height="9"/></svg>`;
  const frame = (id, body) => {
    const head = Buffer.alloc(10);
    head.write(id);
    // All sizes here are below 128 in each byte but the last two.
    head.writeUInt32BE(((body.length & 0x3f80) << 1) | (body.length & 0x7f), 4);
    return Buffer.concat([head, body]);
  };
  for (const [type, body] of [["image/svg+xml", script], ["image/png", script], ["text/html", "<script>document.title = 'gotcha'</script>"]]) {
    const picture = Buffer.concat([Buffer.from(`\0${type}\0\x03\0`, "latin1"), Buffer.from(body)]);
    const frames = frame("APIC", picture);
    const head = Buffer.from("ID3\x04\0\0\0\0\0\0", "latin1");
    head.writeUInt32BE(((frames.length & 0x3f80) << 1) | (frames.length & 0x7f), 6);
    let served = 0;
    const serve = (route) => {
      served += 1;
      return route.fulfill({ status: 206, body: Buffer.concat([head, frames]), contentType: "audio/mpeg" });
    };
    await page.route(/\/mp3$/, serve);
    await page.reload();
    await phase("tags-cover", "done");
    await until(() => served > 0, "the cover is read");
    await page.waitForTimeout(300);
    assert.equal(await row("tags-cover").locator(".thumb").isVisible(), false, type);
    assert.notEqual(await page.title(), "gotcha");
    await page.unroute(/\/mp3$/, serve);
  }
  await page.reload();
  await phase("tags-cover", "done");
});

/** Where the first frame of an MP3 must begin. */
function isMp3(bytes) {
  const tag = bytes.toString("latin1", 0, 3) === "ID3" ? 10 + ((bytes[6] << 21) | (bytes[7] << 14) | (bytes[8] << 7) | bytes[9]) : 0;
  return bytes[tag] === 0xff && (bytes[tag + 1] & 0xe6) === 0xe2;
}

async function download(link) {
  const [file] = await Promise.all([page.waitForEvent("download"), link.click()]);
  return { name: file.suggestedFilename(), bytes: readFileSync(await file.path()) };
}

await check("one MP3 is downloaded, and a batch as a ZIP", async () => {
  const song = await download(row("song").getByRole("link", { name: "Download" }));
  assert.equal(song.name, "song.mp3");
  assert.ok(song.bytes.length > 100_000 && isMp3(song.bytes));
  const zip = await download(page.getByRole("link", { name: "Download these" }));
  assert.equal(zip.bytes.toString("latin1", 0, 4), "PK\x03\x04");
  assert.ok(zip.bytes.includes("song.mp3") && zip.bytes.includes("chapters.mp3"));
});

await check("a file's name is text, whatever it says", async () => {
  const name = `<img src=x onerror="document.title='gotcha'">&amp;.mp4`;
  await page.setInputFiles("#files", { name, mimeType: "video/mp4", buffer: readFileSync(COVER) });
  // The video's name is shown as it is; the MP3's has no character that a file name cannot have everywhere.
  await phase("_img", "done");
  assert.equal(await row("_img").locator(".name").textContent(), `_img src=x onerror=_document.title='gotcha'__&amp;.mp3`);
  assert.equal(await page.locator(".row img[src=x]").count(), 0);
  assert.notEqual(await page.title(), "gotcha");
  await row("_img").getByRole("button", { name: "Delete" }).click();
  await row("_img").waitFor({ state: "detached" });
  assert.equal(await page.locator("#undo img").count(), 0);
});

/** The ids of the user's jobs, as the service has them. */
const ids = () => page.evaluate(async () => (await (await fetch("/api/v1/jobs?limit=500")).json()).jobs.map((job) => job.id));
const idOf = async (name) => /[0-9a-f]{24}/.exec(await row(name).getByRole("link", { name: "Download" }).getAttribute("href"))[0];
const undo = page.getByRole("button", { name: "Undo" });
/** Sends the song under a name of its own, and waits for it. */
async function sendSong(...names) {
  await page.setInputFiles("#files", names.map((name) => ({ name: `${name}.mp4`, mimeType: "video/mp4", buffer: readFileSync(SONG) })));
  for (const name of names) await phase(name, "done");
}

await check("what is deleted goes at once, and comes back by a button or by the keyboard", async () => {
  // What was deleted before is undone with it.
  await undo.waitFor({ state: "hidden" });
  await sendSong("lantern", "kettle");
  const id = await idOf("kettle");
  const deletions = [];
  const noted = (request) => request.method() === "DELETE" && deletions.push(request.url());
  page.on("request", noted);
  await row("kettle").getByRole("button", { name: "Delete" }).click();
  await row("kettle").waitFor({ state: "detached" });
  await page.getByText("Deleted kettle.mp4.").first().waitFor();
  // The focus stays in the list, and what the service tells meanwhile brings nothing back.
  assert.ok(await page.evaluate(() => document.activeElement.closest(".row")), "the focus is on a row");
  await page.evaluate(() => dispatchEvent(new Event("online")));
  await page.waitForTimeout(1000);
  assert.equal(await row("kettle").count(), 0);
  // It stays while the focus is there.
  await undo.focus();
  await look("deleted");
  await undo.click();
  await phase("kettle", "done");
  assert.equal(await undo.isVisible(), false);
  const label = () => page.evaluate(() => document.activeElement.ariaLabel);
  assert.equal(await label(), "Delete kettle.mp4", "the focus is where it was");
  // Both at once, and back together, from where the focus is.
  await page.keyboard.press("Enter");
  await row("kettle").waitFor({ state: "detached" });
  await row("lantern").getByRole("button", { name: "Delete" }).click();
  await page.getByText("Deleted 2 files.").first().waitFor();
  await page.locator("#link-url").focus();
  await page.keyboard.press("Control+z");
  assert.ok(await undo.isVisible(), "in a field, it is the field's");
  await page.locator("#choose").focus();
  await page.keyboard.press("Control+z");
  await phase("kettle", "done");
  await phase("lantern", "done");
  assert.equal(await page.locator(".row", { hasText: /kettle|lantern/ }).count(), 2);
  assert.deepEqual(deletions, []);
  assert.ok((await ids()).includes(id));
  page.off("request", noted);
});

await check("what is not undone is deleted after a while, but not while the button has the focus", async () => {
  const id = await idOf("kettle");
  await row("kettle").getByRole("button", { name: "Delete" }).click();
  await undo.focus();
  await page.waitForTimeout(9500);
  assert.ok(await undo.isVisible(), "it waits for who is there");
  assert.ok((await ids()).includes(id));
  await page.locator("#choose").focus();
  await undo.waitFor({ state: "hidden" });
  await until(async () => !(await ids()).includes(id), "it is deleted");
  assert.equal(await row("kettle").count(), 0);
});

await check("what was deleted is in no ZIP", async () => {
  await sendSong("anvil", "basin", "cellar");
  await row("basin").getByRole("button", { name: "Delete" }).click();
  const these = page.locator(".group", { hasText: "anvil" }).getByRole("link", { name: "Download these" });
  const zip = await download(these);
  const names = ["anvil.mp3", "basin.mp3", "cellar.mp3"].filter((name) => zip.bytes.includes(name));
  assert.deepEqual(names, ["anvil.mp3", "cellar.mp3"]);
});

await check("what was deleted is gone when the page is closed, frozen or signed out of, and not when it is hidden", async () => {
  await sendSong("closed", "hidden", "frozen", "left");
  const [closed, hidden, frozen, left] = await Promise.all(["closed", "hidden", "frozen", "left"].map(idOf));
  await row("closed").getByRole("button", { name: "Delete" }).click();
  await page.goto(`${url}/api/docs/`);
  await page.goto(url);
  await phase("hidden", "done");
  await until(async () => !(await ids()).includes(closed), "it went with the page");
  await page.reload();
  await phase("hidden", "done");
  assert.equal(await row("closed").count(), 0);
  await row("hidden").getByRole("button", { name: "Delete" }).click();
  await row("hidden").waitFor({ state: "detached" });
  // It stays while the focus is there.
  await undo.focus();
  await page.evaluate(() => {
    Object.defineProperty(document, "hidden", { value: true, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
    delete document.hidden;
    document.dispatchEvent(new Event("visibilitychange"));
  });
  await undo.click();
  await phase("hidden", "done");
  assert.ok((await ids()).includes(hidden), "whoever comes back can undo it");
  await row("frozen").getByRole("button", { name: "Delete" }).click();
  await row("frozen").waitFor({ state: "detached" });
  await page.evaluate(() => document.dispatchEvent(new Event("freeze")));
  await until(async () => !(await ids()).includes(frozen), "its timers may never go on");
  assert.equal(await undo.isVisible(), false);
  await row("left").getByRole("button", { name: "Delete" }).click();
  await page.click("#sign-out");
  await page.waitForSelector("#door:not([hidden])");
  await signIn(ANN);
  await phase("song", "done");
  assert.ok(!(await ids()).includes(left), "it was deleted before the session ended");
  // Going away breaks off what is under way.
  errors = errors.filter((e) => !/ERR_(ABORTED|NETWORK_CHANGED|INCOMPLETE_CHUNKED_ENCODING)/.test(e));
});

await check("options reach the conversion", async () => {
  await page.locator("#options summary").click();
  await page.selectOption("#quality", "constant");
  await page.selectOption("#bitrate", "96");
  await page.fill("#from", "0:02");
  await page.fill("#to", "1");
  await page.getByText("The part must end after it starts.").waitFor();
  await page.fill("#to", "5");
  await page.selectOption("#loudness", "-16");
  await page.fill("#fadeOut", "soon");
  await page.getByText("A fade is written as 2 or 0.5.").waitFor();
  await page.fill("#fadeOut", "0.5");
  await page.uncheck("#tags");
  await page.locator("#choice").getByText("96 kbit/s, −16 LUFS, from 0:02, to 0:05, fade out 0.5 s, no tags").waitFor();
  await look("options");
  const part = join(made, "part.mp4");
  writeFileSync(part, readFileSync(SONG));
  await page.setInputFiles("#files", part);
  await phase("part", "done");
  assert.match(await row("part").locator(".status").textContent(), /^0:03 · /);
  const asked = await page.evaluate(async () => (await (await fetch("/api/v1/jobs?limit=1")).json()).jobs[0].options);
  assert.deepEqual(asked, { bitrate: 96, start: 2, duration: 3, fade_out: 0.5, normalize: -16, tags: false });
  await page.reload();
  await page.locator("#choice").getByText("96 kbit/s, −16 LUFS, fade out 0.5 s, no tags").waitFor();
  await phase("part", "done");
  await page.locator("#options summary").click();
  await page.selectOption("#quality", "");
  await page.selectOption("#loudness", "");
  await page.fill("#fadeOut", "");
  await page.check("#tags");
  await page.fill("#from", "");
  await page.fill("#to", "");
});

await check("a book that is split is there to be saved, not to be played", async () => {
  await page.check("#split");
  await page.locator("#choice").getByText("split by chapters").waitFor();
  await page.setInputFiles("#files", { name: "novel.m4b", mimeType: "audio/mp4", buffer: readFileSync(BOOK) });
  await phase("novel", "done");
  await page.uncheck("#split");
  assert.equal(await row("novel").locator(".name").textContent(), "novel.zip");
  assert.match(await row("novel").locator(".status").textContent(), /^0:03 · .+ · \d chapters/);
  assert.equal(await row("novel").getByRole("button", { name: "Play" }).count(), 0);
  const zip = await download(row("novel").getByRole("link", { name: "Download" }));
  assert.equal(zip.name, "novel.zip");
  assert.equal(zip.bytes.toString("latin1", 0, 4), "PK\x03\x04");
  await look("split");
});

// One session for all: two that each set a rate contradict each other.
const devtools = await context.newCDPSession(page);
await devtools.send("Network.enable");
const slow = async (rate) => {
  await devtools.send("Network.emulateNetworkConditions", { offline: false, latency: 0, downloadThroughput: -1, uploadThroughput: rate });
};

await check("an upload is paused, resumed, and after a reload goes on where it was", async () => {
  const long = padded("long.mp4", 24 << 20);
  await slow(4 << 20);
  await page.setInputFiles("#files", long);
  const percent = async () => Number(await row("long").getByRole("progressbar").getAttribute("aria-valuenow"));
  await until(async () => (await percent()) >= 15, "a part is sent");
  await row("long").getByRole("button", { name: "Pause" }).click();
  await phase("long", "paused");
  await page.screenshot({ path: join(target, "paused.png") });
  await row("long").getByRole("button", { name: "Resume" }).click();
  await phase("long", "sending");
  await until(async () => (await percent()) >= 45, "nearly half is sent");
  await page.reload();
  await phase("long", "left");
  await until(async () => (await percent()) > 20, "the page says how much is there");
  const before = await percent();
  await slow(-1);
  const offsets = [];
  const noted = (request) => request.method() === "PATCH" && offsets.push(Number(request.headers()["upload-offset"]));
  page.on("request", noted);
  const [chooser] = await Promise.all([page.waitForEvent("filechooser"), row("long").getByRole("button", { name: "Choose file" }).click()]);
  await chooser.setFiles(long);
  await phase("long", "done");
  page.off("request", noted);
  assert.ok(offsets[0] >= (before / 100) * (24 << 20), `sent again from byte ${offsets[0]}`);
  // The same file once more, dropped in: a conversion of its own, since the first upload is complete.
  assert.match(await row("long").locator(".status").textContent(), /^0:12/);
});

await check("of a video only the sound is sent, also where it goes on after a reload, and the row says so", async () => {
  const path = film("film.mp4", 60 << 20);
  const most = 1.05 * readFileSync(SONG).length;
  const lengths = [];
  const offsets = [];
  const outlines = [];
  const noted = (request) => {
    const headers = request.headers();
    if (request.method() === "POST" && headers["upload-length"]) lengths.push(Number(headers["upload-length"]));
    if (request.method() === "PATCH") offsets.push(Number(headers["upload-offset"]));
  };
  const finished = async (request) => {
    if (request.url().includes("/api/v1/sound")) outlines.push(Number((await request.allHeaders())["content-length"]));
  };
  page.on("request", noted);
  page.on("requestfinished", finished);
  // Chromium tells of progress by 64 KiB at a time: slow enough to be seen, and fast enough to be seen soon.
  await slow(20_000);
  await page.setInputFiles("#files", path);
  await row("film").getByText(/ of \d{3} kB, the sound of 63.2 MB/).waitFor();
  const percent = async () => Number(await row("film").getByRole("progressbar").getAttribute("aria-valuenow"));
  await until(async () => (await percent()) >= 20, "a part is sent");
  await page.reload();
  await phase("film", "left");
  await until(async () => (await percent()) > 10, "the page says how much is there");
  await slow(-1);
  offsets.length = 0;
  const choose = async (path) => {
    const [chooser] = await Promise.all([page.waitForEvent("filechooser"), row("film").getByRole("button", { name: "Choose file" }).click()]);
    await chooser.setFiles(path);
  };
  await choose(film("film2.mp4", 60 << 20));
  await page.getByText("This is another file. Please choose film.mp4.").waitFor();
  await choose(path);
  await phase("film", "done");
  page.off("request", noted);
  page.off("requestfinished", finished);
  assert.equal(lengths.length, 1);
  // Everything but the media, which the film has 32 kB of: once at first, once after the reload.
  assert.equal(outlines.length, 2);
  assert.ok(outlines.every((sent) => sent > 10_000 && sent < 40_000), `outlines of ${outlines} bytes`);
  assert.ok(lengths[0] <= most, `${lengths[0]} bytes are sent`);
  assert.ok(offsets[0] > 10_000, `sent again from byte ${offsets[0]}`);
  console.log(`     ${lengths[0]} bytes and outlines of ${outlines} for 63 MB`);
  assert.match(await row("film").locator(".status").textContent(), /^0:12 .* \d{3} kB of 63.2 MB sent/);
});

await check("a file that is chosen anew after a reload is known again", async () => {
  const again = padded("again.mp4", 12 << 20);
  await slow(3 << 20);
  await page.setInputFiles("#files", again);
  await until(async () => Number(await row("again").getByRole("progressbar").getAttribute("aria-valuenow")) >= 40, "a part is sent");
  await page.reload();
  await phase("again", "left");
  await slow(-1);
  const creations = [];
  page.on("request", (request) => request.method() === "POST" && creations.push(request.url()));
  await page.setInputFiles("#files", again);
  await phase("again", "done");
  assert.equal(await page.locator(".row", { hasText: "again.mp" }).count(), 1);
  assert.deepEqual(creations, [], "it is no new upload");
});

await check("the same file twice is two jobs, and the mail's link leads to its own", async () => {
  const twice = padded("twice.mp4", 4 << 20);
  await slow(4 << 20);
  await page.setInputFiles("#files", [twice]);
  await page.setInputFiles("#files", [twice]);
  await slow(-1);
  const both = page.locator('.row[data-phase="done"]', { has: page.locator(".name", { hasText: "twice" }) });
  await until(async () => (await both.count()) === 2, "both are done");
  const link = await both.nth(1).getByRole("link", { name: "Download" }).getAttribute("href");
  const id = /[0-9a-f]{24}/.exec(link)[0];
  const outbox = join(data, "outbox");
  const mailed = () => readdirSync(outbox).some((name) => readFileSync(join(outbox, name), "utf8").replaceAll("=\r\n", "").includes(`${url}/#job-${id}`));
  await until(mailed, "the mail has the link");
  await page.goto("about:blank");
  await page.goto(`${url}/#job-${id}`);
  await until(() => page.evaluate((link) => document.activeElement.closest(".row")?.querySelector("[data-act=save]").getAttribute("href") === link, link), "it has the focus");
});

await check("an upload outlives a service that is killed and comes back", async () => {
  const tough = padded("tough.mp4", 16 << 20);
  await slow(4 << 20);
  await page.setInputFiles("#files", tough);
  const percent = async () => Number(await row("tough").getByRole("progressbar").getAttribute("aria-valuenow"));
  await until(async () => (await percent()) >= 20, "a part is sent");
  child.removeAllListeners("exit");
  child.kill("SIGKILL");
  await row("tough").getByText("Waiting for the connection").waitFor();
  await page.screenshot({ path: join(target, "stalled.png") });
  ({ child } = await serve(new URL(url).host));
  await slow(-1);
  await phase("tough", "done");
  await page.locator("#banner").waitFor({ state: "hidden" });
  errors = errors.filter((e) => !/ERR_(CONNECTION_\w+|SOCKET_NOT_CONNECTED|INCOMPLETE_CHUNKED_ENCODING|EMPTY_RESPONSE)/.test(e));
});

await check("the list is filtered", async () => {
  await page.getByRole("radio", { name: "Not done" }).check({ force: true });
  await phase("video-only", "failed");
  assert.equal(await page.locator(".row[data-phase=done]").count(), 0);
  await page.getByRole("radio", { name: "Under way" }).check({ force: true });
  await page.getByText("No such files.").waitFor();
  await page.getByRole("radio", { name: "All" }).check({ force: true });
  await phase("song", "done");
});

await check("a session that ends is taken up again", async () => {
  await context.clearCookies();
  await row("video-only").getByRole("button", { name: "Try again" }).click();
  await page.getByRole("dialog").getByLabel("Password").waitFor();
  await page.screenshot({ path: join(target, "expired.png") });
  assert.ok(errors.every((e) => e.includes("401")), "only the refusal is in the console");
  errors = [];
  await page.getByRole("dialog").getByLabel("Password").fill(ANN.password);
  await page.getByRole("dialog").getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("dialog").waitFor({ state: "detached" }).catch(() => {});
  await row("video-only").getByRole("button", { name: "Try again" }).click();
  await phase("video-only", "failed");
  // Covers of rows that came in sight were asked for meanwhile.
  errors = errors.filter((e) => !/401 .*\/mp3$/.test(e));
});

await check("being offline is said, and is over when it is over", async () => {
  await context.setOffline(true);
  await page.getByText("You are offline").waitFor();
  await page.screenshot({ path: join(target, "offline.png") });
  await context.setOffline(false);
  await page.locator("#banner").waitFor({ state: "hidden" });
  errors = errors.filter((e) => !e.includes("ERR_INTERNET_DISCONNECTED"));
});

await check("a deletion that fails brings the row back and says why", async () => {
  const id = await idOf("lantern");
  const remove = async () => {
    await row("lantern").getByRole("button", { name: "Delete" }).click();
    await row("lantern").waitFor({ state: "detached" });
  };
  const one = /\/api\/v1\/jobs\/[0-9a-f]{24}$/;
  for (const [answer, why] of [
    [(route) => route.abort("internetdisconnected"), "Micropy cannot be reached."],
    [(route) => route.fulfill({ status: 503, json: { detail: "The ledger is away." } }), "The ledger is away."],
  ]) {
    await page.route(one, (route) => (route.request().method() === "DELETE" ? answer(route) : route.continue()));
    await remove();
    await page.getByText(`lantern.mp4 is not deleted. ${why}`).waitFor();
    await phase("lantern", "done");
    await page.unroute(one);
  }
  assert.ok((await ids()).includes(id));
  // Somebody else was faster: so be it.
  await page.evaluate((id) => fetch(`/api/v1/jobs/${id}`, { method: "DELETE" }), id);
  await remove();
  await undo.waitFor({ state: "hidden" });
  await page.waitForTimeout(300);
  assert.equal(await row("lantern").count(), 0);
  errors = errors.filter((e) => !/ERR_INTERNET_DISCONNECTED|status of (503|404)/.test(e));
});

await check("the keyboard alone signs in, opens the options and plays", async () => {
  await page.click("#sign-out");
  await page.waitForSelector("#door:not([hidden])");
  const tabTo = async (selector) => {
    for (let i = 0; i < 60; i++) {
      if (await page.evaluate((selector) => document.activeElement.matches(selector), selector)) return;
      await page.keyboard.press("Tab");
    }
    assert.fail(`Tab never comes to ${selector}`);
  };
  await tabTo("#email");
  await page.keyboard.type(ANN.email);
  await page.keyboard.press("Tab");
  await page.keyboard.type("not the password");
  await page.keyboard.press("Enter");
  await page.getByText("Wrong address or password.").waitFor();
  errors = errors.filter((e) => !e.includes("401"));
  await tabTo("#password");
  await page.keyboard.press("Control+A");
  await page.keyboard.type(ANN.password);
  await page.keyboard.press("Enter");
  await page.waitForSelector("#desk:not([hidden])");
  await phase("song", "done");
  await tabTo("#choose");
  await tabTo("summary");
  await page.keyboard.press("Enter");
  assert.equal(await page.locator("#options").evaluate((options) => options.open), true);
  await tabTo("[data-act=play]");
  const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
  assert.equal(outline, "solid", "the focus is to be seen");
  await page.keyboard.press("Enter");
  await until(async () => (await audio("currentTime")) > 0.2, "it plays");
});

await check("a token for a program is made, shown once, used and ended", async () => {
  await page.click("#who-email");
  await page.locator("#tokens-none").waitFor();
  await look("account");
  await page.getByLabel("Name of a new token").fill("a <b>script</b>");
  await page.getByLabel("It may convert").uncheck();
  await page.getByRole("button", { name: "Make token" }).click();
  await page.getByLabel("Your new token").waitFor();
  const token = await page.getByLabel("Your new token").inputValue();
  assert.match(token, /^mpy_/);
  const ask = (method, path) => fetch(`${url}${path}`, { method, headers: { authorization: `Bearer ${token}` } });
  assert.equal((await ask("GET", "/api/v1/jobs")).status, 200);
  assert.equal((await ask("POST", "/api/v1/uploads")).status, 403);
  await page.getByText("a <b>script</b>").waitFor();
  await page.getByRole("button", { name: "Close" }).click();
  await page.click("#who-email");
  assert.equal(await page.getByLabel("Your new token").isVisible(), false);
  const [download] = await Promise.all([page.waitForEvent("download"), page.click("#export")]);
  const exported = JSON.parse(readFileSync(await download.path(), "utf8"));
  assert.equal(exported.email, ANN.email);
  assert.ok(exported.jobs.some((job) => job.mp3?.file_name === "song.mp3"));
  assert.equal(JSON.stringify(exported).includes(token), false);
  await page.getByRole("button", { name: /End the token/ }).click();
  await page.locator("#tokens-none").waitFor();
  assert.equal((await ask("GET", "/api/v1/jobs")).status, 401);
  await page.getByRole("button", { name: "Close" }).click();
});

await check("a webhook is added, its secret shown once, its deliveries seen and sent again, and it is removed", async () => {
  const received = [];
  const endpoint = createServer((request, response) => {
    const parts = [];
    request.on("data", (part) => parts.push(part));
    request.on("end", () => {
      received.push({ headers: request.headers, body: Buffer.concat(parts).toString() });
      response.writeHead(received.length === 1 ? 500 : 204).end();
    });
  });
  await new Promise((resolve) => endpoint.listen(0, "127.0.0.1", resolve));
  const hook = `http://127.0.0.1:${endpoint.address().port}/hook?order=7`;
  await page.click("#who-email");
  await page.locator("#hooks-none").waitFor();
  await page.getByLabel("URL of a new webhook").fill("ftp://example.com/");
  await page.getByRole("button", { name: "Add webhook" }).click();
  await page.locator("#hook-wrong").getByText(/begins with https/).waitFor();
  errors = errors.filter((e) => !e.includes("400"));
  await page.getByLabel("URL of a new webhook").fill(hook);
  await page.getByRole("button", { name: "Add webhook" }).click();
  const shown = page.getByLabel("Its secret");
  await shown.waitFor();
  const secret = await shown.inputValue();
  assert.match(secret, /^whsec_/);
  assert.equal(await page.locator("#hooks li").count(), 1);
  await page.locator("#hooks").getByText("/hook?order=7").waitFor();
  await look("webhooks");
  await page.getByRole("button", { name: "Close" }).click();
  await page.click("#who-email");
  assert.equal(await shown.isVisible(), false, "it is shown once");
  assert.ok(!(await page.content()).includes(secret) && !(await page.evaluate(() => document.getElementById("hook-secret").value)).includes("whsec_"));
  await page.getByRole("button", { name: "Close" }).click();

  await sendSong("hooked");
  await until(() => received.length > 0, "it is called");
  // As Standard Webhooks says: https://www.standardwebhooks.com.
  const verify = ({ headers, body }) => {
    const key = Buffer.from(secret.slice("whsec_".length), "base64");
    const signed = `${headers["webhook-id"]}.${headers["webhook-timestamp"]}.${body}`;
    assert.equal(headers["webhook-signature"], `v1,${createHmac("sha256", key).update(signed).digest("base64")}`);
    return JSON.parse(body);
  };
  assert.equal(verify(received[0]).data.file_name, "hooked.mp4");
  await page.click("#who-email");
  await page.getByText("What was sent").click();
  const sent = page.locator("#deliveries li");
  await sent.first().waitFor();
  assert.equal(await sent.count(), 1);
  assert.match(await sent.first().textContent(), /job\.done to http.*(pending|delivered)/);
  await look("deliveries");
  const before = received.length;
  await page.getByRole("button", { name: /^Send again: job\.done to / }).click();
  await until(() => received.length > before, "it is called again");
  assert.equal(received.at(-1).headers["webhook-id"], received[0].headers["webhook-id"], "by the same name");
  verify(received.at(-1));
  await until(async () => {
    await page.getByText("What was sent").click();
    return /delivered · accepted/.test(await sent.first().textContent().catch(() => ""));
  }, "what came of it is seen");
  await page.getByRole("button", { name: /^Remove the webhook/ }).click();
  await page.locator("#hooks-none").waitFor();
  await page.getByRole("button", { name: "Close" }).click();
  const called = received.length;
  await sendSong("unhooked");
  await page.waitForTimeout(1000);
  assert.equal(received.length, called, "nobody calls it any more");
  endpoint.close();
});

await check("a forgotten password is set by the link of a mail, once", async () => {
  await page.click("#sign-out");
  await page.waitForSelector("#door:not([hidden])");
  await page.fill("#email", ANN.email);
  await page.click("#forgot-go");
  await page.getByText("a mail with a link is on its way").waitFor();
  const outbox = join(data, "outbox");
  let code;
  await until(async () => {
    const mails = readdirSync(outbox).map((name) => readFileSync(join(outbox, name), "utf8").replace(/=\r?\n/g, "").replace(/=3D/g, "="));
    code = mails.map((mail) => /#reset-([\w.-]+)/.exec(mail)?.[1]).find(Boolean);
    return code;
  }, "the mail");
  await page.goto(`${url}/#reset-${code}`);
  await page.reload();
  await page.getByLabel("New password").fill("another horse battery");
  await page.getByRole("button", { name: "Set password" }).click();
  await page.getByText("Your new password is set.").waitFor();
  assert.equal(new URL(page.url()).hash, "", "the code is not in the history");
  await signIn({ ...ANN, password: "another horse battery" });
  await phase("song", "done");
  await page.goto(`${url}/#reset-${code}`);
  await page.getByLabel("New password").fill("a third horse battery");
  await page.getByRole("button", { name: "Set password" }).click();
  await page.getByText("This link was used already").waitFor();
  errors = errors.filter((e) => !e.includes("409"));
  await page.getByRole("button", { name: "Not now" }).click();
});

await check("the viewer of the API works within its policy", async () => {
  await page.goto(`${url}/api/docs/`);
  await page.getByText("/api/v1/auth/tokens").first().waitFor();
});

await check("nothing is asked of another host", async () => assert.deepEqual([...strangers], []));

result(`passed ${passed}`);
await browser.close();
child.removeAllListeners("exit");
child.kill("SIGTERM");
await new Promise((resolve) => child.once("exit", resolve));
process.exitCode = failed ? 1 : 0;
