"""What users do with their accounts themselves, and that nobody else does it: by mail, by tokens for programs."""

import email
import email.policy
import json
import re
import sqlite3
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import jwt
import pytest

from harness import SERVER
from harness.clips import GOOD, metadata
from harness.clock import until
from harness.http import PASSWORD, User
from harness.service import inherited, starter
from harness.tokens import SECRET


def mails(service, to):
    """The texts of the mails to an address, the oldest first."""
    found = []
    for file in sorted((service.folder / "outbox").glob("*.eml"), key=lambda file: file.stat().st_mtime_ns):
        mail = email.message_from_bytes(file.read_bytes(), policy=email.policy.default)
        if to in mail["To"]:
            found.append(mail.get_body(("plain",)).get_content())
    return found


def code(service, user, purpose, count=1):
    """The code in the latest mail, when there are so many."""
    def codes():
        return [found[1] for text in mails(service, user.email) if (found := re.search(rf"#{purpose}-([\w.-]+)", text))]
    assert until(lambda: len(codes()) >= count, 30), mails(service, user.email)
    return codes()[-1]


def forgotten(service, address):
    return service.ask("POST", "/api/v1/auth/password/forgotten", {"email": address})


def reset(service, code, new="another horse"):
    return service.ask("POST", "/api/v1/auth/password/reset", {"code": code, "new": new})


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    for start in starter(tmp_path_factory.mktemp("accounts")):
        yield start("serve", jwt_secret=SECRET)


@pytest.fixture(scope="module")
def strict(tmp_path_factory):
    """A service whose users have to confirm their address."""
    for start in starter(tmp_path_factory.mktemp("confirmed")):
        yield start("serve", confirmation=True)


def test_a_forgotten_password_is_replaced_by_a_mail_and_once(service):
    ann = service.user("ann.forgot@example.com")
    made = ann.ask("POST", "/api/v1/auth/tokens", {"name": "x", "scopes": ["read"]}).json()["token"]
    assert forgotten(service, ann.email).status == 202
    link = code(service, ann, "reset")
    assert [reset(service, link, "short").status, reset(service, "x.y").status, reset(service, link[:-2]).status] == [400, 409, 409]
    assert ann.get("/api/v1/auth/me").status == 200
    assert reset(service, link).status == 204
    assert [ann.login().status, ann.login("another horse").status] == [401, 200]
    # Whoever had the account has it no longer.
    time.sleep(3)
    assert [ann.get("/api/v1/jobs").status, service.anyone(made).get("/api/v1/jobs").status] == [401, 401]
    assert reset(service, link, "a third horse").status == 409
    # Of two mails, the second is worth nothing after the first.
    assert forgotten(service, ann.email).status == 202
    second = code(service, ann, "reset", 2)
    assert forgotten(service, ann.email).status == 202
    third = code(service, ann, "reset", 3)
    assert [reset(service, third, "a third horse").status, reset(service, second).status] == [204, 409]


def test_nobody_learns_who_has_an_account_by_asking_for_a_mail(service):
    ann = service.user("ann.enumerated@example.com")
    took, replies = {}, []
    for address in (ann.email, "nobody.enumerated@example.com"):
        began = time.monotonic()
        replies.append(forgotten(service, address))
        took[address] = time.monotonic() - began
    plain = [(reply.status, reply.body, {k: v for k, v in reply.headers.items() if k != "date"}) for reply in replies]
    assert plain[0] == plain[1] and plain[0][0] == 202
    assert max(took.values()) < 1, took
    code(service, ann, "reset")
    assert mails(service, "nobody.enumerated@example.com") == []


def test_a_user_is_not_buried_in_mails(service):
    ann = service.user("ann.buried@example.com")
    assert {forgotten(service, ann.email).status for _ in range(12)} <= {202, 503}
    code(service, ann, "reset")
    time.sleep(2)
    assert 1 <= len(mails(service, ann.email)) <= 5


