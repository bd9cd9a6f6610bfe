"""Videos that the service reads from URLs of its users: what crosses the wire, what is refused, and what is told."""

import pytest
from standardwebhooks import Webhook

from harness.clips import GOOD
from harness.clock import until
from harness.hooks import Receiver
from harness.servers.fickle import Fickle
from harness.service import starter

LOOPBACK = "127.0.0.0/8"


@pytest.fixture(scope="module")
def importing(tmp_path_factory):
    for start in starter(tmp_path_factory.mktemp("importing")):
        yield start("serve", allowed_networks=LOOPBACK, workers=2)


@pytest.fixture
def ann(importing, request):
    return importing.user(f"ann.{abs(hash(request.node.nodeid))}@example.com")


def imported(user, url, seconds=60, **more):
    """The job of a URL, when it has ended."""
    reply = user.ask("POST", "/api/v1/imports", {"url": url, **more})
    assert reply.status == 201, reply
    return user.job(reply.json()["id"], seconds=seconds)


@pytest.mark.parametrize("name", ["first.mp4", "last.mp4"])
def test_a_large_video_costs_its_audio(ann, fickle, name, talk, expected):
    job = imported(ann, f"{fickle.url}/{name}?token=secret", seconds=240)
    assert job["state"] == "done", job
    assert (job["bytes"], job["file_name"], job["origin"]) == (0, name, f"{fickle.url}/{name}")
    mp3 = ann.get(job["mp3"]["url"]).body
    assert mp3 == expected[name], "the MP3 is not that of the file itself"
    on_the_wire = fickle.sent + fickle.received
    print(f"{name}: {on_the_wire} bytes for {talk[name]} of audio, {len(fickle.requests)} requests")
    assert on_the_wire <= 1.1 * talk[name], f"{on_the_wire / talk[name]:.3f} times the audio"


def test_options_and_webhook_go_with_it(ann, web):
    with Receiver() as receiver:
        secret = ann.ask("POST", "/api/v1/auth/webhooks", {}).json()["secret"]
        job = imported(ann, f"{web.url}/song.mp4", options={"bitrate": 64, "mono": True}, webhook=receiver.url,
                       file_name="folder/Song.mp4")
        assert job["state"] == "done" and job["mp3"]["report"]["channels"] == 1, job
        assert job["mp3"]["file_name"] == "Song.mp3"
        request = receiver.next()
        assert Webhook(secret).verify(request.body, request.headers)["data"]["id"] == job["id"]


def test_a_repeated_request_is_one_job(ann, web):
    ask = lambda url: ann.ask("POST", "/api/v1/imports", {"url": url}, Idempotency_Key="again")
    first, second = ask(f"{web.url}/song.mp4"), ask(f"{web.url}/song.mp4")
    assert first.json()["id"] == second.json()["id"]
    assert ask(f"{web.url}/talk.mp4").status == 422


def test_what_is_wrong_with_a_url_is_told(ann, web):
    for url in ("song.mp4", "file:///etc/passwd", "s3://bucket/key", "http://", "http://ann:secret@example.com/a.mp4"):
        refused = ann.ask("POST", "/api/v1/imports", {"url": url})
        assert refused.status == 400 and refused.json()["detail"].startswith("url: "), refused
    for path, reason in (("missing.mp4", "404"), ("private/song.mp4", "401"), ("whole/song.mp4", "ranges")):
        job = imported(ann, f"{web.url}/{path}")
        assert job["state"] == "failed" and reason in job["failure"], job
    retried = ann.act(job["id"], "retry")
    assert retried.status == 200 and ann.job(job["id"])["state"] == "failed"


