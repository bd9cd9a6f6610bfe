"""Access ends when it is taken away: for tokens that are in use, uploads that are on their way, and open streams."""

import subprocess
import time

import jwt
import pytest

from harness import SERVER
from harness.clips import GOOD, metadata
from harness.http import PASSWORD
from harness.service import inherited, starter

#: Seconds after which nothing works any more.
SOON = 5


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    for start in starter(tmp_path_factory.mktemp("sessions")):
        yield start("serve")


def operator(service, *words, password=None):
    """What an operator does at the command line, while the service runs."""
    done = subprocess.run([SERVER, "user", *words, "--data-dir", service.folder], input=password, env=inherited(),
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


#: What takes a user's access away.
TAKEN = {
    "disabled": lambda service, user: operator(service, "disable", user.email),
    "disabled and enabled": lambda service, user: (operator(service, "disable", user.email), operator(service, "enable", user.email)),
    "removed": lambda service, user: operator(service, "remove", user.email),
    "removed and added again": lambda service, user: (
        operator(service, "remove", user.email),
        operator(service, "add", user.email, "--password-stdin", password=f"{PASSWORD}\n")),
    "given a new password": lambda service, user: operator(service, "passwd", user.email, "--password-stdin", password="another horse\n"),
    "changed by the user": lambda service, user: user.ask("POST", "/api/v1/auth/password", {"current": PASSWORD, "new": "another horse"}),
    "logged out": lambda service, user: user.ask("POST", "/api/v1/auth/logout"),
}


def uses(user):
    """The statuses of all a token is good for."""
    return [user.get("/api/v1/jobs").status, user.upload(GOOD).status, user.create(1000).status, user.upload(GOOD, path="/upload").status,
            user.ask("POST", "/api/v1/auth/refresh").status, user.events().status]


@pytest.mark.parametrize("how", TAKEN)
def test_every_use_of_a_token_is_refused_within_seconds(service, request, how):
    user, other = (service.user(f"{name}.{abs(hash(request.node.nodeid))}@example.com") for name in ("ann", "bob"))
    renewed = service.anyone(user.ask("POST", "/api/v1/auth/refresh").json()["token"])
    place = user.create(len(GOOD.data), Upload_Metadata=metadata(filename="part.mp4")).headers["location"]
    stream = user.events()
    assert stream.line() == b"event: ready"
    upload = user.begin_part(place, len(GOOD.data), 0)
    upload.sendall(GOOD.data[:1000])
    TAKEN[how](service, user)
    began = time.monotonic()

    # The stream ends, and the upload is cut off, though neither asks for anything.
    assert all(not line or line.startswith((b":", b"data: {}")) for line in stream.lines)
    upload.settimeout(SOON)
    assert upload.recv(100).split(b"\r\n")[0] == b"HTTP/1.1 401 Unauthorized"
    assert time.monotonic() - began < SOON
    upload.close()

    assert uses(user) == [401, 401, 401, 403, 401, 401]
    if how != "logged out":  # which ends one token
        assert uses(renewed) == [401, 401, 401, 403, 401, 401]
    assert service.ask_auth("POST", "/validate", token=user.token).status == 403
    assert uses(other) == [200, 201, 201, 200, 200, 200]


def test_a_user_gets_another_password_by_the_current_one_alone(service):
    ann = service.user("ann.password@example.com")
    def change(current, new, **more):
        return ann.ask("POST", "/api/v1/auth/password", {"current": current, "new": new}, **more)
    assert [change("wrong", "another horse").status, change(PASSWORD, "short").status] == [409, 400]
    assert ann.get("/api/v1/auth/me").status == 200
    reply = change(PASSWORD, "another horse")
    assert (reply.status, reply.json()["email"], "micropy_session" in reply.headers["set-cookie"]) == (200, ann.email, True)
    assert [ann.get("/api/v1/auth/me").status, ann.login().status, ann.login("another horse").status] == [401, 401, 200]
    ann.token = reply.json()["token"]
    assert ann.get("/api/v1/auth/me").status == 200
    # Who has found an open page does not guess either.
    assert [change(f"guess {n}", "another horse").status for n in range(12)][-2:] == [429, 429]


def test_a_user_removes_their_account_with_all_that_is_theirs(start):
    service = start("serve")
    ann, bob = service.user("ann@example.com"), service.user("bob@example.com")
    for user in (ann, bob):
        user.uploaded(GOOD)
        user.create(1000)
    assert ann.ask("POST", "/api/v1/auth/remove", {"password": "wrong"}).status == 409
    assert len(ann.jobs()) == 2
    assert ann.ask("POST", "/api/v1/auth/remove", {"password": PASSWORD}).status == 204
    assert [ann.get("/api/v1/auth/me").status, ann.login().status] == [401, 401]
    assert (len(service.files("videos")), len(service.files("mp3s")), len(bob.jobs())) == (1, 1, 2)
    assert operator(service, "list") == "bob@example.com\n"
    # The address is free, and who takes it finds nothing there.
    assert service.user(ann.email).jobs() == []


def test_a_disabled_user_cannot_sign_in_and_is_told_no_more_than_a_stranger(service):
    ann = service.user("ann.disabled@example.com")
    operator(service, "disable", ann.email)
    stranger = service.anyone()
    stranger.email = "stranger@example.com"
    replies = [ann.login(), ann.login("wrong"), stranger.login()]
    assert [reply.status for reply in replies] == [401] * 3
    assert len({reply.body for reply in replies}) == 1
    assert f"{ann.email}\tdisabled" in operator(service, "list", "--long")
    operator(service, "enable", ann.email)
    assert ann.login().status == 200


def test_nobody_registers_the_address_of_a_removed_user_who_has_files(service):
    ann = service.user("ann.removed@example.com")
    done = ann.uploaded(GOOD)
    operator(service, "remove", ann.email, "--keep-jobs")
    account = {"email": ann.email, "password": "somebody else"}
    assert service.ask("POST", "/api/v1/auth/register", account).status == 409
    operator(service, "add", ann.email, "--password-stdin", "--with-jobs", password=f"{PASSWORD}\n")
    ann.token = ann.login().json()["token"]
    assert ann.get(done["mp3"]["url"]).status == 200
    assert ann.ask("DELETE", f"/api/v1/jobs/{done['id']}").status == 204
    operator(service, "remove", ann.email)
    assert service.ask("POST", "/api/v1/auth/register", account).status == 201


def test_an_operator_gives_the_files_of_a_removed_user_to_nobody(start):
    service = start("serve")
    ann, bob = service.user("ann@example.com"), service.user("bob@example.com")
    for user in (ann, bob):
        user.uploaded(GOOD)
    ann.create(1000)
    add = [SERVER, "user", "add", ann.email, "--password-stdin", "--data-dir", service.folder]

    def added():
        return subprocess.run(add, input="somebody else\n", env=inherited(), capture_output=True, text=True, timeout=60)
    assert "registered" in added().stderr
    operator(service, "remove", ann.email, "--keep-jobs")
    refused = added()
    assert (refused.returncode, "2 jobs" in refused.stderr) == (1, True), refused
    assert operator(service, "list") == "bob@example.com\n"
    # The rest of it.
    assert operator(service, "remove", ann.email) == "removed 2 jobs of ann@example.com\n"
    assert (len(service.files("videos")), len(service.files("mp3s")), len(bob.jobs())) == (1, 1, 1)
    assert added().returncode == 0
    ann.token = ann.login("somebody else").json()["token"]
    assert ann.jobs() == []
    # All at once.
    ann.uploaded(GOOD)
    assert operator(service, "remove", ann.email) == "removed ann@example.com\nremoved 1 jobs of ann@example.com\n"
    assert (len(service.files("videos")), len(service.files("mp3s"))) == (1, 1)
    nobody = subprocess.run([SERVER, "user", "remove", ann.email, "--data-dir", service.folder], env=inherited(), timeout=60)
    assert nobody.returncode == 1


def test_a_token_tells_nothing_of_the_password(service):
    """Neither the version nor a hash of the stored password stands in a token: both could be guessed from."""
    ann = service.user("ann.claims@example.com")
    bob = service.user("bob.claims@example.com")
    def stamp(user):
        return jwt.get_unverified_header(user.token)["micropy"]
    assert set(jwt.decode(ann.token, options={"verify_signature": False})) == {"username", "exp", "iat", "admin"}
    assert set(stamp(ann)) == {"user", "version", "nonce", "is_verified"}
    assert not stamp(ann)["version"].isdigit() and stamp(ann)["version"] != stamp(bob)["version"]
