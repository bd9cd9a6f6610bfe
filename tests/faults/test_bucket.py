"""Videos and MP3s in a bucket of S3 that is away for a while, in the middle of conversions and of uploads: see
conftest.py.

    MICROPY_OUTAGES   how often it is away, in each way (1; 10)
"""

import hashlib
import os
import random
import signal
import threading
import time

import pytest

from harness import SEED, number
from harness.bucket import Bucket
from harness.clients import Client
from harness.clips import GOOD, padded, variant
from harness.clock import until
from harness.fleet import Proxy
from harness.servers import Missing

from .conftest import CONVERTERS, NOTIFICATIONS

pytestmark = pytest.mark.timeout(1800)
OUTAGES = number("OUTAGES", 1, full=10)
#: Seconds for which it is away.
AWAY = 6
#: How it is away: its connections are refused, or it says nothing.
WAYS = {"refuses": Proxy.cut, "hangs": Proxy.hold}


@pytest.fixture(scope="module", params=["moto", pytest.param("localstack", marks=pytest.mark.full)])
def bucket(request, fleet):
    """What is in the bucket, where the gateway and the converters keep videos and MP3s; `line` is the way to it."""
    try:
        store = getattr(fleet.servers, request.param)
    except Missing as e:
        pytest.skip(str(e))
    bucket = Bucket(store, f"faults-{request.param}")
    bucket.line = Proxy(store.url)
    there = {"storage_url": bucket.url(bucket.line.url), "jobs_url": fleet.mongodb}
    fleet.become("auth", *NOTIFICATIONS, gateway=there, **dict.fromkeys(CONVERTERS, there))
    yield bucket
    bucket.line.mend()
    fleet.become("auth", "gateway", *CONVERTERS, *NOTIFICATIONS)


def verify(fleet, bucket, client):
    """Waits for what is under way, and holds what was accepted against what is there. The jobs."""
    fleet.settle(client, 120)
    jobs = {str(job["_id"]): job for job in fleet.jobs.find({"owner": client.email})}
    assert client.accepted
    assert client.lost_bytes == [], "acknowledged bytes of resumable uploads"
    for entry in client.accepted:
        job = jobs[entry.job]
        assert job["state"] == "done", (job.get("failure"), job["attempts"], job.get("outages"))
        assert hashlib.sha256(bucket.read(f"videos/whole/{job['source']}")).hexdigest() == entry.sha256
        mp3 = bucket.read(f"mp3s/whole/{job['mp3']}")
        assert (mp3[:3], len(mp3)) == (b"ID3", job["mp3_bytes"])
    mails = fleet.mailbox.read()
    assert [id for id in jobs if len(set(mails.get((id, "MP3 Download"), []))) != 1] == [], "one mail about each"
    assert client.without_retry_after == 0
    assert set(client.answers) <= {200, 201, 204, 409, 503, "none"}
    return [jobs[entry.job] for entry in client.accepted]


@pytest.mark.parametrize("way", WAYS)
def test_a_bucket_that_is_away_while_videos_are_converted_costs_no_job_and_no_attempt(fleet, bucket, long_audio, way):
    rng, client = random.Random(SEED), Client(fleet, f"bucket.work.{way}.{bucket.store.name}@example.com")
    for _ in range(OUTAGES):
        sent = [client.send("long.m4a", variant(rng, long_audio, 1000)).job for _ in range(3)]
        assert until(lambda: any(fleet.job(job)["state"] == "running" for job in sent), 60)
        # They are in the middle, whatever comes next: reading on, or storing the MP3.
        held = [pid for service in fleet.converters for pid in service.workers()]
        for pid in held:
            os.kill(pid, signal.SIGSTOP)
        WAYS[way](bucket.line)
        for pid in held:
            os.kill(pid, signal.SIGCONT)
        assert held
        time.sleep(AWAY)
        assert [job for job in sent if fleet.job(job)["state"] == "failed"] == []
        assert any(fleet.job(job)["state"] != "done" for job in sent), "nothing can be stored meanwhile"
        bucket.line.mend()
        fleet.settle(client, 120)
    jobs = verify(fleet, bucket, client)
    assert [job["attempts"] for job in jobs] == [1] * len(jobs)
    if way == "refuses":
        assert sum(job["outages"] for job in jobs) > 0
    fleet.row(f"bucket {way} during conversions, {bucket.store.name}", OUTAGES, {"accepted": len(jobs), "lost": 0, "doubled": 0})


@pytest.mark.parametrize("way", WAYS)
def test_a_bucket_that_is_away_during_uploads_loses_no_acknowledged_byte(fleet, bucket, way):
    rng, client = random.Random(SEED), Client(fleet, f"bucket.uploads.{way}.{bucket.store.name}@example.com")
    before_all = bucket.unfinished("videos")
    for n in range(OUTAGES):
        # Beyond the first part of a multipart upload, so that there are parts and tails.
        sent = [padded(GOOD.data, random.Random(f"{way}{n}{k}").randbytes(9_500_000)) for k in range(2)]
        before, over = len(client.accepted), threading.Event()

        def form():
            data = variant(rng)
            while client.send("form.mp4", data) is None:
                time.sleep(0.2)
        senders = [threading.Thread(target=client.send_resumable, args=[f"{k}.mp4", data, rng.randrange(400_000, 900_000), over.is_set],
                                    kwargs={"pause": 0.2}, daemon=True) for k, data in enumerate(sent)]
        senders.append(threading.Thread(target=form, daemon=True))
        acknowledged = client.answers[204]
        for one in senders:
            one.start()
        assert until(lambda: client.answers[204] >= acknowledged + 6, 60), "both are in the middle"
        WAYS[way](bucket.line)
        time.sleep(AWAY)
        assert len(client.accepted) < before + 3, "they cannot all be there"
        bucket.line.mend()
        for one in senders:
            one.join(240)
        assert not any(one.is_alive() for one in senders)
        assert len(client.accepted) == before + 3
    jobs = verify(fleet, bucket, client)
    # What broke off is nobody's, and a sweeper's, once its hour is over: of each sender one upload at most.
    left = bucket.unfinished("videos") - before_all
    assert len(left) <= 3 * OUTAGES, left
    fleet.row(f"bucket {way} during uploads, {bucket.store.name}", OUTAGES, {"accepted": len(jobs), "lost": 0, "doubled": 0},
              videos_left=len(left))
