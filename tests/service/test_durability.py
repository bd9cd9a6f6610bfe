"""Nothing accepted is lost: not by a kill, by SIGTERM, or by the sweeper."""

import json
import os
import random
import shutil
import sqlite3
import subprocess
import threading
import time

import pytest

from harness import SEED, number
from harness.clips import GOOD, OTHER, SILENT, Clip, repeated
from harness.clock import until
from harness.http import BROKEN, User

DATA = GOOD.data
KILLS = number("KILLS", 15, full=200)


def database(service):
    return sqlite3.connect(service.folder / "micropy.db")


def sources(service):
    """Each job's id, and that of its video."""
    return {id.hex(): source.hex() for id, source in database(service).execute("SELECT id, source FROM jobs")}


def messages(service):
    """How many messages are in the queues."""
    return database(service).execute("SELECT count(*) FROM messages").fetchone()[0]


class Uploads:
    """Clients that upload without a pause, at once and in parts, and keep a log of what was accepted."""

    def __init__(self, user, clients=3):
        self.user, self.accepted, self.over, self.lock = user, {}, threading.Event(), threading.Lock()
        self.threads = [threading.Thread(target=self.run, args=[n], daemon=True) for n in range(clients)]
        for one in self.threads:
            one.start()

    def run(self, n):
        rng = random.Random(SEED * 1000 + n)
        while not self.over.is_set():
            clip = rng.choice([GOOD, OTHER, SILENT])
            try:
                job = self.at_once(clip) if rng.random() < 0.5 else self.in_parts(clip)
                if job:
                    with self.lock:
                        self.accepted[job] = clip
            except BROKEN:
                time.sleep(0.02)
            time.sleep(0.02)

    def at_once(self, clip):
        reply = self.user.upload(clip)
        return reply.job_id if reply.status == 201 else None

    def in_parts(self, clip):
        made, offset = self.user.create(len(clip.data)), 0
        while offset < len(clip.data):
            try:
                offset = self.user.offset(made.headers["location"])
                if offset < len(clip.data):
                    self.user.patch(made.headers["location"], clip.data[offset:offset + 7000], offset)
            except BROKEN:
                time.sleep(0.02)
        return made.job_id

    def end(self):
        self.over.set()
        for one in self.threads:
            one.join(20)
        return self.accepted


def settle(user):
    """Waits until no job is left to do, as long as some end every now and then."""
    left, since = None, time.monotonic()
    while time.monotonic() - since < 45:
        now = len(list(user.every_job("queued,running")))
        if now == 0:
            return
        if now != left:
            left, since = now, time.monotonic()
        time.sleep(0.2)


@pytest.mark.timeout(3000)
def test_kills_at_any_moment_lose_nothing(start):
    rng, service = random.Random(SEED), start("serve")
    ann = service.user("ann@example.com")
    uploads = Uploads(ann)
    for _ in range(KILLS):
        time.sleep(rng.uniform(0.05, 0.5))
        service.kill()
        service.start()
    accepted = uploads.end()
    assert len(accepted) > KILLS
    settle(ann)
    # Chance has killed some at each of their attempts: they say so, and can be tried again.
    unlucky = [job["id"] for job in ann.every_job("failed") if "unexpectedly" in job["failure"]]
    assert {ann.act(id, "retry").status for id in unlucky} <= {200}
    settle(ann)
    lost, wrong = [], []
    for id, clip in accepted.items():
        reply = ann.get(f"/api/v1/jobs/{id}")
        if reply.status != 200:
            lost.append(id)
            continue
        job = reply.json()
        if job["state"] != ("failed" if clip is SILENT else "done"):
            wrong.append((id, clip.name, job["state"], job["failure"], job["attempts"]))
        elif job["state"] == "done" and ann.get(f"/api/v1/jobs/{id}/mp3").body[:3] != b"ID3":
            wrong.append((id, "no MP3"))
    assert service.stop() == 0
    videos = sources(service)
    for id, clip in accepted.items():
        file = service.folder / "videos" / "whole" / videos.get(id, "none")
        if not file.exists() or file.read_bytes() != clip.data:
            lost.append(id)
    assert (lost, wrong) == ([], [])
    assert messages(service) == 0
    print(f"{KILLS} kills, {len(accepted)} accepted, {len(unlucky)} tried again, 0 lost, 0 wrong")


