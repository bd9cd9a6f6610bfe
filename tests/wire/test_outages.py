"""A gateway that cannot store or cannot publish says so, and leaves nothing behind."""

import json
import threading
import time

import pytest

from harness.clips import FIRST, GOOD
from harness.clock import until
from harness.fleet import MP3, VIDEO, Proxy
from harness.http import BROKEN


def left(fleet):
    """What is stored, and what waits."""
    videos = fleet.mongo["videos"]
    return {"files": videos["fs.files"].count_documents({}), "chunks": videos["fs.chunks"].count_documents({}),
            "jobs": fleet.jobs.count_documents({}), VIDEO: fleet.state(VIDEO), MP3: fleet.state(MP3)}


@pytest.fixture
def broker(fleet):
    return Proxy(fleet.amqp)


@pytest.fixture
def store(fleet):
    return Proxy(fleet.mongodb)


@pytest.fixture
def fragile(fleet, ann, broker, store):
    """The fleet without a converter, its gateway behind proxies."""
    fleet.become("auth", "notification", gateway={"queue_url": broker.url, "storage_url": store.url})
    return fleet


@pytest.mark.parametrize("what", ["queue", "storage"])
def test_without_queue_or_storage_an_upload_gets_503_and_leaves_nothing(fragile, ann, broker, store, what):
    proxy, before = broker if what == "queue" else store, left(fragile)
    proxy.cut()
    began = time.monotonic()
    reply = ann.upload(GOOD)
    assert reply.answer == (503, "internal server error")
    assert reply.headers.get("retry-after", "").isdigit()
    assert time.monotonic() - began < 45
    if proxy is store:
        assert ann.download("0" * 24).status == 503
    proxy.mend()
    time.sleep(0.5)
    assert left(fragile) == before
    # When it is back, an upload is one message; deleted, it leaves nothing either.
    reply = until(lambda: (found := ann.upload(GOOD)).status == 200 and found, 15)
    assert fragile.state(VIDEO)[0] == 1
    fragile.take(VIDEO)
    ann.ask("DELETE", f"/api/v1/jobs/{reply.job_id}")
    until(lambda: left(fragile) == before)
    assert left(fragile) == before


def test_a_queue_deleted_under_the_gateway_never_costs_a_message(fragile, ann):
    before = left(fragile)
    fragile.channel.queue_delete(VIDEO)
    reply = ann.upload(GOOD)
    if reply.status == 200:
        assert fragile.state(VIDEO) == (1, 0)
    else:
        assert reply.status == 503
        assert left(fragile)["files"] == before["files"]
    # Ours, where it was absent: a declaration that differs would be refused.
    fragile.rabbit.channel().queue_declare(VIDEO, durable=True)
    fragile.become("auth", "gateway", "converter")
    if reply.status == 200:
        assert ann.job(reply.job_id)["state"] == "done"


def test_a_gateway_killed_between_storing_and_publishing_queues_the_job_or_has_no_file(fragile, ann, broker):
    before = left(fragile)
    broker.hold()
    heard = []

    def upload():
        try:
            heard.append(ann.upload(FIRST).status)
        except BROKEN as e:
            heard.append(type(e).__name__)

    client = threading.Thread(target=upload, daemon=True)
    client.start()
    assert until(lambda: left(fragile)["jobs"] == before["jobs"] + 1 and left(fragile)["files"] == before["files"] + 1)
    time.sleep(0.5)
    assert fragile.state(VIDEO)[0] == 0
    fragile.gateway.kill()
    client.join(10)
    assert heard == ["ConnectionError"]
    broker.cut()
    fragile.start("gateway")
    if until(lambda: fragile.state(VIDEO)[0], 60):
        assert fragile.state(VIDEO)[0] == 1
        ids = {str(file._id) for file in fragile.videos.find()}
        method, _, text = fragile.take(VIDEO, ack=False)
        assert json.loads(text)["video_fid"] in ids
        fragile.put_back(method)
        fragile.become("auth", "gateway", "converter")
        states = lambda: {job["state"] for job in fragile.jobs.find({"owner": ann.email})}
        assert until(lambda: states() == {"done"})
        assert until(lambda: fragile.state(VIDEO) == (0, 1))
    else:
        assert left(fragile) == before
