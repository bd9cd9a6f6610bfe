"""Videos behind URLs, and webhooks, over services of their own: MySQL, MongoDB and RabbitMQ between them."""

import json
import os
import signal

import pytest
from standardwebhooks import Webhook

from harness import SONG
from harness.clips import GOOD, Clip, repeated
from harness.clock import until
from harness.fleet import IMPORT, SERVICES, VIDEO
from harness.hooks import Receiver
from harness.servers import nginx
from harness.servers.server import Missing

ALLOWED = {"allowed_networks": "127.0.0.0/8"}


@pytest.fixture(scope="module")
def web():
    server = nginx.Nginx()
    try:
        server.start()
    except Missing as e:
        server.close()
        pytest.skip(str(e))
    os.symlink(SONG, os.path.join(server.www, "song.mp4"))
    yield server
    server.close()


@pytest.fixture
def allowing(fleet):
    """All four, which may reach this machine."""
    yield fleet.become(*SERVICES, gateway=ALLOWED, converter=ALLOWED, notification=ALLOWED)
    fleet.become(*SERVICES)


def imported(user, url, **more):
    reply = user.ask("POST", "/api/v1/imports", {"url": url, **more})
    assert reply.status == 201, reply
    return reply.json()["id"]


def test_an_import_and_its_webhook_pass_through_all_services(allowing, ann, web):
    with Receiver() as receiver:
        secrets = [ann.ask("POST", "/api/v1/auth/webhooks", wanted).json()["secret"] for wanted in ({}, {"url": receiver.url})]
        id = imported(ann, f"{web.url}/song.mp4", webhook=f"{receiver.url}?own")
        job = ann.job(id, seconds=60)
        assert job["state"] == "done", job
        assert ann.get(job["mp3"]["url"]).body[:3] == b"ID3"
        requests = {request.path: request for request in (receiver.next(), receiver.next())}
        for path, secret in zip(("/hook?own", "/hook"), secrets):
            told = Webhook(secret).verify(requests[path].body, requests[path].headers)
            assert (told["type"], told["data"]["id"]) == ("job.done", id)
        assert receiver.none(), "each is called once"


def test_a_webhook_is_called_again_after_its_service_was_killed(allowing, ann):
    with Receiver() as receiver:
        secret = ann.ask("POST", "/api/v1/auth/webhooks", {"url": receiver.url}).json()["secret"]
        receiver.answers(500, 204)
        assert ann.uploaded(GOOD)["state"] == "done"
        first = receiver.next()
        allowing.notification.kill()
        allowing.notification.start()
        second = receiver.next(seconds=90)
        assert second.headers["webhook-id"] == first.headers["webhook-id"]
        assert Webhook(secret).verify(second.body, second.headers)["type"] == "job.done"


def test_no_flask_converter_is_given_an_import(fleet, ann, web):
    fleet.become("auth", gateway=ALLOWED)
    id = imported(ann, f"{web.url}/song.mp4")
    assert fleet.state(VIDEO)[0] == 0
    method, _, body = fleet.take(IMPORT)
    told = json.loads(body)
    assert (method.routing_key, told["job_id"], told["mp3_fid"]) == (IMPORT, id, None)
    assert web.url not in body.decode(), "the ledger has the URL, which may hold a secret"


def test_an_import_waits_for_no_converter_that_is_at_work(fleet, ann, bob, web, tmp_path):
    one = ALLOWED | {"workers": 1}
    fleet.become("auth", gateway=ALLOWED, **{"converter-1": one})
    busy = fleet.service("converter-1")
    long = bob.upload(Clip("long.m4a", repeated(tmp_path / "long.m4a", 100)), patience=120).job_id
    assert until(busy.workers)
    [worker] = busy.workers()
    os.kill(worker, signal.SIGSTOP)
    id = imported(ann, f"{web.url}/song.mp4")
    fleet.become("auth", gateway=ALLOWED, **{"converter-1": one, "converter-2": one})
    assert ann.job(id, seconds=60)["state"] == "done"
    assert bob.job(long, seconds=0)["state"] == "running"
    assert bob.act(long, "cancel").status == 200
    assert until(lambda: not busy.workers())