def test_nothing_private_is_read_also_where_a_redirect_leads(start, web):
    service = start("serve", allowed_networks="127.0.0.1")
    ann = service.user("ann@example.com")
    assert imported(ann, f"{web.url}/moved/song.mp4")["state"] == "done"
    for url in ("http://169.254.169.254/latest/meta-data", "http://[::1]/a.mp4", "http://10.0.0.1/a.mp4",
                "http://[::ffff:10.0.0.1]/a.mp4", "http://0x7f.2/a.mp4", "http://2130706434/a.mp4"):
        refused = ann.ask("POST", "/api/v1/imports", {"url": url})
        assert refused.status == 400 and "not public" in refused.text, refused
    fickle = Fickle(("127.0.0.1", web.port))
    try:
        for place in (f"http://127.0.0.2:{web.port}/song.mp4", "http://10.0.0.1/a.mp4", "http://[::1]/a.mp4"):
            fickle.instead = [(302, {"Location": place})]
            job = imported(ann, f"{fickle.url}/song.mp4")
            assert job["state"] == "failed" and "not public" in job["failure"], job
    finally:
        fickle.close()
    guarded = service.restart(allowed_networks=None)
    job = ann.job(ann.ask("POST", "/api/v1/imports", {"url": f"http://localhost:{web.port}/song.mp4"}).json()["id"])
    assert guarded.alive and "not public" in job["failure"], job


def test_a_video_larger_than_the_largest_is_refused_and_a_full_quota_too(start, web):
    service = start("serve", allowed_networks=LOOPBACK, max_upload="100KB", quota_jobs=1)
    ann = service.user("ann@example.com")
    job = imported(ann, f"{web.url}/talk.mp4")
    assert job["state"] == "failed" and "100000 at most" in job["failure"], job
    refused = ann.ask("POST", "/api/v1/imports", {"url": f"{web.url}/song.mp4"})
    assert refused.status == 403 and "1 jobs" in refused.text


def test_a_server_that_is_away_is_asked_again_and_then_named(ann, fickle):
    fickle.status = lambda number: 503 if number < 3 else None
    assert imported(ann, f"{fickle.url}/song.mp4")["state"] == "done"
    job = imported(ann, "http://127.0.0.1:1/song.mp4", seconds=60)
    assert job["state"] == "failed" and "refuses the connection" in job["failure"], job


def test_cancelling_ends_the_reading(ann, fickle):
    fickle.slow = 5
    id = ann.ask("POST", "/api/v1/imports", {"url": f"{fickle.url}/first.mp4"}).json()["id"]
    assert until(lambda: fickle.requests)
    assert ann.act(id, "cancel").status == 200
    until(lambda: False, seconds=8)
    asked = len(fickle.requests)
    until(lambda: False, seconds=6)
    assert len(fickle.requests) == asked, "it is still read"


def test_servers_that_send_slowly_keep_no_upload_waiting(importing, fickle):
    # 21 KiB a second are enough to go on, and would take minutes.
    fickle.slow = 3
    ann, bob, carol = (importing.user(f"{name}.of.slow.urls@example.com") for name in ("ann", "bob", "carol"))
    imports = [(user, user.ask("POST", "/api/v1/imports", {"url": f"{fickle.url}/first.mp4"}).json()["id"])
               for user in (ann, ann, carol)]
    states = lambda: [user.get(f"/api/v1/jobs/{id}").json()["state"] for user, id in imports]
    assert until(lambda: "running" in states())
    until(lambda: states().count("running") == 2, seconds=5)
    assert bob.uploaded(GOOD)["state"] == "done"
    assert sorted(states()) == ["queued", "queued", "running"], "one of two workers reads URLs"
    for user, id in imports:
        user.act(id, "cancel")


def test_a_program_needs_to_be_allowed_to_convert(ann, importing, web):
    token = lambda *scopes: ann.ask("POST", "/api/v1/auth/tokens", {"name": "x", "scopes": list(scopes)}).json()["token"]
    ask = lambda token: importing.anyone(token).ask("POST", "/api/v1/imports", {"url": f"{web.url}/song.mp4"})
    assert ask(token("read")).status == 403
    assert ask(token("convert")).status == 201
