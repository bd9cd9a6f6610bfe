"""What the answers tell browsers and caches: nothing of a session is kept, framed or sent elsewhere."""

import re

import pytest

from harness.clips import GOOD
from harness.http import PASSWORD


@pytest.fixture(scope="module")
def ann(service):
    return service.user("ann.headers@example.com")


def test_no_cache_keeps_a_token_or_what_is_about_a_user(service, ann):
    account = {"email": ann.email, "password": PASSWORD}
    replies = [
        ann.login(), ann.login("wrong"), service.ask("POST", "/api/v1/auth/register", account),
        service.user("bob.headers@example.com").ask("POST", "/api/v1/auth/refresh"), ann.get("/api/v1/auth/me"),
        service.ask("POST", "/login", basic=f"{ann.email}:{PASSWORD}"), service.ask("POST", "/login", basic="x:y"),
        ann.get("/api/v1/jobs"), ann.get("/api/v1/jobs/" + "0" * 24), ann.upload(GOOD), ann.get("/download?fid=x"),
        service.ask("POST", "/api/v1/auth/logout"),
        *(service.ask_auth("POST", path, **how) for path, how in (
            ("/login", {"basic": f"{ann.email}:{PASSWORD}"}), ("/login", {}), ("/validate", {"token": ann.token}), ("/refresh", {"token": ann.token}),
            ("/logout", {"token": "x.y.z"}))),
    ]
    assert {reply.headers.get("cache-control") for reply in replies} == {"no-store"}


def test_the_pages_run_no_script_of_others(service):
    for path in ("/", "/api/docs/"):
        reply = service.ask("GET", path)
        policy = dict(part.strip().split(" ", 1) for part in reply.headers["content-security-policy"].split(";"))
        assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert policy["script-src"] == policy["connect-src"] == "'self'"
        # Nothing in them needs more.
        assert re.search(r"<script(?![^>]*src=)|\son\w+=|javascript:", reply.text) is None
        assert (reply.headers["x-content-type-options"], reply.headers["x-frame-options"]) == ("nosniff", "DENY")


def test_over_http_there_is_no_talk_of_https(service, ann):
    reply = ann.login()
    assert "strict-transport-security" not in reply.headers
    assert re.match(r"micropy_session=[^;]+; Path=/; HttpOnly; SameSite=Strict; Max-Age=\d+$", reply.headers["set-cookie"])
    # Whoever says so is no proxy.
    reply = ann.ask("POST", "/api/v1/auth/login", {"email": ann.email, "password": PASSWORD}, X_Forwarded_Proto="https")
    assert "strict-transport-security" not in reply.headers and "__Host-" not in reply.headers["set-cookie"]


@pytest.mark.parametrize("how", ["by its own setting", "as a proxy says"])
def test_over_https_browsers_stay_with_it(start, how):
    if how == "by its own setting":
        service, told = start("serve", public_url="https://mp3.example.com", registration=True), {}
    else:
        service, told = start("serve", trust_forwarded=True, registration=True), {"X_Forwarded_Proto": "https", "X_Forwarded_For": "192.0.2.1"}
    account = {"email": "ann@example.com", "password": PASSWORD}
    reply = service.ask("POST", "/api/v1/auth/register", account, **told)
    cookie = reply.headers["set-cookie"]
    assert re.match(r"__Host-micropy_session=[^;]+; Path=/; HttpOnly; SameSite=Strict; Max-Age=\d+; Secure$", cookie)
    for path in ("/", "/api/docs/", "/healthz", "/api/v1/auth/me", "/nothing"):
        assert service.ask("GET", path, **told).headers["strict-transport-security"].startswith("max-age=31536000")
    session = cookie.split(";")[0]
    assert service.ask("GET", "/api/v1/auth/me", Cookie=session, **told).status == 200
    # A cookie that another host, or plain HTTP, could have set is no session.
    assert service.ask("GET", "/api/v1/auth/me", Cookie=session.removeprefix("__Host-"), **told).status == 401
    host = "mp3.example.com"
    for origin, status in ((f"https://{host}", 200), (f"http://{host}", 403), ("https://evil.example", 403), ("null", 403)):
        reply = service.ask("POST", "/api/v1/auth/refresh", Cookie=session, Origin=origin, Host=host, **told)
        assert (origin, reply.status) == (origin, status)


def test_behind_a_proxy_that_rewrites_the_host_the_page_works_or_says_why_not(start):
    service = start("serve", trust_forwarded=True, registration=True)
    cookie = service.user("ann@example.com").login().headers["set-cookie"].split(";")[0]
    def refresh(**told):
        return service.ask("POST", "/api/v1/auth/refresh", Cookie=cookie, Origin="http://mp3.example.com", Host="gateway:8080", **told)
    refused = refresh()
    assert (refused.status, "public_url" in refused.json()["detail"]) == (403, True)
    assert "public_url" in service.said() and "http://mp3.example.com" in service.said()
    assert refresh(X_Forwarded_Host="mp3.example.com").status == 200
    assert refresh(X_Forwarded_Host="evil.example").status == 403
    # The browser knows best, where it says so.
    assert refresh(Sec_Fetch_Site="same-origin").status == 200
    service.restart(trust_forwarded=False)
    assert refresh(X_Forwarded_Host="mp3.example.com").status == 403
    service.restart(public_url="http://mp3.example.com")
    assert refresh().status == 200
