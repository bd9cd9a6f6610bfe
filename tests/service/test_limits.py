"""How much of the service one user, or one client, can use up."""

import socket
import time

import pytest

from harness.clips import GOOD, OTHER, Clip, form, repeated
from harness.clock import until
from harness.http import connect
from harness.service import starter

DATA = GOOD.data
#: How a connection ends that took too long.
CUT_OFF = (b"", b"HTTP/1.1 408 Re")


def received(connection):
    try:
        return connection.recv(1000)
    except ConnectionError:
        return b""


def test_large_files_too_many_files_and_too_many_jobs_are_refused(start):
    service = start("serve", max_upload="30KB", max_files=2, quota_jobs=3)
    ann = service.user("ann@example.com")
    assert ann.upload(OTHER).status == 413
    assert ann.create(40000).status == 413
    files = ann.upload(GOOD, GOOD, GOOD).json()["files"]
    assert [file.get("problem", {}).get("status") for file in files] == [None, None, 413]
    assert ann.upload(GOOD).status == 201
    over = ann.upload(GOOD)
    assert (over.status, over.json()["title"]) == (403, "Quota exceeded")


def test_too_many_failed_logins_shut_an_account_for_a_while(start):
    service = start("serve", login_attempts=3)
    ann = service.user("ann@example.com")
    for _ in range(3):
        ann.login("wrong")
    reply = ann.login()
    assert (reply.status, int(reply.headers.get("retry-after", 0)) > 200) == (429, True)


def test_headers_that_come_slowly_are_cut_off(start):
    service = start("serve", header_timeout="1s")
    with connect(service.url, 10) as slow:
        slow.sendall(b"GET /healthz HTTP/1.1\r\nHost:")
        began = time.monotonic()
        assert received(slow)[:15] in CUT_OFF
        assert time.monotonic() - began < 5


def test_a_user_stores_no_more_bytes_than_the_quota(start):
    service = start("serve")
    ann, bob, cat = (service.user(f"{name}@example.com") for name in ("ann", "bob", "cat"))
    done = ann.uploaded(GOOD)
    # Room for one more video and its MP3, and not quite for two.
    quota = 2 * (len(DATA) + done["mp3"]["bytes"]) + len(DATA) // 2
    service.restart(quota_bytes=quota)
    second = ann.uploaded(GOOD)["id"]
    for reply in (ann.upload(GOOD), ann.create(len(DATA)), ann.create_with(DATA)):
        assert (reply.status, reply.json()["title"]) == (403, "Quota exceeded")
    assert ann.upload(GOOD, path="/upload").answer == (403, "The file does not fit into your storage.")
    assert (len(ann.jobs()), len(service.files("videos")), service.files("videos", "unfinished")) == (2, 2, [])
    # Another's quota is another, and an upload counts as it is announced.
    announced = [2 * len(DATA), len(DATA), quota - 3 * len(DATA) + 1]
    assert [bob.create(size).status for size in announced] == [201, 201, 403]
    uploads_at_once(service, cat, quota)
    assert ann.ask("DELETE", f"/api/v1/jobs/{second}").status == 204
    assert ann.uploaded(GOOD)["state"] == "done"


def test_mp3s_that_are_larger_than_their_videos_do_not_exceed_the_quota(start):
    service, large = start("serve"), "/api/v1/uploads?bitrate=320&sample_rate=48000"
    ann, bob = (service.user(f"{name}@example.com") for name in ("ann", "bob"))
    mp3 = bob.uploaded(GOOD, path=large)["mp3"]["bytes"]
    assert mp3 > 2 * len(DATA)
    # Both videos have room, and the MP3 of one.
    quota = 2 * len(DATA) + mp3 + mp3 // 2
    service.restart(quota_bytes=quota)
    assert ann.upload(GOOD, GOOD, path=large).status == 201
    assert until(lambda: all(job["state"] in ("done", "failed") for job in ann.jobs()), 60)
    stored = [job["bytes"] + (job["mp3"] or {}).get("bytes", 0) for job in ann.jobs()]
    assert sum(stored) <= quota
    assert sorted(job["state"] for job in ann.jobs()) == ["done", "failed"]
    failed = next(job for job in ann.jobs() if job["state"] == "failed")
    assert failed["failure"].startswith("The MP3 does not fit into your storage."), failed
    assert (len(service.files("mp3s")), service.files("mp3s", "unfinished")) == (2, []), "one is another's"
    # As the sentence says.
    done = next(job["id"] for job in ann.jobs() if job["state"] == "done")
    assert ann.ask("DELETE", f"/api/v1/jobs/{done}").status == 204
    assert ann.ask("POST", f"/api/v1/jobs/{failed['id']}/retry").status == 200
    assert ann.job(failed["id"], 60)["state"] == "done"


