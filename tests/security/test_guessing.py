"""Passwords are not guessed, accounts not made by the thousand, and nobody is kept out by those who try."""

import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness import SERVER
from harness.clips import GOOD
from harness.http import PASSWORD, User
from harness.service import inherited
from harness.tokens import SECRET

STATUSES = [201, 401, 429, 503]


def at_once(number, act):
    """The statuses of so many requests at the same time."""
    with ThreadPoolExecutor(number) as pool:
        return [reply.status for reply in pool.map(act, range(number))]


def client(user, address):
    """The user, as a proxy in front of the service tells of their address."""
    def login(password=PASSWORD, **more):
        return user.ask("POST", "/api/v1/auth/login", {"email": user.email, "password": password}, X_Forwarded_For=address, **more)
    return login


def register(service, email, **more):
    return service.ask("POST", "/api/v1/auth/register", {"email": email, "password": PASSWORD}, **more)


def test_of_guesses_at_once_no_more_are_looked_at_than_of_guesses_in_turn(start):
    service = start("serve", login_attempts=10)
    ann, bob = service.user("ann@example.com"), service.user("bob@example.com")
    found = at_once(400, lambda n: ann.login(f"guess {n}"))
    assert {status: found.count(status) for status in set(found)} == {401: 10, 429: 390}
    assert (ann.login().status, bob.login().status) == (429, 200)
    # The original route counts the same attempts.
    assert service.ask_auth("POST", "/login", basic=f"{ann.email}:{PASSWORD}").status == 429


def test_right_passwords_are_never_too_many(start):
    service = start("serve", login_attempts=3)
    ann = service.user("ann@example.com")
    assert [ann.login().status for _ in range(20)] == [200] * 20


def test_an_ipv6_network_is_one_guesser(start):
    service = start("serve", login_attempts=3, trust_forwarded=True, registration=True)
    ann = service.user("ann@example.com")
    found = [client(ann, f"2001:db8:1:2:{n:x}::1")("wrong").status for n in range(5)]
    assert found == [401] * 3 + [429] * 2
    assert client(ann, "2001:db8:1:3::1")().status == 200


def test_an_account_that_the_world_attacks_stays_open_to_its_owner(start):
    service = start("serve", login_attempts=3, trust_forwarded=True, registration=True)
    ann = service.user("ann@example.com")
    assert client(ann, "192.0.2.1")().status == 200
    found = [client(ann, f"198.51.100.{n}")("wrong").status for n in range(40)]
    assert found == [401] * 30 + [429] * 10
    assert client(ann, "192.0.2.1")().status == 200, "from where they always come"
    assert client(ann, "198.51.100.200")().status == 429, "from nowhere known"


def test_registrations_do_not_keep_a_login_waiting(start):
    service = start("serve", registrations=1000)
    ann = service.user("ann@example.com")
    with ThreadPoolExecutor(300) as pool:
        crowd = [pool.submit(register, service, f"user{n}@example.com", patience=120) for n in range(300)]
        time.sleep(0.5)
        took = []
        while len(took) < 3 or not all(one.done() for one in crowd) and len(took) < 20:
            began = time.monotonic()
            assert ann.login().status == 200
            took.append(time.monotonic() - began)
        assert {one.result().status for one in crowd} == {201}
    # 300 hashes take a core far longer than that.
    assert max(took) < 5, took


def test_an_address_makes_a_limited_number_of_accounts(start):
    service = start("serve", registrations=5, trust_forwarded=True, registration=True)
    found = [register(service, f"user{n}@example.com", X_Forwarded_For=f"2001:db8::{n}") for n in range(7)]
    assert [reply.status for reply in found] == [201] * 5 + [429] * 2
    assert int(found[-1].headers["retry-after"]) > 200 and "address" in found[-1].json()["detail"]
    assert at_once(20, lambda n: register(service, f"more{n}@example.com", X_Forwarded_For="192.0.2.7")).count(201) == 5
    assert register(service, "other@example.com", X_Forwarded_For="192.0.2.8").status == 201


