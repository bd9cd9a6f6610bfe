"""A worker that dies or hangs costs one attempt of one job, and no conversion exceeds its limits."""

import os
import signal
import time
from pathlib import Path

import pytest

from harness.clips import GOOD, OTHER, hours
from harness.clock import until

# A worker has minutes of work with that.
SLOWLY = "/api/v1/uploads?quality=0&sample_rate=48000"
SECRET = "only-the-services-know-of-this-one"
TOO_LARGE = "The MP3 would be larger than 10000 bytes, the most that this service allows."
TOO_LONG = "The conversion took longer than 2s, the most that this service allows."


@pytest.fixture(scope="session")
def long_video(tmp_path_factory):
    return hours(tmp_path_factory.mktemp("hours"))


def running(user, id):
    """The job as soon as it runs, or has ended."""
    return user.job(id, states=["running", "done", "failed"])


def test_a_running_job_can_be_cancelled_tried_again_and_deleted(start, long_video):
    service = start("serve", workers=1)
    ann = service.user("ann@example.com")
    long = ann.upload(long_video, path=SLOWLY).job_id
    assert running(ann, long)["state"] == "running"
    began = time.monotonic()
    reply = ann.act(long, "cancel")
    assert (reply.status, reply.json()["state"]) == (200, "cancelled")
    assert ann.uploaded(GOOD)["state"] == "done"
    assert time.monotonic() - began < 15
    job = ann.job(long)
    assert (job["state"], job["mp3"], job["failure"]) == ("cancelled", None, None)
    assert ann.get(f"/api/v1/jobs/{long}/mp3").status == 404
    assert ann.act(long, "retry").status == 200
    assert running(ann, long)["state"] == "running"
    waiting = ann.upload(OTHER).job_id
    assert ann.job(waiting, states=["queued"])["state"] == "queued"
    assert ann.act(waiting, "cancel").json()["state"] == "cancelled"
    assert ann.act(waiting, "retry").json()["state"] == "queued"
    assert ann.ask("DELETE", f"/api/v1/jobs/{long}").status == 204
    assert ann.job(waiting)["state"] == "done"
    assert ann.get(f"/api/v1/jobs/{long}").status == 404
    assert service.stop() == 0
    assert (len(service.files("videos")), len(service.files("mp3s")), service.files("mp3s", "unfinished")) == (2, 2, [])


@pytest.mark.full
def test_a_worker_keeps_a_job_that_takes_longer_than_a_lease(start, long_video):
    service = start("serve", workers=max(2, os.cpu_count()))
    ann = service.user("ann@example.com")
    id = ann.upload(long_video, path=SLOWLY).job_id
    job = running(ann, id)
    began, progress = time.monotonic(), job["progress"]
    while job["state"] == "running" and time.monotonic() - began < 35:
        time.sleep(1)
        job = running(ann, id)
    ended = job["state"] == "done"
    if not ended:
        assert (job["state"], job["attempts"], job["progress"] > progress) == ("running", 1, True)
    ann.act(id, "cancel")
    if ended:
        pytest.skip(f"the conversion took only {time.monotonic() - began:.0f} s")


def test_three_deaths_of_a_worker_end_its_job_and_no_other(start, long_video):
    service = start("serve", workers=2, jwt_secret=SECRET)
    ann = service.user("ann@example.com")

    def begin():
        """A job that runs, and its worker process."""
        others = set(service.workers())
        id = ann.upload(long_video, path=SLOWLY).job_id
        assert running(ann, id)["state"] == "running"
        return id, until(lambda: set(service.workers()) - others).pop()

    hit, worker = begin()
    spared, other = begin()
    assert Path(f"/proc/{worker}/cmdline").read_bytes().split(b"\0")[1] == b"worker-exec"
    assert SECRET.encode() not in Path(f"/proc/{worker}/environ").read_bytes()
    for attempt, sort in enumerate([signal.SIGABRT, signal.SIGILL, signal.SIGKILL], 1):
        assert running(ann, hit)["attempts"] == attempt
        os.kill(worker, sort)
        assert until(lambda: worker not in service.workers())
        if attempt < 3:
            worker = until(lambda: set(service.workers()) - {other}, 15).pop()
    job = ann.job(hit)
    assert (job["state"], job["attempts"], "several times" in job["failure"]) == ("failed", 3, True)
    assert (running(ann, spared)["state"], running(ann, spared)["attempts"], service.workers()) == ("running", 1, [other])
    assert all(f"signal: {number} (" in service.said() for number in (6, 4, 9))
    service.kill()
    assert until(lambda: not Path(f"/proc/{other}").exists())

    # What was spared is begun again, and now there is too little time for it.
    service.start(conversion_time="2s", workers=1)
    job = ann.job(spared)
    assert (job["state"], job["failure"]) == ("failed", TOO_LONG)


def test_a_worker_that_hangs_is_ended_and_its_place_is_free(start, long_video):
    service = start("serve", workers=1, conversion_time="2s")
    ann = service.user("ann@example.com")
    id = ann.upload(long_video, path=SLOWLY).job_id
    assert running(ann, id)["state"] == "running"
    os.kill(until(service.workers)[0], signal.SIGSTOP)
    job = ann.job(id)
    assert (job["state"], job["attempts"], job["failure"]) == ("failed", 1, TOO_LONG)
    assert until(lambda: not service.workers())
    assert ann.uploaded(GOOD)["state"] == "done"


@pytest.mark.parametrize("memory", ["1MiB", "2MiB"])
def test_a_conversion_that_needs_too_much_memory_fails_until_it_gets_more(start, memory):
    service = start("serve", workers=1, conversion_memory=memory)
    ann = service.user("ann@example.com")
    job = ann.uploaded(GOOD)
    # LAME says that it has no memory, which ends the job. Anything else ends the process, which is tried three times.
    if job["attempts"] == 1:
        assert (job["state"], "no memory left" in job["failure"]) == ("failed", True)
    else:
        assert (job["state"], job["attempts"], "several times" in job["failure"]) == ("failed", 3, True)
        assert "memory allocation" in service.said() or "cannot start a thread" in service.said()
    service.restart(conversion_memory=None)
    assert ann.act(job["id"], "retry").status == 200
    assert ann.job(job["id"])["state"] == "done"


def test_an_mp3_that_is_too_large_fails_at_once(start):
    ann = start("serve", conversion_output="10KB").user("ann@example.com")
    job = ann.uploaded(GOOD)
    assert (job["state"], job["attempts"], job["failure"]) == ("failed", 1, TOO_LARGE)
