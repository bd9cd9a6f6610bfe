"""Uploads in one request, and the options that may come with them."""

import pytest

from harness.clips import GOOD, OTHER, Clip, Field, form, metadata, padded
from harness.clock import until
from harness.http import TUS


def test_errors_come_as_problem_details(service, ann):
    for reply in (ann.upload(GOOD, path="/api/v1/uploads?bitrate=x"), service.ask("POST", "/api/v1/auth/login", {"email": 5}),
                  ann.get("/api/v1/jobs?limit=x")):
        assert (reply.status // 100, reply.kind) == (4, "application/problem+json")


def test_options_come_in_the_query(ann):
    report = ann.uploaded(GOOD, path="/api/v1/uploads?bitrate=64&mono=true&start=0.5&duration=1")["mp3"]["report"]
    assert (report["samples"], report["channels"]) == (44100, 1)


def test_a_preset_sets_rate_and_channels(ann):
    report = ann.uploaded(OTHER, path="/api/v1/uploads?preset=moviepy")["mp3"]["report"]
    assert (report["sample_rate"], report["channels"]) == (44100, 2)


@pytest.mark.parametrize("query", ["bitrate=1000", "bitrate=128&vbr=2", "start=-1", "sample_rate=12345", "vbr=11", "bitrate=x"])
def test_wrong_options_in_the_query_are_refused_and_nothing_is_taken(ann, query):
    assert ann.upload(GOOD, path=f"/api/v1/uploads?{query}").status == 400
    assert ann.jobs() == []


@pytest.mark.parametrize("how", ["query", "field", "tus metadata", "tus query"])
def test_an_unknown_option_is_named_with_the_nearest_known_one(ann, how):
    reply = {
        "query": lambda: ann.upload(GOOD, path="/api/v1/uploads?bitrat=64"),
        "field": lambda: ann.upload(Field("bitrat", b"64"), GOOD),
        "tus metadata": lambda: ann.create(99, Upload_Metadata=metadata(filename="a.mp4", bitrat="64")),
        "tus query": lambda: ann.ask("POST", "/api/v1/tus?bitrat=64", Upload_Length="99", **TUS),
    }[how]()
    detail = reply.json()["detail"]
    assert (reply.status, "`bitrat`" in detail, "`bitrate`" in detail) == (400, True, True)
    assert ann.jobs() == []


@pytest.mark.parametrize("fields", [
    [Field("bitrate", b"high")], [Field("bitrate", b"64"), Field("vbr", b"2")], [Field("bitrate", b"1" * 5000)]],
    ids=["no number", "two that exclude each other", "too long"])
def test_wrong_options_in_fields_are_refused_and_nothing_is_taken(ann, fields):
    assert ann.upload(*fields, GOOD).status == 400
    assert ann.jobs() == []


def test_an_option_after_a_file_is_refused(ann):
    late = ann.upload(GOOD, Field("bitrate", b"64"))
    assert (late.status, "bitrate" in late.json()["detail"]) == (400, True)
    assert ann.jobs() == []


def test_options_come_in_fields_and_a_file_may_have_the_name_of_one(ann):
    job = ann.uploaded(Field("mono", b"true"), Field("preset", b"moviepy"), Clip(GOOD.name, GOOD.data, "bitrate"))
    assert (job["state"], job["options"]) == ("done", {"mono": True, "preset": "moviepy"})


def test_options_come_in_metadata_of_tus(ann):
    told = metadata(filename="a.mp4", filetype="video/mp4", name="b.mp4", type="video/mp4", relativePath="c", vbr="4")
    made = ann.create_with(GOOD.data, "/api/v1/tus?mono=true", Upload_Metadata=told)
    job = ann.job(made.job_id)
    assert (job["file_name"], job["options"]) == ("a.mp4", {"mono": True, "vbr": 4.0})


def test_a_malformed_batch_is_refused(ann):
    assert ann.create(99, Upload_Metadata=metadata(batch="x")).status == 400


def test_what_has_arrived_whole_becomes_a_job_though_its_client_goes(ann):
    # The file is still being made durable when nobody waits for the answer any more. Without a job, no quota would count it.
    for number in range(10):
        body, kind = form(Clip("gone.mp4", padded(GOOD.data, bytes(4_000_000 + number))))
        client = ann.begin("POST", "/api/v1/uploads", len(body), kind)
        client.sendall(body)
        client.close()
    assert until(lambda: [job["state"] for job in ann.jobs()] == ["done"] * 10, 60), ann.jobs()
