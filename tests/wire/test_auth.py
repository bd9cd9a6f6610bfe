"""The auth service as those expect it that know its Flask twin."""

import json
import time

import bcrypt
import jwt
import pytest
from argon2 import PasswordHasher

from harness.clock import until
from harness.fleet import PASSWORD, Proxy
from harness.tokens import DAY, SECRET, token


@pytest.fixture
def login(fleet):
    return lambda user, password=PASSWORD, coding="utf-8": fleet.auth.ask("POST", "/login", basic=f"{user}:{password}".encode(coding))


@pytest.fixture
def validate(fleet):
    return lambda header: fleet.auth.ask("POST", "/validate", **({} if header is None else {"Authorization": header}))


def test_login_answers_200_and_the_bare_token(login, new_user):
    reply = login(new_user())
    assert (reply.status, reply.text.count("."), reply.text.strip()) == (200, 2, reply.text)
    assert reply.kind.split("/")[0] == "text"


def test_a_wrong_password_and_an_unknown_user_get_the_same_answer(login, new_user):
    assert login(new_user(), "wrong").answer == (401, "invalid credentials")
    assert login("nobody@example.com").answer == (401, "invalid credentials")


def test_an_address_counts_as_it_is_written(login, new_user, name):
    new_user(name)
    for user in (name.capitalize().replace(name[0], name[0].upper(), 1), name.upper(), f"{name} ", f"ä{name[1:]}"):
        if user != name:
            assert login(user).answer == (401, "invalid credentials"), user


@pytest.mark.parametrize("header", [None, "", "Bearer x", "Basic", "Basic !!!"])
def test_login_without_credentials_asks_for_them(fleet, header):
    reply = fleet.auth.ask("POST", "/login", **({} if header is None else {"Authorization": header}))
    assert reply.answer == (401, "missing credentials")
    assert reply.headers.get("www-authenticate", "").startswith("Basic")


@pytest.mark.parametrize("coding", ["utf-8", "latin-1"])
def test_credentials_come_in_utf_8_and_in_latin_1(login, new_user, coding):
    assert login(new_user(f"müller.{coding}@example.com", "pässwörd"), "pässwörd", coding).status == 200


def test_pyjwt_reads_the_tokens_claims(login, new_user, name):
    new_user(name)
    made = login(name).text
    claims = jwt.decode(made, SECRET, algorithms=["HS256"])
    assert {"username", "exp", "iat", "admin"} <= set(claims) and "aud" not in claims
    assert jwt.get_unverified_header(made)["alg"] == "HS256"
    assert (claims["username"], claims["admin"]) == (name, True)
    assert claims["exp"] - claims["iat"] == 86400
    assert type(claims["iat"]) is int and claims["iat"] <= time.time()
    assert all(type(claims.get(claim, "")) is str for claim in ("sub", "jti"))


@pytest.mark.parametrize("scheme", ["Bearer", "Token"])
def test_validate_answers_the_claims(login, validate, new_user, scheme):
    made = login(new_user()).text
    claims, reply = jwt.decode(made, SECRET, algorithms=["HS256"]), validate(f"{scheme} {made}")
    assert (reply.status, reply.kind) == (200, "application/json")
    assert {claim: reply.json().get(claim) for claim in claims} == claims


def test_a_token_of_pyjwt_is_good_and_admin_is_passed_on(validate, new_user):
    user = new_user()
    reply = validate(f"Bearer {token(user)}")
    assert (reply.status, reply.json()["username"], reply.json()["admin"]) == (200, user, True)
    assert validate(f"Bearer {token(user, admin=False)}").json()["admin"] is False


def test_a_token_ends_with_its_user(fleet, login, validate, new_user):
    user = new_user()
    ours, pyjwts = login(user).text, token(user)
    assert [validate(f"Bearer {good}").status for good in (ours, pyjwts)] == [200, 200]
    # As people do it beside the Flask service: by hand.
    fleet.query("UPDATE user SET password = 'another' WHERE email = %s", user)
    assert until(lambda: validate(f"Bearer {ours}").status == 403, 5)
    assert validate(f"Bearer {login(user, 'another').text}").status == 200
    fleet.query("DELETE FROM user WHERE email = %s", user)
    assert until(lambda: validate(f"Bearer {pyjwts}").status == 403, 5)
    assert validate(f"Bearer {token('nobody@example.com')}").status == 403


