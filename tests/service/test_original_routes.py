"""The routes of the original gateway and auth service, with the answers of these."""

import pytest

from harness.clips import GOOD, OTHER
from harness.http import User, ask


@pytest.fixture(params=["gateway", "auth"])
def login(service, ann, request):
    """POST /login at either service."""
    url = service.url if request.param == "gateway" else service.auth_url
    return lambda **more: ask("POST", f"{url}/login", **more)


def test_login_answers_a_bare_token(login, ann):
    good = login(basic=f"{ann.email}:correct horse")
    assert (good.status, good.body.count(b"."), good.body.strip()) == (200, 2, good.body)


def test_login_refuses_wrong_passwords_unknown_users_and_another_letter_case_alike(login, ann):
    for text in (f"{ann.email}:wrong", "no@example.com:correct horse", f"A{ann.email[1:]}:correct horse"):
        assert login(basic=text).answer == (401, "invalid credentials"), text


def test_login_asks_for_missing_credentials(login):
    missing = login()
    assert (*missing.answer, missing.headers["www-authenticate"][:5]) == (401, "missing credentials", "Basic")


def test_validate_tells_the_claims_of_a_token_that_lasts_a_day(service, ann):
    valid = service.ask_auth("POST", "/validate", token=ann.token)
    claims = valid.json()
    assert (valid.status, sorted(claims)) == (200, ["admin", "exp", "iat", "username"])
    assert claims["exp"] - claims["iat"] == 86400


@pytest.mark.parametrize("header", [{}, {"Authorization": ""}, {"Authorization": "x"}])
def test_validate_asks_for_missing_credentials(service, header):
    assert service.ask_auth("POST", "/validate", **header).answer == (401, "missing credentials")


def test_validate_refuses_a_bad_token(service):
    assert service.ask_auth("POST", "/validate", token="x.y.z").answer == (403, "not authorized")


def test_upload_says_success_and_names_the_job_in_headers(ann):
    reply = ann.upload(GOOD, path="/upload")
    assert reply.answer == (200, "success!")
    assert reply.headers["location"] == f"/api/v1/jobs/{reply.job_id}"
    assert ann.upload(GOOD, OTHER, path="/upload").body == b"success!"


@pytest.mark.parametrize("token, files, answer", [
    ("good", [], (400, "exactly 1 file required")),
    (None, [GOOD], (401, "missing credentials")),
    ("x.y.z", [GOOD], (403, "not authorized")),
], ids=["no file", "no token", "a bad token"])
def test_upload_refuses_in_the_originals_words(ann, token, files, answer):
    user = ann if token == "good" else User(ann.url, token=token)
    assert user.upload(*files, path="/upload").answer == answer


def test_download_is_inline_under_the_files_id(ann):
    fid = ann.uploaded(GOOD, path="/upload")["mp3"]["fid"]
    reply = ann.get(f"/download?fid={fid}")
    assert (reply.status, reply.kind, reply.headers["content-disposition"]) == (200, "audio/mpeg", f"inline; filename={fid}.mp3")


def test_download_needs_a_known_id(ann):
    assert ann.get("/download").answer == (400, "fid is required")
    for fid in ("x", "0" * 24):
        assert ann.get(f"/download?fid={fid}").status == 404
