"""What a user sees of their jobs: events, reasons, mails, lists, and what may be done with them."""

import itertools
import random

import pytest

from harness import SEED
from harness.clips import GOOD, OTHER, SILENT, Clip
from harness.clock import until


def test_an_address_registers_once(service, ann):
    again = service.ask("POST", "/api/v1/auth/register", {"email": ann.email, "password": "correct horse"})
    assert (again.status, again.kind) == (409, "application/problem+json")


def test_events_tell_how_each_job_ends(ann):
    events = ann.events()
    assert events.line() == b"event: ready"
    ids = [file["job"]["id"] for file in ann.upload(GOOD, OTHER, SILENT).json()["files"]]
    states = {}
    for job in events.jobs():
        states[job["id"]] = job["state"]
        if sum(state in ("done", "failed") for state in states.values()) == 3:
            break
    events.close()
    assert [states.get(id) for id in ids] == ["done", "done", "failed"]


def test_a_failed_job_has_a_reason(ann):
    assert ann.uploaded(SILENT)["failure"] == "no audio track: its only track is not audio"


def test_each_finished_job_sends_one_mail(service, ann):
    reply = ann.upload(GOOD, OTHER, SILENT)
    good, other, silent = (ann.job(file["job"]["id"])["id"] for file in reply.json()["files"])
    wanted = {f"{good}.eml", f"{other}.eml", f"{silent}.failed.eml"}

    def mails():
        return {mail.name: mail.read_text() for id in (good, other, silent)
                for mail in (service.folder / "outbox").glob(f"{id}*.eml")}

    until(lambda: len(mails()) >= 3, 5)
    found = mails()
    assert set(found) == wanted
    assert "is now ready!" in found[f"{good}.eml"]
    assert "no audio track" in found[f"{silent}.failed.eml"]


def test_a_list_comes_in_pages_the_newest_first(ann):
    ids = [file["job"]["id"] for file in ann.upload(GOOD, OTHER, SILENT).json()["files"]]
    page = ann.get("/api/v1/jobs?limit=2").json()
    rest = ann.get(f"/api/v1/jobs?limit=2&before={page['next']}").json()
    assert [job["id"] for job in page["jobs"] + rest["jobs"]] == ids[::-1]
    assert rest["next"] is None


def test_a_list_can_be_of_one_state(ann):
    good, silent = (ann.job(file["job"]["id"]) for file in ann.upload(GOOD, SILENT).json()["files"])
    assert [job["id"] for job in ann.jobs("state=failed")] == [silent["id"]]
    assert [job["id"] for job in ann.jobs("state=done")] == [good["id"]]
    assert ann.get("/api/v1/jobs?state=x").status == 400


def test_only_a_failed_job_can_be_tried_again(ann):
    good, silent = ann.uploaded(GOOD)["id"], ann.uploaded(SILENT)["id"]
    assert ann.act(good, "cancel").status == 409
    assert ann.act(good, "retry").status == 409
    assert ann.act(silent, "retry").status == 200
    assert ann.job(silent)["state"] == "failed"


def test_an_idempotency_key_makes_one_job_of_two_uploads(ann):
    first, second = (ann.upload(GOOD, Idempotency_Key="once").job_id for _ in range(2))
    assert first == second


@pytest.mark.parametrize("path", ["/api/v1/uploads", "/upload"])
def test_a_used_idempotency_key_is_refused_for_another_request_and_nothing_of_it_stays(service, ann, path):
    key = {"Idempotency_Key": "used", "Accept": "application/json"}
    first = ann.upload(GOOD, OTHER, path=path, **key)
    ids, videos = [file["job"]["id"] for file in first.json()["files"]], service.files("videos")
    changed = bytearray(GOOD.data)
    changed[-1] ^= 1
    for parts, more in [
        ([OTHER], ""),
        ([Clip(GOOD.name, bytes(changed)), OTHER], ""),  # as long as the first
        ([Clip("other.mp4", GOOD.data), OTHER], ""),
        ([GOOD, OTHER], "?bitrate=96"),
        ([GOOD], ""),
        ([GOOD, GOOD], ""),
        ([OTHER, GOOD, GOOD], ""),
    ]:
        reply = ann.upload(*parts, path=path + more, **key)
        assert (reply.status, "Idempotency-Key" in reply.text) == (422, True), (parts[0].name, more)
    assert sorted(job["id"] for job in ann.jobs()) == sorted(ids)
    again = ann.upload(GOOD, OTHER, path=path, **key)
    assert [file["job"]["id"] for file in again.json()["files"]] == ids
    for id in ids:
        assert ann.job(id)["state"] == "done"
    assert service.files("videos") == videos


def test_a_deleted_job_is_gone(ann):
    id = ann.uploaded(OTHER)["id"]
    assert ann.ask("DELETE", f"/api/v1/jobs/{id}").status == 204
    assert ann.get(f"/api/v1/jobs/{id}").status == 404


def test_a_text_is_refused(ann):
    reply = ann.upload(Clip("notes.txt", b"this is no video, but a text of some length\n" * 50))
    assert (reply.status, reply.json()["title"]) == (415, "Unsupported Media Type")


def test_corrupt_files_fail_with_a_reason_beside_a_good_one(ann):
    rng = random.Random(SEED)
    noise = [Clip(f"noise{n}.mp4", GOOD.data[:32] + rng.randbytes(2000)) for n in range(5)]
    ended = [ann.job(file["job"]["id"]) for file in ann.upload(*noise, GOOD).json()["files"]]
    assert [job["state"] for job in ended] == ["failed"] * 5 + ["done"]
    assert all(len(job["failure"]) > 10 for job in itertools.islice(ended, 5))