def test_a_code_is_forged_by_nobody_and_good_for_no_other_purpose(service, strict):
    ann = service.user("ann.forged@example.com")
    forgotten(service, ann.email)
    good = code(service, ann, "reset")
    body, mac = good.split(".")
    token = jwt.encode({"username": ann.email, "purpose": "reset", "email": ann.email, "exp": 9999999999}, SECRET, algorithm="HS256")
    for forged in (body, f"{body}.", f".{mac}", f"{mac}.{body}", f"{body}.{mac[::-1]}", token, token.split(".", 1)[1], "", "a" * 1900):
        assert reset(service, forged).status == 409, forged
    assert service.ask("POST", "/api/v1/auth/address/confirm", {"code": good}).status == 409
    assert service.anyone(good).get("/api/v1/jobs").status == 401
    # One of another service, with another secret.
    bob = strict.user("ann.forged@example.com")
    other = code(strict, bob, "confirm")
    assert service.ask("POST", "/api/v1/auth/address/confirm", {"code": other}).status == 409
    # Not in the log, which more people read.
    assert good not in service.said(0) and mac not in service.said(0)
    # The auth service gives codes to gateways that know the secret, and to nobody who asks.
    asked = {"email": ann.email, "purpose": "reset"}
    assert service.ask_auth("POST", "/mail-code", asked).status == 403
    assert service.ask_auth("POST", "/mail-code", asked, X_Micropy_Client="127.0.0.1 1700000000000 x").status == 403


def test_an_address_is_confirmed_before_anything_else_goes_there(strict):
    ann = strict.user("ann.confirm@example.com")
    link = code(strict, ann, "confirm")
    assert ann.get("/api/v1/auth/me").json() == {"email": ann.email, "confirmed": False}
    assert strict.ask("GET", "/api/v1/about").json()["confirmation"] is True
    refused = [ann.upload(GOOD), ann.create(1000), ann.upload(GOOD, path="/upload"), ann.create_with(GOOD.data, Upload_Metadata=metadata(filename="a"))]
    assert [reply.status for reply in refused] == [403] * 4
    assert "confirm your e-mail address" in refused[0].json()["detail"]
    # Not even a link to another password, though one to confirm it.
    forgotten(strict, ann.email)
    code(strict, ann, "confirm", 2)
    assert all("#confirm-" in text for text in mails(strict, ann.email))
    assert [strict.ask("POST", "/api/v1/auth/address/confirm", {"code": link}).status for _ in range(2)] == [204, 204]
    assert until(lambda: ann.get("/api/v1/auth/me").json()["confirmed"], 5)
    done = ann.uploaded(GOOD)
    assert done["state"] == "done"
    assert until(lambda: any("is now ready!" in text for text in mails(strict, ann.email)), 10)
    assert ann.ask("POST", "/api/v1/auth/address/mail").status == 202
    forgotten(strict, ann.email)
    code(strict, ann, "reset")
    assert len([text for text in mails(strict, ann.email) if "#confirm-" in text]) == 2


def test_where_no_mail_is_set_up_nothing_has_to_be_confirmed(service):
    ann = service.user("ann.free@example.com")
    assert service.ask("GET", "/api/v1/about").json()["confirmation"] is False
    assert ann.get("/api/v1/auth/me").json()["confirmed"] is True
    assert ann.upload(GOOD).status == 201
    assert [text for text in mails(service, ann.email) if "#confirm-" in text] == []