def test_a_job_whose_process_died_three_times_is_not_begun_again(start):
    service = start("serve")
    ann = service.user("ann@example.com")
    id = ann.uploaded(GOOD)["id"]
    # A message that its MP3 is ready would make it done again.
    assert until(lambda: messages(service) == 0)
    service.kill()
    # As the third death leaves it: begun, counted, its message not acknowledged.
    with database(service) as ledger:
        source = sources(service)[id]
        ledger.execute("UPDATE jobs SET state = 'running', attempts = 3, mp3 = NULL, mp3_bytes = NULL, report = NULL, finished = NULL")
        body = json.dumps({"video_fid": source, "mp3_fid": None, "username": ann.email, "job_id": id})
        ledger.execute("INSERT INTO messages (queue, payload, deliveries, held, due) VALUES ('video', ?, 3, 1, 9e12)", [body.encode()])
    ledger.close()
    service.start()
    job = ann.job(id)
    assert (job["state"], "unexpectedly" in (job["failure"] or "")) == ("failed", True)
    assert ann.uploaded(GOOD)["state"] == "done"


def test_sigterm_stops_in_time_and_loses_no_job_and_no_byte(start):
    service = start("serve", grace="1s")
    ann, data = service.user("ann@example.com"), OTHER.data
    place = ann.create(len(data)).headers["location"]
    stalled = ann.begin_part(place, len(data), 0)
    stalled.sendall(data[:5000])
    files = ann.upload(*[Clip(f"{n}.mp4", data, f"f{n}") for n in range(30)]).json()["files"]
    began = time.monotonic()
    assert service.stop() == 0
    assert time.monotonic() - began < 4
    stalled.close()
    service.start()
    ended = [ann.job(file["job"]["id"]) for file in files]
    assert {(job["state"], job["attempts"]) for job in ended} == {("done", 1)}
    assert ann.offset(place) == 5000
    assert ann.patch(place, data[5000:], 5000).status == 204


def row(service, id, columns):
    """What the ledger has of a job."""
    found = database(service).execute(f"SELECT {columns} FROM jobs WHERE id = ?", [bytes.fromhex(id)])
    return found.fetchone()


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory):
    """A file whose conversion takes some seconds."""
    return Clip("long.m4a", repeated(tmp_path_factory.mktemp("long") / "long.m4a", 20))


def test_a_conversion_ends_within_the_grace_period(start, long_clip):
    service = start("serve", grace="60s", workers=1)
    ann = service.user("ann@example.com")
    running = ann.upload(long_clip).job_id
    waiting = ann.upload(OTHER).job_id
    assert ann.job(running, states=["running"])["state"] == "running"
    began = time.monotonic()
    assert service.stop(70) == 0
    assert time.monotonic() - began < 50, "it does not wait for longer than it needs to"
    assert row(service, running, "state, attempts, deliveries") == ("done", 1, 1)
    assert row(service, waiting, "state, deliveries") == ("queued", 0), "no other is begun"
    service.start()
    assert ann.job(waiting)["state"] == "done"


def test_a_job_that_is_always_interrupted_counts_no_attempt_and_ends(start, long_clip):
    service = start("serve", grace="0s", workers=1)
    ann = service.user("ann@example.com")
    id = ann.upload(long_clip).job_id
    for interruptions in range(1, 5):
        assert ann.job(id, states=["running"])["state"] == "running"
        assert service.stop() == 0
        assert row(service, id, "state, attempts, deliveries") == ("queued", 0, interruptions)
        service.start()
    # As after many more.
    assert service.stop() == 0
    with database(service) as ledger:
        ledger.execute("UPDATE jobs SET deliveries = 40")
    ledger.close()
    service.start()
    job = ann.job(id)
    assert (job["state"], "stopped each time" in (job["failure"] or "")) == ("failed", True), job
    assert ann.act(id, "retry").status == 200
    assert ann.job(id, 60)["state"] == "done"