def uploads_at_once(service, cat, quota):
    """Of uploads at the same time, no more are taken in than fit, and no more is on the disk meanwhile."""
    before = len(service.files("videos"))
    assert cat.create(quota - 2 * len(DATA) - len(DATA) // 2).status == 201
    body, kind = form(GOOD)
    uploads = [cat.begin("POST", "/api/v1/uploads", len(body), kind) for _ in range(6)]
    room, unfinished = 2 * len(DATA) + len(DATA) // 2, service.folder / "videos" / "unfinished"
    on_the_disk = lambda: sum(file.stat().st_size for file in unfinished.iterdir())
    for upload in uploads:
        upload.sendall(body[:-1000])
    assert until(lambda: on_the_disk() >= 2 * (len(DATA) - 2000), 20)
    for _ in range(20):
        assert on_the_disk() <= room
        time.sleep(0.05)
    for upload in uploads:
        upload.sendall(body[-1000:])
    answers = [upload.recv(1000)[9:12] for upload in uploads]
    taken = answers.count(b"201")
    # Two fit, unless the MP3 of the first is there before the second.
    assert (1 <= taken <= 2, answers.count(b"403")) == (True, len(uploads) - taken)
    assert (len(cat.jobs()), len(service.files("videos"))) == (1 + taken, before + taken)
    assert sum(job["bytes"] for job in cat.jobs()) <= quota


def test_a_user_has_no_more_jobs_than_the_quota(start):
    service = start("serve", quota_jobs=2)
    ann = service.user("ann@example.com")
    assert ann.upload(GOOD, GOOD).status == 201
    for reply in (ann.upload(GOOD), ann.create(99)):
        assert (reply.status, reply.json()["title"], reply.json()["detail"]) == (403, "Quota exceeded", "You have 2 jobs already.")


@pytest.fixture(scope="module")
def impatient(tmp_path_factory):
    """A service that does not wait long."""
    for start in starter(tmp_path_factory.mktemp("impatient")):
        yield start("serve", header_timeout="3s", body_timeout="2s")


@pytest.fixture
def user(impatient, request):
    return impatient.user(f"{request.node.name}@example.com")


def test_fifty_stalled_clients_do_not_slow_logins_and_are_cut_off(impatient, user):
    began, stalled, logins = time.monotonic(), [], []
    for _ in range(50):
        stalled.append(connect(impatient.url))
        stalled[-1].sendall(b"GET /healthz HTTP/1.1\r\nHost:")
    while time.monotonic() - began < 3 or len(logins) < 20:
        start = time.monotonic()
        assert user.login().status == 200
        logins.append(time.monotonic() - start)
    logins.sort()
    slowest = logins[int(len(logins) * 0.99)]
    print(f"50 stalled clients: {len(logins)} logins, half within {logins[len(logins) // 2] * 1000:.0f} ms, 99 % within {slowest * 1000:.0f} ms")
    assert slowest < 5
    assert [received(connection)[:15] in CUT_OFF for connection in stalled] == [True] * 50
    assert time.monotonic() - began < 30
    for connection in stalled:
        connection.close()


def test_a_body_that_stalls_is_cut_off_and_what_came_in_parts_stays(impatient, user):
    body, kind = form(GOOD)
    place = user.create(len(DATA)).headers["location"]
    stalled = [user.begin("POST", path, len(body), kind) for path in ("/api/v1/uploads", "/upload")]
    for connection in stalled:
        connection.sendall(body[:5000])
    stalled.append(user.begin_part(place, len(DATA), 0))
    stalled[-1].sendall(DATA[:5000])
    began = time.monotonic()
    assert [connection.recv(1000)[:12] for connection in stalled] == [b"HTTP/1.1 408"] * 3
    assert time.monotonic() - began < 15
    assert user.offset(place) == 5000
    assert (len(user.jobs()), len(impatient.files("videos", "unfinished"))) == (1, 1)


def test_a_body_that_comes_slowly_but_steadily_is_taken(user):
    body, kind = form(GOOD)
    steady = user.begin("POST", "/api/v1/uploads", len(body), kind)
    for piece in range(10):
        steady.sendall(body[piece * len(body) // 10:(piece + 1) * len(body) // 10])
        time.sleep(0.4)
    assert steady.recv(1000)[:12] == b"HTTP/1.1 201"


def test_clients_that_stop_reading_their_archives_are_cut_off(impatient, user, tmp_path):
    # An archive has a thread of the service until it is taken.
    long = Clip("long.m4a", repeated(tmp_path / "long.m4a", 25))
    job = user.uploaded(long, path="/api/v1/uploads?bitrate=320", patience=120)["id"]
    path, clients = f"/api/v1/archive?jobs={job}", []
    for _ in range(2):
        clients.append(socket.socket())
        clients[-1].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        clients[-1].settimeout(30)
        clients[-1].connect(("127.0.0.1", impatient.port))
        clients[-1].sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {user.token}\r\n\r\n".encode())
        assert clients[-1].recv(12)[-3:] == b"200"
    began = time.monotonic()
    assert user.get(path).status == 429
    assert until(lambda: user.get(path).status == 200, 20)
    assert time.monotonic() - began < 15
    for client in clients:
        client.close()