def test_a_token_for_a_program_does_what_it_is_for_and_nothing_else(service):
    ann, bob = service.user("ann.tokens@example.com"), service.user("bob.tokens@example.com")
    def make(*scopes, name="a script"):
        return ann.ask("POST", "/api/v1/auth/tokens", {"name": name, "scopes": list(scopes)})
    made = {scopes: make(*scopes) for scopes in (("convert",), ("read",), ("convert", "read"))}
    assert [reply.status for reply in made.values()] == [201] * 3
    convert, read, both = (service.anyone(reply.json()["token"]) for reply in made.values())
    job = convert.upload(GOOD)
    assert job.status == 201 and both.job(job.job_id)["state"] == "done"
    mp3 = f"/api/v1/jobs/{job.job_id}/mp3"
    assert [read.get(mp3).status, read.get("/api/v1/jobs").status, read.get("/api/v1/archive").status, read.events().status] == [200] * 4
    assert [convert.get(mp3).status, convert.get("/api/v1/jobs").status, convert.events().status] == [403] * 3
    assert [read.upload(GOOD).status, read.create(1000).status, read.upload(GOOD, path="/upload").status, read.act(job.job_id, "retry").status,
            read.ask("DELETE", f"/api/v1/jobs/{job.job_id}").status] == [403] * 5
    place = convert.create(len(GOOD.data)).headers["location"]
    assert (convert.offset(place), convert.patch(place, GOOD.data, 0).status) == (0, 204)
    assert convert.upload(GOOD, path="/upload").status == 200
    # No token makes another, ends a session, takes the account or what there is of it.
    for method, path, body in (
            ("GET", "tokens", None), ("POST", "tokens", {"name": "x", "scopes": ["read"]}), ("DELETE", f"tokens/{made[('read',)].json()['id']}", None),
            ("POST", "refresh", None), ("POST", "password", {"current": PASSWORD, "new": "another horse"}), ("POST", "remove", {"password": PASSWORD}),
            ("GET", "export", None), ("POST", "address/mail", None)):
        assert both.ask(method, f"/api/v1/auth/{path}", body).status == 403, path
    assert [both.get("/api/v1/auth/me").status, service.ask_auth("POST", "/validate", token=both.token).status] == [200, 403]
    # As a cookie of a page elsewhere it is as good as any: not at all.
    assert service.ask("POST", "/api/v1/uploads", Cookie=f"micropy_session={both.token}", Origin="http://elsewhere.example").status == 403
    # Each is its owner's.
    listed = ann.get("/api/v1/auth/tokens").json()["tokens"]
    assert [token["scopes"] for token in listed] == [["convert"], ["read"], ["convert", "read"]]
    assert bob.get("/api/v1/auth/tokens").json() == {"tokens": []}
    assert bob.ask("DELETE", f"/api/v1/auth/tokens/{listed[0]['id']}").status == 404
    assert bob.get(mp3).status == 404
    assert ann.ask("DELETE", f"/api/v1/auth/tokens/{listed[0]['id']}").status == 204
    assert [convert.upload(GOOD).status, read.get("/api/v1/jobs").status] == [401, 200]
    for wrong in (make("admin"), make(), make("read", name=""), make("read", name="x" * 101), make("read", name="a\nb")):
        assert wrong.status in (400, 422)
    assert ann.ask("POST", "/api/v1/auth/password", {"current": PASSWORD, "new": "another horse"}).status == 200
    assert until(lambda: [read.get("/api/v1/jobs").status, both.get("/api/v1/jobs").status] == [401, 401], 5)


def test_a_token_is_shown_once_and_kept_as_a_hash(service):
    ann = service.user("ann.hash@example.com")
    token = ann.ask("POST", "/api/v1/auth/tokens", {"name": "a hash", "scopes": ["read"]}).json()["token"]
    assert re.fullmatch(r"mpy_[\w-]{43}", token)
    assert token not in ann.get("/api/v1/auth/tokens").text + ann.get("/api/v1/auth/export").text + service.said(0)
    raw = b"".join(file.read_bytes() for file in service.folder.glob("micropy.db*"))
    assert token.encode() not in raw and token[4:].encode() not in raw
    with sqlite3.connect(service.folder / "micropy.db") as database:
        assert [len(digest) for digest, in database.execute("SELECT digest FROM api_tokens WHERE name = 'a hash'")] == [32]


def test_an_export_has_all_that_there_is_of_a_user_and_nothing_of_others(service):
    ann, bob = service.user("ann.export@example.com"), service.user("bob.export@example.com")
    ids = [ann.upload(GOOD).job_id for _ in range(3)]
    for id in ids:
        ann.job(id)
    bob.uploaded(GOOD)
    ann.ask("POST", "/api/v1/auth/tokens", {"name": "a script", "scopes": ["read"]})
    reply = ann.get("/api/v1/auth/export")
    assert (reply.status, reply.kind, reply.headers["cache-control"]) == (200, "application/json", "no-store")
    assert reply.headers["content-disposition"] == 'attachment; filename="micropy-account.json"'
    exported = json.loads(reply.text)
    assert (exported["email"], [token["name"] for token in exported["tokens"]]) == (ann.email, ["a script"])
    assert sorted(job["id"] for job in exported["jobs"]) == sorted(ids)
    for job in exported["jobs"]:
        assert ann.get(job["mp3"]["url"]).status == 200
    assert bob.email not in reply.text
    assert bob.get("/api/v1/auth/export").json()["tokens"] == []


