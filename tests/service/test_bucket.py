"""Videos and MP3s in a bucket of S3: nothing accepted is lost by kills or while the bucket is away, and it can serve
downloads itself."""

import random
import threading
import time
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from harness import SEED, number
from harness.bucket import Bucket
from harness.clients import Client
from harness.clips import GOOD, padded, variant
from harness.clock import until
from harness.fleet import Proxy
from harness.servers import Missing

KILLS = number("KILLS", 6, full=60)


@pytest.fixture(scope="module", params=["moto", "localstack"])
def store(request, servers):
    try:
        return getattr(servers, request.param)
    except Missing as e:
        pytest.skip(str(e))


@pytest.fixture
def bucket(store, request):
    return Bucket(store, request.node.name.replace("[", "-").replace("]", ""))


def test_a_video_becomes_an_mp3_and_both_go_with_their_job(start, bucket):
    service = start("serve", storage_url=bucket.url())
    ann = service.user("ann@example.com")
    data = padded(GOOD.data, random.Random(SEED).randbytes(11_000_000))
    made = ann.create_with(data)
    assert made.status == 201, made
    job = ann.job(made.job_id)
    assert job["state"] == "done", job
    mp3 = ann.get(f"/api/v1/jobs/{job['id']}/mp3")
    assert mp3.body[:3] == b"ID3"
    part = ann.get(f"/api/v1/jobs/{job['id']}/mp3", Range="bytes=100-299")
    assert (part.status, part.body) == (206, mp3.body[100:300])
    [video], [stored] = bucket.names("videos/whole"), bucket.names("mp3s/whole")
    assert (bucket.read(video), bucket.read(stored)) == (data, mp3.body)
    assert ann.ask("DELETE", f"/api/v1/jobs/{job['id']}").status in (200, 204)
    assert until(lambda: bucket.names("videos/whole") + bucket.names("mp3s/whole") == [], 10)
    left = [name for kind in ("videos", "mp3s") for name in bucket.names(f"{kind}/")]
    assert {name.split("/", 1)[1] for name in left} <= {"clock", "conditions", "ledger"}
    assert bucket.uploads() == []


@pytest.mark.timeout(900)
def test_kills_of_the_service_lose_no_upload_and_no_acknowledged_byte(start, bucket):
    rng, service = random.Random(SEED), start("serve", storage_url=bucket.url())
    client = Client(SimpleNamespace(gateway=service), "ann@example.com")
    # Beyond the first part, so that there are parts and tails.
    sent = [padded(GOOD.data, random.Random(n).randbytes(9_500_000)) for n in range(3)]
    senders = [threading.Thread(target=client.send_resumable, args=[f"{n}.mp4", data, rng.randrange(700_000, 3_000_000)],
                                kwargs={"pause": 0.1}, daemon=True) for n, data in enumerate(sent)]
    for one in senders:
        one.start()
    for _ in range(KILLS):
        time.sleep(rng.uniform(0.2, 1.5))
        service.kill()
        service.start()
    for one in senders:
        one.join(300)
    assert len(client.accepted) == len(sent)
    assert client.lost_bytes == []
    for entry in client.accepted:
        job = client.job(entry.job, 120)
        if job["state"] == "failed" and "unexpectedly" in job["failure"]:
            assert client.act(entry.job, "retry").status == 200
            job = client.job(entry.job, 120)
        assert job["state"] == "done", job
    assert bucket.hashes() >= {entry.sha256 for entry in client.accepted}


@pytest.mark.timeout(600)
def test_while_the_bucket_is_away_uploads_are_refused_and_jobs_wait(start, bucket):
    line = Proxy(bucket.store.url)
    service = start("serve", storage_url=bucket.url(line.url))
    client = Client(SimpleNamespace(gateway=service), "ann@example.com")
    before = client.send("before.mp4", GOOD.data)
    assert client.job(before.job)["state"] == "done"
    line.cut()
    assert client.send("meanwhile.mp4", GOOD.data) is None
    assert client.answers[503] == 1 and client.without_retry_after == 0
    assert client.get(f"/api/v1/jobs/{before.job}/mp3").status == 503
    line.mend()
    after = client.send("after.mp4", variant(random.Random(SEED)))
    assert client.job(after.job)["state"] == "done"
    # A job whose video cannot be read is put off, and no attempt is counted.
    service.restart(workers=1)
    line.cut()
    retried = client.act(after.job, "retry").status
    assert retried in (200, 409, 503)
    line.mend()
    assert client.job(after.job, 120)["state"] == "done"
    assert bucket.hashes() >= {entry.sha256 for entry in client.accepted}


def test_the_bucket_serves_what_is_saved_and_the_service_what_is_played(start, bucket):
    service = start("serve", storage_url=bucket.url(), direct_downloads="5s")
    ann, bob = service.user("ann@example.com"), service.user("bob@example.com")
    made = ann.create_with(GOOD.data)
    job = ann.job(made.job_id)
    played = ann.get(f"/api/v1/jobs/{job['id']}/mp3")
    assert (played.status, played.body[:3]) == (200, b"ID3")
    saved = ann.get(f"/api/v1/jobs/{job['id']}/mp3?download=1")
    assert (saved.status, saved.headers["cache-control"]) == (307, "no-store")
    link = saved.headers["location"]
    assert link.startswith(bucket.store.url)
    assert parse_qs(urlsplit(link).query)["X-Amz-Expires"] == ["5"]
    assert bob.get(f"/api/v1/jobs/{job['id']}/mp3?download=1").status == 404
    if bucket.store.name == "moto":
        return  # it does not check signed URLs, and fails on them
    # Anybody can use it, for a while, and without a token.
    got = requests.get(link, timeout=30)
    assert (got.status_code, got.content) == (200, played.body)
    disposition = ann.ask("HEAD", f"/api/v1/jobs/{job['id']}/mp3?download=1").headers["content-disposition"]
    assert "attachment" in disposition
    assert got.headers["content-disposition"] == disposition
    assert got.headers["content-type"] == "audio/mpeg"
    altered = link.replace(parse_qs(urlsplit(link).query)["X-Amz-Signature"][0], "0" * 64)
    assert requests.get(altered, timeout=30).status_code == 403
    time.sleep(6)
    assert requests.get(link, timeout=30).status_code in (400, 403)


def test_direct_downloads_need_a_bucket(start):
    with pytest.raises(RuntimeError, match="direct_downloads: of all stores"):
        start("serve", direct_downloads="5min")