def test_a_lost_message_is_asked_for_again_and_keeps_nothing_else_waiting(start):
    service = start("serve", workers=1)
    ann = service.user("ann@example.com")
    first = ann.uploaded(GOOD)["id"]
    assert service.stop() == 0
    # As if its message had been lost hours ago, while another waits for its turn.
    with database(service) as ledger:
        ledger.execute("""UPDATE jobs SET state = 'queued', attempts = 0, deliveries = 0, started = NULL, finished = NULL,
                          mp3 = NULL, mp3_bytes = NULL, in_line = 1, updated = updated - 7200000, requested = requested - 7200000""")
        ledger.execute("DELETE FROM messages")
    ledger.close()
    service.start()
    second = ann.upload(OTHER).job_id
    assert ann.job(first, 90)["state"] == "done"
    assert ann.job(second)["state"] == "done"


def sweep(service, *flags):
    """What `micropy-server sweep --dry-run` prints."""
    swept = subprocess.run([service.program, "sweep", "--dry-run", "--data-dir", service.folder, *flags], capture_output=True, text=True)
    assert swept.returncode == 0, swept.stderr
    return swept.stdout.splitlines()


def test_expired_jobs_are_removed_and_files_without_an_owner_wait_for_hours(start):
    service = start("serve")
    ann = service.user("ann@example.com")
    id = ann.uploaded(GOOD)["id"]
    place = ann.create(len(GOOD.data)).headers["location"]
    ann.patch(place, GOOD.data[:1000], 0)
    orphan = service.folder / "videos" / "whole" / "0123456789abcdef01234567"
    orphan.write_bytes(b"x")
    os.utime(orphan, (1, 1))
    # While the service runs: it notices nothing, and holds what it has leased.
    assert sweep(service) == [f"video {orphan.name}", "0 finished jobs past their retention", "0 abandoned uploads", "1 videos of no job",
                              "0 MP3s of no job"]
    time.sleep(1.1)
    found = sweep(service, "--retention", "1ms", "--upload-expiry", "1s")
    assert found == [f"job {id}", f"upload {place.rsplit('/', 1)[1]}", f"video {orphan.name}", "1 finished jobs past their retention",
                     "1 abandoned uploads", "1 videos of no job", "0 MP3s of no job"]
    assert (ann.job(id)["state"], ann.offset(place)) == ("done", 1000)
    service.restart(retention="1ms")
    until(lambda: ann.get(f"/api/v1/jobs/{id}").status == 404, 5)
    assert ann.get(f"/api/v1/jobs/{id}").status == 404
    until(lambda: not service.files("mp3s"), 5)
    # It was seen once only. micropy-services/tests/sweeper.rs lets the hours pass.
    assert (service.files("videos"), service.files("mp3s")) == ([orphan.name], [])
    assert ann.offset(place) == 1000


def test_a_new_ledger_beside_a_full_store_is_refused_until_it_is_told_to_adopt(start):
    service = start("serve")
    ann = service.user("ann@example.com")
    ann.uploaded(GOOD)
    assert service.stop() == 0
    kept = service.files("videos"), service.files("mp3s")
    assert all(kept)
    aside = service.folder / "aside"
    aside.mkdir()
    for file in service.folder.glob("micropy.db*"):
        file.rename(aside / file.name)
    with pytest.raises(RuntimeError, match="this ledger is new.*micropy-server adopt"):
        service.start()
    assert (service.files("videos"), service.files("mp3s")) == kept
    adopted = subprocess.run([service.program, "adopt", "--data-dir", service.folder], capture_output=True, text=True)
    assert (adopted.returncode, "belong to this ledger" in adopted.stdout) == (0, True), adopted.stderr
    service.start()
    assert (service.files("videos"), service.files("mp3s")) == kept