def test_a_token_is_renewed_and_ended_for_our_gateway(fleet, login, validate, new_user):
    user = new_user()
    first = login(user).text
    renewed = fleet.auth.ask("POST", "/refresh", token=first)
    assert (renewed.status, validate(f"Bearer {renewed.text}").json()["username"]) == (200, user)
    assert fleet.auth.ask("POST", "/logout", token=first).status == 204
    assert [validate(f"Bearer {made}").status for made in (first, renewed.text)] == [403, 200]
    assert fleet.auth.ask("POST", "/refresh", token=first).answer == (403, "not authorized")
    assert [fleet.auth.ask("POST", path).answer for path in ("/refresh", "/logout")] == [(401, "missing credentials")] * 2


@pytest.mark.parametrize("user", ["müller@example.com", "ñandú@example.com"])
def test_the_json_of_validate_is_ascii(validate, new_user, user):
    new_user(user)
    reply = validate(f"Bearer {token(user)}")
    assert (reply.body.isascii(), json.loads(reply.text)["username"]) == (True, user)


@pytest.mark.parametrize("header", [None, "", token()], ids=["none", "empty", "without a space"])
def test_validate_without_credentials_asks_for_them(validate, header):
    assert validate(header).answer == (401, "missing credentials")


@pytest.mark.parametrize("bad", [
    "x", token()[:-4], token(secret="another secret, which is also long enough"), token(begun=-2 * DAY), token(secret=None),
    token(algorithm="HS512"),
], ids=["no token", "cut", "another secret", "expired", "no signature", "another algorithm"])
def test_validate_refuses_a_bad_token(validate, bad):
    assert validate(f"Bearer {bad}").answer == (403, "not authorized")


def test_too_many_failures_shut_that_account_alone(login, new_user, name):
    found = [login(name, "wrong") for _ in range(11)]
    assert [reply.status for reply in found] == [401] * 10 + [429]
    assert found[-1].headers["retry-after"].isdigit()
    assert login(new_user()).status == 200


HASHER = PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1)


def hashed(prefix):
    return bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4, prefix)).decode()


@pytest.mark.parametrize("mode", ["verify", "upgrade", "reject"])
def test_passwords_that_others_stored_are_handled_as_the_setting_says(fleet, login, new_user, mode):
    rows = {"plain": PASSWORD, "2a": hashed(b"2a"), "2b": hashed(b"2b"), "2y": hashed(b"2b").replace("$2b$", "$2y$"),
            "argon2id": HASHER.hash(PASSWORD)}
    # On MySQL, verify is what is done unless somebody says otherwise.
    fleet.become(auth={} if mode == "verify" else {"MICROPY_AUTH_LEGACY_PASSWORDS": mode})
    for kind, stored in rows.items():
        user, legacy = new_user(f"{kind}.{mode}@example.com", stored), kind != "argon2id"
        good = 401 if legacy and mode == "reject" else 200
        assert (kind, login(user, "wrong").status) == (kind, 401)
        assert (kind, login(user, stored).status) == (kind, good if kind == "plain" else 401)
        assert (kind, login(user).status) == (kind, good)
        if legacy and mode == "upgrade":
            assert fleet.stored_password(user).startswith("$argon2id$") and HASHER.verify(fleet.stored_password(user), PASSWORD)
            assert (kind, login(user).status) == (kind, 200)
        else:
            assert (kind, fleet.stored_password(user)) == (kind, stored)


def test_a_table_made_by_hand_is_left_as_it_is(fleet, new_user):
    new_user()
    fleet.become("auth")
    columns = fleet.query("SELECT column_name, column_type, is_nullable, column_key FROM information_schema.columns "
                          "WHERE table_schema = DATABASE() AND table_name = 'user' ORDER BY ordinal_position")
    assert columns == (("id", "int(11)", "NO", "PRI"), ("email", "varchar(255)", "NO", "UNI"), ("password", "varchar(255)", "NO", ""))


def test_without_mysql_logins_get_503_and_tokens_still_work(fleet, login, new_user):
    user, proxy = new_user(), Proxy(fleet.mysql.geturl())
    fleet.become("gateway", auth={"MYSQL_HOST": "127.0.0.1", "MYSQL_PORT": str(proxy.port)})
    issued = login(user).text
    proxy.cut()
    for service in (fleet.auth, fleet.gateway):
        reply = service.ask("POST", "/login", basic=f"{user}:{PASSWORD}")
        assert (reply.status, "retry-after" in reply.headers) == (503, True)
    assert fleet.auth.ask("POST", "/validate", token=issued).status == 200
    proxy.mend()
    assert until(lambda: login(user).status == 200)
