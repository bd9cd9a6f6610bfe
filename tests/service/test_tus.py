"""Resumable uploads by tus 1.0.0."""

import base64
import hashlib
import random
import time

import pytest

from harness import SEED
from harness.clips import GOOD, metadata, padded
from harness.clock import until

DATA = GOOD.data
TEXT = b"this is no video, but a text of some length"


def checksum(algorithm, data):
    return f"{algorithm} {base64.b64encode(hashlib.new(algorithm, data).digest()).decode()}"


def test_the_extensions_are_told(service):
    able = service.ask("OPTIONS", "/api/v1/tus")
    assert able.headers["tus-extension"] == "creation,creation-with-upload,termination,expiration,checksum"


def test_a_request_without_a_version_is_refused(ann):
    assert ann.ask("POST", "/api/v1/tus", Upload_Length="5").status == 412


def test_an_upload_in_parts_becomes_a_job(ann, bob):
    made = ann.create(len(DATA), Upload_Metadata=metadata(filename="Küche.mp4"))
    place = made.headers["location"]
    assert (made.status, "upload-expires" in made.headers) == (201, True)
    sent = ann.patch(place, DATA[:1000], 0)
    assert (sent.status, sent.headers["upload-offset"]) == (204, "1000")
    assert bob.patch(place, b"x", 1000).status == 404
    assert ann.patch(place, DATA[5:], 5).status == 409
    # A part with another checksum than was told is taken back.
    assert ann.patch(place, DATA[1000:2000], 1000, Upload_Checksum=checksum("sha1", b"other")).status == 460
    assert ann.offset(place) == 1000
    # A connection that has stalled in the middle holds the lock until somebody asks.
    stalled = ann.begin_part(place, len(DATA) - 1000, 1000)
    stalled.sendall(DATA[1000:3000])
    time.sleep(0.3)
    began = time.monotonic()
    assert (ann.offset(place), time.monotonic() - began < 3) == (3000, True)
    stalled.close()
    last = ann.patch(place, DATA[3000:], 3000, Upload_Checksum=checksum("sha256", DATA[3000:]))
    assert (last.status, last.headers["upload-offset"]) == (204, str(len(DATA)))
    job = ann.job(made.job_id)
    assert (job["state"], job["file_name"]) == ("done", "Küche.mp4")


def test_a_creation_may_bring_the_whole_upload(ann):
    made = ann.create_with(DATA)
    assert (made.status, made.headers["upload-offset"]) == (201, str(len(DATA)))
    assert ann.job(made.job_id)["state"] == "done"


def test_a_terminated_upload_is_gone(ann):
    place = ann.create(99).headers["location"]
    assert ann.ask("DELETE", place, Tus_Resumable="1.0.0").status == 204
    assert ann.head(place).status == 404


def test_a_text_is_refused_and_nothing_of_it_stays(ann):
    place = ann.create(len(TEXT)).headers["location"]
    sent = ann.patch(place, TEXT, 0)
    assert (sent.status, "not an MP4" in sent.json()["detail"]) == (415, True)
    assert ann.head(place).status == 404
    assert ann.create_with(TEXT).status == 415
    assert ann.jobs("state=receiving") == []


def test_a_creation_whose_answer_was_lost_goes_on_by_its_key(service, ann):
    lost = ann.begin("POST", "/api/v1/tus", len(DATA), "application/offset+octet-stream", "Tus-Resumable: 1.0.0",
                     f"Upload-Length: {len(DATA)}", "Idempotency-Key: lost")
    lost.sendall(DATA[:2000])
    unfinished = service.folder / "videos" / "unfinished"
    assert until(lambda: 2000 in [file.stat().st_size for file in unfinished.iterdir()])
    lost.close()
    [begun] = ann.jobs("state=receiving")
    assert until(lambda: ann.offset(begun["upload_url"]) == 2000)
    again = ann.create_with(DATA, Idempotency_Key="lost")
    assert (again.status, again.headers["upload-offset"], again.headers["location"]) == (201, "2000", begun["upload_url"])
    assert ann.create(99, Idempotency_Key="lost").status == 422
    ann.patch(again.headers["location"], DATA[2000:], 2000)
    again = ann.create(len(DATA), Idempotency_Key="lost")
    assert (again.status, again.headers["upload-offset"]) == (201, str(len(DATA)))
    assert ann.job(again.job_id)["state"] == "done"


def test_a_key_of_an_upload_is_refused_for_another_file_or_other_options(ann):
    known = {"Idempotency_Key": "known", "Upload_Metadata": metadata(filename="talk.mp4", bitrate="96")}
    first = ann.create(99, **known)
    assert ann.create(99, **known).headers["location"] == first.headers["location"]
    for other in (metadata(filename="other.mp4", bitrate="96"), metadata(filename="talk.mp4", bitrate="128"), metadata(filename="talk.mp4")):
        assert ann.create(99, **known | {"Upload_Metadata": other}).status == 422
    assert ann.create(98, **known).status == 422


def test_a_cancelled_upload_is_gone_for_its_key_too(ann):
    made = ann.create(99, Idempotency_Key="cancelled")
    assert ann.act(made.job_id, "cancel").json()["state"] == "cancelled"
    assert ann.head(made.headers["location"]).status == 410
    assert ann.create(99, Idempotency_Key="cancelled").status == 410


def test_an_upload_that_pauses_expires_and_one_that_goes_on_does_not(start):
    service = start("serve", upload_expiry="3s")
    ann = service.user("ann@example.com")
    left, kept = (ann.create(len(DATA)).headers["location"] for _ in range(2))
    for place in (left, kept):
        ann.patch(place, DATA[:1000], 0)
    time.sleep(2.5)
    ann.patch(kept, DATA[1000:2000], 1000)
    time.sleep(1)
    # The sweeper works when the service starts, and then every now and then.
    service.restart()
    until(lambda: ann.head(left).status != 200, 10)
    assert (ann.head(left).status, ann.patch(left, b"x", 1000).status) == (404, 404)
    time.sleep(0.5)
    assert ann.head(kept).status == 200
    assert len(service.files("videos", "unfinished")) == 1


def test_tuspy_is_cut_off_by_a_killed_service_and_goes_on_with_the_next(start, tmp_path):
    from tusclient import client as tusclient

    service = start("serve")
    ann = service.user("ann@example.com")
    video = tmp_path / "talk.mp4"
    video.write_bytes(padded(DATA, random.Random(SEED).randbytes(3_000_000)))
    client = tusclient.TusClient(f"{service.url}/api/v1/tus", headers={"Authorization": f"Bearer {ann.token}"})
    upload = client.uploader(str(video), chunk_size=700_000, upload_checksum=True,
                             metadata={"filename": "talk.mp4", "filetype": "video/mp4"})
    upload.upload_chunk()
    upload.upload_chunk()
    service.kill()
    with pytest.raises(Exception):  # whichever tuspy has for it
        upload.upload_chunk()
    service.start()
    again = client.uploader(str(video), chunk_size=700_000, url=upload.url, upload_checksum=True)
    assert again.offset == 1_400_000
    again.upload()
    job = ann.job(upload.url.rsplit("/", 1)[1])
    assert (job["state"], job["file_name"]) == ("done", "talk.mp4")
    [stored] = service.files("videos")
    assert (service.folder / "videos" / "whole" / stored).read_bytes() == video.read_bytes()