def test_a_new_ledger_beside_files_from_before_bindings_is_refused_until_it_is_told_to_adopt(start):
    service = start("serve")
    ann = service.user("ann@example.com")
    ann.uploaded(GOOD)
    assert service.stop() == 0
    # As a version left it that bound no store to its ledger.
    for store in ("videos", "mp3s"):
        (service.folder / store / "ledger").unlink()
    with sqlite3.connect(service.folder / "micropy.db") as database:
        database.execute("DELETE FROM ledger")
    kept = service.files("videos"), service.files("mp3s")
    aside = service.folder / "aside"
    aside.mkdir()
    for file in service.folder.glob("micropy.db*"):
        file.rename(aside / file.name)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="knows none of them.*micropy-server adopt"):
            service.start()
    assert (service.files("videos"), service.files("mp3s")) == kept
    # The right ledger is taken for what it is.
    for file in service.folder.glob("micropy.db*"):
        file.unlink()
    for file in aside.iterdir():
        file.rename(service.folder / file.name)
    service.start()
    assert [job["state"] for job in User(service.url, ann.email, ann.token).jobs()] == ["done"]
    assert (service.files("videos"), service.files("mp3s")) == kept


def test_a_ledger_from_a_backup_is_refused_beside_newer_files(start):
    service = start("serve")
    ann = service.user("ann@example.com")
    ann.uploaded(GOOD)
    assert service.stop() == 0
    backup = service.folder / "backup"
    shutil.copytree(service.folder, backup, ignore=shutil.ignore_patterns("videos", "mp3s", "work"))
    service.start()
    ann.uploaded(OTHER)
    assert service.stop() == 0
    kept = service.files("videos"), service.files("mp3s")
    for file in service.folder.glob("micropy.db*"):
        file.unlink()
    for file in backup.glob("micropy.db*"):
        shutil.copy(file, service.folder)
    with pytest.raises(RuntimeError, match="older.*micropy-server adopt"):
        service.start()
    assert (service.files("videos"), service.files("mp3s")) == kept


def test_an_upload_is_on_the_disk_before_it_is_answered(start, tmp_path):
    # In which order the service asks the kernel: the file to disk, its name, its folder, the ledger, and only then an
    # answer.
    if not shutil.which("strace"):
        pytest.skip("strace is not installed")
    service, trace = start("serve"), tmp_path / "strace"
    ann = service.user("ann@example.com")
    calls = "fsync,fdatasync,rename,renameat,renameat2,link,linkat,write,writev,sendto,sendmsg"
    tracer = subprocess.Popen(["strace", "-f", "-y", "-s", "40", "-e", f"trace={calls}", "-o", trace, "-p", str(service.process.pid)],
                              stderr=subprocess.PIPE, text=True)
    line = tracer.stderr.readline()
    if "attached" not in line:
        tracer.kill()
        pytest.skip(line.strip())
    place = ann.create(len(DATA)).headers["location"]
    ann.patch(place, DATA[:9000], 0)
    at_once, in_parts = ann.upload(GOOD), ann.patch(place, DATA[9000:], 9000)
    assert (at_once.status, in_parts.status) == (201, 204)
    jobs = {at_once.job_id: "201 Created", place.rsplit("/", 1)[1]: "204 No Content"}
    for id in jobs:
        ann.job(id)
    assert service.stop() == 0
    tracer.wait(30)
    events, videos = list(system_calls(trace)), sources(service)
    for id, status in jobs.items():
        source = videos[id]
        # Parts are written down one by one: what counts is the last time before the name.
        named = next((begin for begin, _, call, text in events if "rename" in call and source in text), 0)
        at = max((end for _, end, call, text in events if "fsync" in call and end < named and "videos/unfinished/" in text and source in text),
                 default=None)
        assert at is not None, f"{status}: its bytes"
        for step, name, word in [("its name", "rename", f"videos/whole/{source}"), ("its folder", "fsync", "videos/whole>"),
                                 ("the ledger", "sync", "micropy.db-wal"), ("the answer", "", f"HTTP/1.1 {status}")]:
            at = next((end for begin, end, call, text in events if name in call and begin > at and word in text), None)
            assert at is not None, f"{status}: {step}"


def system_calls(trace):
    """Of each call in what strace has written: the lines where it began and ended, its name, its words."""
    open_calls = {}
    for at, line in enumerate(trace.read_text(errors="replace").splitlines()):
        pid, call = line.split(None, 1)
        if call.endswith("<unfinished ...>"):
            open_calls[pid] = (at, call)
        elif call.startswith("<... ") and pid in open_calls:
            begin, started = open_calls.pop(pid)
            yield begin, at, started.split("(")[0], started
        elif "(" in call:
            yield at, at, call.split("(")[0], call
