"""Webhooks: programs of users are told of their jobs, as the official libraries of Standard Webhooks verify it."""

import json
import shutil
import subprocess

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from harness.clips import GOOD, SILENT, Field
from harness.clock import until
from harness.hooks import Receiver
from harness.servers import npm
from harness.servers.server import Missing

LOOPBACK = "127.0.0.0/8"
VERIFY = """
const { Webhook } = require("standardwebhooks");
const [secret, headers, body] = JSON.parse(require("fs").readFileSync(0, "utf8"));
process.stdout.write(JSON.stringify(new Webhook(secret).verify(body, headers)));
"""


@pytest.fixture
def receiver():
    with Receiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def allowing(tmp_path_factory):
    from harness.service import starter

    for start in starter(tmp_path_factory.mktemp("webhooks")):
        yield start("serve", allowed_networks=LOOPBACK)


@pytest.fixture
def ann(allowing, request):
    return allowing.user(f"ann.{abs(hash(request.node.nodeid))}@example.com")


def hook(user, url=None):
    """A webhook that has just been added."""
    reply = user.ask("POST", "/api/v1/auth/webhooks", {"url": url} if url else {})
    assert reply.status == 201, reply
    return reply.json()


def deliveries(user, query=""):
    return user.get(f"/api/v1/deliveries{query}").json()["deliveries"]


def settled(user, count=1, state="delivered"):
    """The user's deliveries, once so many are in this state."""
    assert until(lambda: [d["state"] for d in deliveries(user)].count(state) == count), deliveries(user)
    return deliveries(user)


def test_a_job_that_is_done_is_announced_to_the_official_library(ann, receiver):
    made = hook(ann, receiver.url)
    assert made["secret"].startswith("whsec_")
    job = ann.uploaded(GOOD)
    request = receiver.next()
    told = Webhook(made["secret"]).verify(request.body, request.headers)
    assert told["type"] == "job.done" and told["timestamp"] == job["finished"]
    assert (told["data"]["id"], told["data"]["state"]) == (job["id"], "done")
    assert told["data"]["mp3"]["url"].endswith(job["mp3"]["url"]) and told["data"]["mp3"]["url"].startswith("http")
    with pytest.raises(WebhookVerificationError):
        Webhook(made["secret"]).verify(request.body + b" ", request.headers)
    [delivery] = settled(ann)
    assert delivery["id"] == request.headers["webhook-id"] and delivery["job"] == job["id"]
    assert (delivery["attempts"], delivery["due"]) == (1, None)
    assert made["secret"] not in json.dumps([deliveries(ann), ann.get("/api/v1/auth/webhooks").json()])


def test_the_official_library_of_npm_verifies_it_too(ann, receiver):
    try:
        folder = npm.install()
    except Missing as e:
        pytest.skip(str(e))
    if not shutil.which("node"):
        pytest.skip("node is not installed")
    made = hook(ann, receiver.url)
    job = ann.uploaded(GOOD)
    request = receiver.next()
    said = json.dumps([made["secret"], request.headers, request.body.decode()])
    verified = subprocess.run(["node", "-e", VERIFY], cwd=folder, input=said, capture_output=True, text=True, check=False)
    assert verified.returncode == 0, verified.stderr
    assert json.loads(verified.stdout)["data"]["id"] == job["id"]


def test_a_job_that_fails_is_announced_with_its_reason(ann, receiver):
    made = hook(ann, receiver.url)
    job = ann.uploaded(SILENT)
    request = receiver.next()
    told = Webhook(made["secret"]).verify(request.body, request.headers)
    assert told["type"] == "job.failed" and told["data"]["failure"] == job["failure"]