def test_it_is_the_same_where_an_auth_service_keeps_the_accounts(start):
    auth = start("auth", JWT_SECRET=SECRET, registration=True, confirmation=True)
    gateway = start("gateway", auth_url=auth.url, JWT_SECRET=SECRET, registration=True, confirmation=True)
    ann = gateway.user("ann@example.com")
    assert ann.get("/api/v1/auth/me").json()["confirmed"] is False
    assert ann.upload(GOOD).status == 403
    # The mail is a message, for the notification service.
    def sent(purpose):
        with sqlite3.connect(gateway.folder / "micropy.db") as database:
            found = [json.loads(payload).get("account") for payload, in database.execute("SELECT payload FROM messages")]
        return [one["code"] for one in found if one and one["purpose"] == purpose]
    assert until(lambda: sent("confirm"), 10)
    assert gateway.ask("POST", "/api/v1/auth/address/confirm", {"code": sent("confirm")[0]}).status == 204
    assert until(lambda: ann.get("/api/v1/auth/me").json()["confirmed"], 5)
    made = ann.ask("POST", "/api/v1/auth/tokens", {"name": "a script", "scopes": ["convert"]})
    assert made.status == 201
    script = gateway.anyone(made.json()["token"])
    assert [script.upload(GOOD).status, script.get("/api/v1/jobs").status] == [201, 403]
    assert [token["name"] for token in ann.get("/api/v1/auth/tokens").json()["tokens"]] == ["a script"]
    assert gateway.anyone("mpy_unknown").get("/api/v1/jobs").status == 401
    # Whoever knows no scopes is not told that the token is good.
    assert auth.ask("POST", "/validate", token=script.token).status == 403
    assert ann.ask("DELETE", f"/api/v1/auth/tokens/{made.json()['id']}").status == 204
    assert ann.ask("DELETE", f"/api/v1/auth/tokens/{made.json()['id']}").status == 404
    assert script.upload(GOOD).status == 401
    assert gateway.ask("POST", "/api/v1/auth/password/forgotten", {"email": ann.email}).status == 202
    assert until(lambda: sent("reset"), 10)
    assert [reset(gateway, sent("reset")[0]).status, reset(gateway, sent("reset")[0]).status] == [204, 409]
    assert User(gateway.url, ann.email).login("another horse").status == 200


def test_a_gateway_that_the_auth_service_does_not_know_says_what_it_has_not(start):
    auth = start("auth", JWT_SECRET=SECRET, registration=True)
    gateway = start("gateway", auth_url=auth.url, registration=True)
    ann = User(gateway.url, "ann@example.com")
    assert gateway.ask("GET", "/api/v1/about").json()["registration"] is False
    assert gateway.ask("POST", "/api/v1/auth/register", {"email": ann.email, "password": PASSWORD}).status == 403
    add = [SERVER, "user", "add", ann.email, "--password-stdin", "--data-dir", auth.folder]
    assert subprocess.run(add, input=f"{PASSWORD}\n", text=True, env=inherited()).returncode == 0
    ann.token = ann.login().json()["token"]
    assert ann.upload(GOOD).status == 201
    for method, path, body in (
            ("POST", "password/forgotten", {"email": ann.email}), ("POST", "address/mail", None), ("GET", "tokens", None),
            ("POST", "tokens", {"name": "x", "scopes": ["read"]}), ("DELETE", "tokens/1", None)):
        assert ann.ask(method, f"/api/v1/auth/{path}", body).status == 501, path
    assert "jwt_secret is missing" in gateway.said(0)
    assert json.loads(ann.get("/api/v1/auth/export").text)["tokens"] == []


def test_an_upload_that_ends_while_its_account_is_removed_goes_too(start):
    service = start("serve", login_attempts=10_000)
    ann = service.user("ann@example.com")
    ann.upload(GOOD)
    def jobs():
        with sqlite3.connect(service.folder / "micropy.db") as database:
            [[count]] = database.execute("SELECT count(*) FROM jobs WHERE owner = ?", [ann.email])
        return count
    # Whoever removes an account says the password twice, and waits for others of the same network who say theirs.
    busy = threading.Event()
    def guess(n):
        while not busy.is_set():
            User(service.url, f"user{n}@example.com").login("wrong")
    with ThreadPoolExecutor(13) as pool:
        guessing = [pool.submit(guess, n) for n in range(12)]
        try:
            removal = pool.submit(ann.ask, "POST", "/api/v1/auth/remove", {"password": PASSWORD})
            assert until(lambda: jobs() == 0, 60)
            late = ann.upload(GOOD).status
            assert (late, removal.done()) == (201, False)
        finally:
            busy.set()
        assert removal.result().status == 204
        assert [one.result() for one in guessing] == [None] * 12
    assert jobs() == 0