@pytest.mark.parametrize("settings, status", [
    ({}, 201),
    ({"host": "0.0.0.0"}, 403),
    ({"registration": False}, 403),
    ({"trust_forwarded": True}, 403),
    ({"public_url": "https://mp3.example.com"}, 403),
    ({"host": "0.0.0.0", "registration": True}, 201),
], ids=["on loopback", "on every address", "switched off", "behind a proxy", "at a public address", "switched on"])
def test_strangers_register_only_on_loopback_unless_somebody_says_otherwise(start, settings, status):
    service = start("serve", jwt_secret=SECRET, **settings)
    assert register(service, "ann@example.com").status == status
    # The auth service makes accounts for gateways alone.
    reply = service.ask_auth("POST", "/register", {"email": "bob@example.com", "password": PASSWORD})
    assert reply.status == 403
    assert service.ask("GET", "/api/v1/about").json()["registration"] is (status == 201)


@pytest.fixture
def split(start):
    """A gateway and an auth service as processes of their own, which share the secret."""
    def begin(auth={}, gateway={}):
        auth = start("auth", jwt_secret=SECRET, **auth)
        return auth, start("gateway", auth_url=auth.url, jwt_secret=SECRET, **gateway)
    return begin


def test_gateway_and_auth_service_both_refuse_registrations(split):
    auth, gateway = split(gateway={"registration": False})
    assert register(gateway, "ann@example.com").status == 403
    gateway.restart(registration=True)
    assert register(gateway, "ann@example.com").status == 201
    auth.restart(registration=False)
    assert register(gateway, "bob@example.com").status == 403


def test_nobody_but_a_gateway_makes_an_account_for_the_files_of_somebody_else(split):
    auth, gateway = split()
    ann = gateway.user("ann@example.com")
    assert ann.upload(GOOD).status == 201
    removed = subprocess.run([SERVER, "user", "remove", ann.email, "--data-dir", auth.folder], env=inherited())
    assert removed.returncode == 0
    account = {"email": ann.email, "password": "another horse"}
    now = int(time.time() * 1000)
    for forged in ({}, {"X_Forwarded_For": "127.0.0.1"}, {"X_Micropy_Client": f"127.0.0.1 {now} {'A' * 43}"}):
        assert auth.ask("POST", "/register", account, **forged).status == 403, forged
    assert register(gateway, ann.email).status == 409
    assert auth.ask("POST", "/login", basic=f"{ann.email}:another horse").status == 401


def test_one_client_of_the_gateway_does_not_lock_out_the_others(split):
    auth, gateway = split(gateway={"trust_forwarded": True, "registration": True})
    ann = gateway.user("ann@example.com")
    for n in range(100):
        User(gateway.url, f"user{n}@example.com").ask(
            "POST", "/api/v1/auth/login", {"email": f"user{n}@example.com", "password": "wrong"}, X_Forwarded_For="203.0.113.7")
    assert client(ann, "203.0.113.7")().status == 429
    assert client(ann, "203.0.113.8")().status == 200
    assert gateway.ask("POST", "/login", basic=f"{ann.email}:{PASSWORD}", X_Forwarded_For="203.0.113.9").status == 200


def test_who_is_no_gateway_cannot_say_where_a_request_comes_from(split):
    auth, gateway = split(auth={"login_attempts": 3})
    ann = gateway.user("ann@example.com")
    now = int(time.time() * 1000)
    made_up = lambda n: {"X_Forwarded_For": f"192.0.2.{n}", "X_Micropy_Client": f"192.0.2.{n} {now} {'A' * 43}"}
    found = [auth.ask("POST", "/login", basic=f"{ann.email}:wrong", **made_up(n)).status for n in range(5)]
    assert found == [401] * 3 + [429] * 2
    # Nor through the gateway, which says it itself.
    found = [client(ann, "192.0.2.9")("wrong", X_Micropy_Client=made_up(9)["X_Micropy_Client"]).status for n in range(2)]
    assert found == [429] * 2