def test_a_single_job_names_its_own_webhook(ann, receiver):
    refused = ann.upload(Field("webhook", receiver.url.encode()), GOOD)
    assert refused.status == 400 and "make a secret first" in refused.text
    for wrong in ("file:///etc/passwd", "http://ann:secret@example.com", "here", "http://"):
        refused = ann.upload(Field("webhook", wrong.encode()), GOOD)
        assert refused.status == 400 and "webhook" in refused.text, wrong
    secret = hook(ann)["secret"]
    job = ann.uploaded(Field("webhook", f"{receiver.url}?order=7".encode()), GOOD)
    request = receiver.next()
    assert request.path.endswith("?order=7")
    assert Webhook(secret).verify(request.body, request.headers)["data"]["id"] == job["id"]
    ann.uploaded(GOOD)
    assert receiver.none(), "the other job names none"
    again = hook(ann)["secret"]
    ann.uploaded(Field("webhook", receiver.url.encode()), GOOD)
    request = receiver.next()
    assert Webhook(again).verify(request.body, request.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(request.body, request.headers)


def test_what_was_not_accepted_is_sent_again_with_its_id(ann, receiver):
    made = hook(ann, receiver.url)
    receiver.answers(500, 204)
    ann.uploaded(GOOD)
    first = receiver.next()
    [delivery] = deliveries(ann)
    assert until(lambda: deliveries(ann)[0]["answer"] == "cannot be delivered now: status 500" or
                 deliveries(ann)[0]["answer"] == "status 500"), deliveries(ann)
    second = receiver.next(seconds=20)
    assert second.headers["webhook-id"] == first.headers["webhook-id"] and second.body == first.body
    assert Webhook(made["secret"]).verify(second.body, second.headers)
    [delivery] = settled(ann)
    assert delivery["attempts"] == 2


def test_one_that_is_gone_is_called_no_more_until_its_owner_asks(ann, receiver, allowing):
    hook(ann, receiver.url)
    receiver.answers(410, 200)
    job = ann.uploaded(GOOD)
    receiver.next()
    [delivery] = settled(ann, state="failed")
    assert "410" in delivery["answer"]
    bob = allowing.user("bob.resend@example.com")
    assert bob.ask("POST", f"/api/v1/deliveries/{delivery['id']}/resend").status == 404
    assert deliveries(bob) == []
    assert ann.ask("POST", f"/api/v1/deliveries/{delivery['id']}/resend").status == 200
    assert receiver.next().headers["webhook-id"] == delivery["id"]
    settled(ann)
    assert [d["id"] for d in deliveries(ann, f"?job={job['id']}")] == [delivery["id"]]


def test_what_was_sent_is_exported_and_goes_with_its_job(ann, receiver):
    hook(ann, receiver.url)
    jobs = [ann.uploaded(GOOD)["id"] for _ in range(2)]
    for _ in jobs:
        receiver.next()
    sent = settled(ann, 2)
    assert ann.get("/api/v1/auth/export").json()["deliveries"] == sent
    assert ann.ask("DELETE", f"/api/v1/jobs/{jobs[0]}").status == 204
    assert deliveries(ann, f"?job={jobs[0]}") == []
    assert [delivery["job"] for delivery in deliveries(ann)] == jobs[1:]


def test_redirects_are_not_followed(ann, receiver):
    with Receiver() as elsewhere:
        hook(ann, receiver.url)
        receiver.answers((302, {"Location": elsewhere.url}))
        ann.uploaded(GOOD)
        receiver.next()
        assert until(lambda: "redirect" in (deliveries(ann)[0]["answer"] or ""))
        assert elsewhere.none()


def test_nothing_private_is_called_unless_it_is_allowed(service, request, receiver):
    ann = service.user(f"ann.{abs(hash(request.node.nodeid))}@example.com")
    for url in (receiver.url, receiver.url.replace("127.0.0.1", "localhost"),
                receiver.url.replace("127.0.0.1", "[::ffff:127.0.0.1]"), "http://169.254.169.254/latest/meta-data/"):
        hook(ann, url)
    ann.uploaded(GOOD)
    for delivery in settled(ann, 4, state="failed"):
        assert "not public" in delivery["answer"], delivery
    assert receiver.none()


def test_a_user_has_their_own_webhooks_alone(ann, receiver, allowing):
    made = hook(ann, receiver.url)
    bob = allowing.user("bob.hooks@example.com")
    assert bob.get("/api/v1/auth/webhooks").json()["webhooks"] == []
    assert bob.ask("DELETE", f"/api/v1/auth/webhooks/{made['id']}").status == 404
    bob.uploaded(GOOD)
    assert receiver.none(), "another's job is announced to nobody else"
    token = ann.ask("POST", "/api/v1/auth/tokens", {"name": "a program", "scopes": ["convert", "read"]}).json()["token"]
    program = allowing.anyone(token)
    assert program.ask("POST", "/api/v1/auth/webhooks", {"url": receiver.url}).status == 403
    assert program.get("/api/v1/deliveries").status == 200
    assert ann.ask("DELETE", f"/api/v1/auth/webhooks/{made['id']}").status == 204
    ann.uploaded(GOOD)
    assert receiver.none() and deliveries(ann) == []


def test_what_was_to_be_sent_is_sent_after_a_kill(start):
    with Receiver() as receiver:
        service = start("serve", allowed_networks=LOOPBACK)
        ann = service.user("ann@example.com")
        secret = hook(ann, receiver.url)["secret"]
        receiver.answers(503, 200)
        ann.uploaded(GOOD)
        receiver.next()
        service.kill()
        service.start()
        request = receiver.next(seconds=90)
        assert Webhook(secret).verify(request.body, request.headers)["type"] == "job.done"


def test_the_secret_of_a_full_list_can_be_replaced(ann, receiver):
    first = hook(ann)
    for number in range(19):
        hook(ann, f"{receiver.url}/{number}")
    assert ann.ask("POST", "/api/v1/auth/webhooks", {"url": receiver.url}).status == 409
    again = hook(ann)
    assert again["id"] == first["id"] and again["secret"] != first["secret"]
