"""Where queued jobs stand, and what the MP3 says of itself."""

import time

import pytest

from harness.clips import GOOD, clip, hours

# A worker has minutes of work with that.
SLOWLY = "/api/v1/uploads?quality=0&sample_rate=48000"
#: Seconds for which an answer of the ledger holds.
HOLDS = 3


@pytest.fixture(scope="module")
def long_video(tmp_path_factory):
    return hours(tmp_path_factory.mktemp("hours"))


def test_a_queued_job_says_where_it_stands_and_when_it_begins(start, long_video):
    service = start("serve", workers=1)
    ann, bob = service.user("ann@example.com"), service.user("bob@example.com")
    assert ann.uploaded(GOOD)["queue"] is None
    busy = ann.upload(long_video, path=SLOWLY).job_id
    assert ann.job(busy, states=["running"])["queue"] is None
    first, second, third = (ann.upload(GOOD).job_id for _ in range(3))
    other = bob.upload(GOOD).job_id

    def places():
        time.sleep(HOLDS)
        jobs = {job["id"]: job["queue"] for user in (ann, bob) for job in user.jobs()}
        assert jobs[second] == ann.get(f"/api/v1/jobs/{second}").json()["queue"]
        return [jobs[id] for id in (first, second, third, other)]
    told = places()
    assert [place["position"] for place in told] == [1, None, None, 2], "users take turns"
    assert [place["begins_in"] for place in told] == [None] * 4, "one conversion says too little"
    # Then there are some.
    ann.act(busy, "cancel")
    for user, id in ((ann, first), (bob, other), (ann, third)):
        assert user.job(id)["state"] == "done"
    busy = ann.upload(long_video, path=SLOWLY).job_id
    assert ann.job(busy, states=["running"])["state"] == "running"
    first, second, third = (ann.upload(GOOD).job_id for _ in range(3))
    other = bob.upload(GOOD).job_id
    told = places()
    assert [place["position"] for place in told] == [1, None, None, 2]
    times = {name: place["begins_in"] for name, place in zip(("first", "second", "third", "other"), told)}
    # Short ones round to the same second.
    assert 0 < times["first"] <= times["other"] <= times["second"] <= times["third"], times
    # Changes tell of it as well.
    events = bob.events()
    assert events.line() == b"event: ready"
    time.sleep(HOLDS)
    later = bob.upload(GOOD).job_id
    told = next(job["queue"] for job in events.jobs() if job["id"] == later and job["queue"])
    assert told["position"] is None or told["position"] > 0
    events.close()
    ann.act(busy, "cancel")
    assert ann.job(third)["queue"] is None


def test_the_report_has_what_the_mp3_says_of_itself(ann):
    report = ann.uploaded(clip("tags-cover-jpeg.m4a"))["mp3"]["report"]
    assert (report["title"], report["artist"], report["album"]) == ("Harbour at Seven", "The Kettle", "Fresh Snow – Größe")
    job = ann.uploaded(clip("tags-cover-jpeg.m4a"))
    start = ann.get(job["mp3"]["url"], Range=f"bytes=0-{32 * 1024 + report['cover'] - 1}").body
    assert start.index(b"APIC") < 32 * 1024 and b"\xff\xd8\xff" in start, "the page reads so much for the cover"
    bare = ann.uploaded(clip("tags-cover-jpeg.m4a"), path="/api/v1/uploads?tags=false")["mp3"]["report"]
    assert {"title", "artist", "album", "cover"} & bare.keys() == set()
    parts = ann.uploaded(clip("chapters.m4b"), path="/api/v1/uploads?split=chapters")["mp3"]["report"]
    assert "title" not in parts and "cover" not in parts and parts["chapters"] > 1
