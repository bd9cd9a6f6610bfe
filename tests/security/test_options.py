"""What a client may leave in the ledger has a bound, and what is beyond is refused by name."""

import json

import pytest

from harness.clips import GOOD, Clip, Field, metadata
from harness.http import User

LONG = 60_000
#: Every option that is text, or whose value is a number as text.
OPTIONS = ["language", "preset", "split", "bitrate", "abr", "vbr", "quality", "sample_rate", "mono", "start", "duration", "fade_in", "fade_out",
           "normalize", "replay_gain", "late_start", "tags", "track", "join", "videos", "webhook"]


@pytest.fixture(scope="module")
def ann(service):
    return service.user("ann.options@example.com")


def stored(service):
    """Bytes of the ledger and its log."""
    return sum((service.folder / name).stat().st_size for name in ("micropy.db", "micropy.db-wal"))


@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_of_any_length_is_refused_by_name(service, ann, name):
    long, before = "a" * LONG, stored(service)
    replies = [
        ann.upload(GOOD, path=f"/api/v1/uploads?{name}={long}"),
        ann.upload(GOOD, path=f"/upload?{name}={long}"),
        ann.upload(Field(name, long.encode()), GOOD),
        ann.create(1000, Upload_Metadata=metadata(filename="a.mp4", **{name: "a" * 40_000})),
        ann.ask("POST", f"/api/v1/tus?{name}={long}", Upload_Length="1000", Tus_Resumable="1.0.0"),
    ]
    assert [reply.status for reply in replies] == [400] * 5
    for reply in replies[2:4]:
        assert name in reply.json()["detail"] and len(reply.body) < 1000
    assert ann.jobs() == [] and stored(service) - before < 20_000


def test_a_name_that_is_no_option_is_refused_and_not_repeated_at_length(ann):
    long = "x" * 50_000
    for reply in (ann.upload(Field(long, b"1"), GOOD), ann.create(1000, Upload_Metadata=f"{'x' * 40_000} MQ==")):
        assert (reply.status, len(reply.body) < 1000) == (400, True)


def test_a_language_is_a_code(ann):
    for code in ("e", "engl", "e1g", "en-US", " en", "\u00e9n"):
        reply = ann.upload(Field("language", code.encode()), GOOD)
        assert reply.status == 400 and "language" in reply.json()["detail"], code
    for code in ("en", "eng", "DEU"):
        assert ann.upload(Field("language", code.encode()), GOOD).status == 201, code


def test_a_files_name_a_key_and_an_account_have_bounds(service, ann):
    job = ann.upload(Clip("n" * 50_000 + ".mp4", GOOD.data)).json()["files"][0]["job"]
    assert len(job["file_name"].encode()) <= 255
    made = ann.create(1000, Upload_Metadata=metadata(filename="n" * 40_000))
    assert len(ann.job(made.job_id, states=("receiving",))["file_name"].encode()) <= 255
    assert ann.upload(GOOD, Idempotency_Key="k" * 201).status == 400
    for email, password in (("a" * 60_000 + "@example.com", "correct horse"), ("long@example.com", "p" * 60_000)):
        reply = service.ask("POST", "/api/v1/auth/register", {"email": email, "password": password})
        assert (reply.status, len(reply.body) < 1000) == (400, True)
        assert User(service.url, email).login(password).status == 401
        reply = service.ask_auth("POST", "/login", basic=f"{email}:{password}")
        assert (reply.status, len(reply.body) < 1000) in ((401, True), (431, True))
