"""Large uploads need no memory, and a full disk is told of and recovered from."""

import os
import subprocess
import time

import pytest

from harness import number
from harness.clips import GOOD, SONG, large
from harness.clock import until
from harness.service import Service

DATA = GOOD.data


def upload_large(user, size):
    body = large(size)
    return user.ask("POST", "/api/v1/uploads", body, Content_Type=body.kind, patience=120)


@pytest.mark.timeout(3000)
def test_memory_does_not_grow_with_an_upload(start):
    size = number("UPLOAD_MB", 300, full=2048) << 20
    # A worker process that needed more would fail.
    service = start("serve", conversion_memory="64MiB")
    ann = service.user("ann@example.com")
    ann.uploaded(GOOD)
    before = service.peak_memory(forget=True)
    reply = upload_large(ann, size)
    assert reply.status == 201
    assert ann.job(reply.job_id, 60)["state"] == "done"
    grown = service.peak_memory() - before
    print(f"upload of {size >> 20} MB: memory grew by {grown >> 20} MB")
    assert grown < 50 << 20


@pytest.fixture
def small_disk(tmp_path):
    """A service on a file system of 64 MiB."""
    folder = tmp_path / "serve"
    folder.mkdir()
    if os.geteuid():
        pytest.skip("needs root to mount a file system of its own")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", folder], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(mounted.stderr.strip())
    service = Service("serve", folder)
    try:
        yield service.start()
        assert service.stop() == 0
    finally:
        if service.alive:
            service.kill()
        subprocess.run(["umount", folder], check=True)


def test_a_full_disk_accepts_nothing_leaves_nothing_and_recovers(small_disk):
    service, size = small_disk, 80 << 20
    ann = service.user("ann@example.com")
    before = ann.uploaded(GOOD)["id"]
    reply = upload_large(ann, size)
    assert (reply.status, reply.kind) == (507, "application/problem+json")
    place = ann.create(size).headers["location"]
    assert ann.patch(place, DATA + bytes(size - len(DATA)), 0).status == 507
    assert ann.offset(place) == 0
    assert ann.ask("DELETE", place, Tus_Resumable="1.0.0").status == 204
    ballast = service.folder / "ballast"
    fill(ballast)
    for path in ("/api/v1/uploads", "/upload"):
        assert ann.upload(GOOD, path=path).status == 507
    assert ann.create(len(DATA)).status in (201, 503, 507)
    # All else works.
    assert ann.login().status == 200
    whole = ann.get(f"/api/v1/jobs/{before}/mp3")
    assert (whole.status, whole.body[:3]) == (200, b"ID3")
    assert [job["id"] for job in ann.jobs() if job["state"] != "receiving"] == [before]
    assert (len(service.files("videos")), service.files("videos", "unfinished"), len(service.files("mp3s"))) == (1, [], 1)
    waiting = put_off(service, ann, ballast)
    ballast.unlink()
    assert ann.job(waiting, 60)["state"] == "done"
    assert ann.uploaded(GOOD)["state"] == "done"


def test_on_a_full_disk_users_delete_and_the_sweeper_removes(small_disk):
    service = small_disk
    ann = service.user("ann@example.com")
    deleted, *swept = (ann.uploaded(GOOD)["id"] for _ in range(3))
    place = ann.create(len(DATA)).headers["location"]
    paused = place.rpartition("/")[2]
    assert ann.patch(place, DATA[:1000], 0).status == 204
    ballast = service.folder / "ballast"
    fill(ballast)
    assert ann.ask("DELETE", f"/api/v1/jobs/{deleted}").status == 204
    fill(ballast)
    assert ann.ask("POST", f"/api/v1/jobs/{paused}/cancel").status == 200
    assert (len(service.files("videos")), service.files("videos", "unfinished")) == (2, [])
    assert "room for deletions alone" in service.said()
    fill(ballast)
    # Nor does it need room to start.
    service.restart(retention="1ms")
    assert until(lambda: ann.jobs() == [], 30)
    assert (service.files("videos"), service.files("mp3s")) == ([], [])
    assert not any("cannot" in entry["message"] for entry in service.complaints()), service.complaints()
    ballast.unlink()
    service.restart(retention=None)
    assert ann.uploaded(GOOD)["state"] == "done"


def fill(ballast):
    with open(ballast, "ab", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass


def put_off(service, user, ballast):
    """A job for whose MP3 there is no room, though there was for its video: it waits as long as that is so."""
    os.truncate(ballast, ballast.stat().st_size - len(SONG.data) - (500 << 10))
    reply = user.upload(SONG, path="/api/v1/uploads?bitrate=320")
    assert reply.status == 201
    # Three attempts would be over by then.
    time.sleep(12)
    job = user.get(f"/api/v1/jobs/{reply.job_id}").json()
    assert (job["state"] in ("queued", "running"), job["failure"]) == (True, None)
    assert "conversion put off" in service.said()
    return job["id"]
