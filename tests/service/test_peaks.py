"""The waveform of an MP3 is drawn as it is made, kept in the ledger, and there for the asking."""

import json
import sqlite3
import subprocess

import pytest

from harness import MEDIA, MICROPY
from harness.clips import BOOK, GOOD, SILENT, SONG, Field, clip

#: MP3 in MP4, whose frames are copied and not decoded.
COPIED = clip("mp3.mp4")


@pytest.fixture(scope="module")
def listener(service):
    return service.user("listener@example.com")


def place(job):
    return f"/api/v1/jobs/{job['id']}/peaks"


@pytest.mark.parametrize("video", [GOOD, clip("mono-8000.mp4"), clip("quicktime-sowt.mov")], ids=lambda video: video.name)
def test_the_waveform_is_that_of_the_command_line(listener, video):
    job = listener.uploaded(video)
    reply = listener.get(job["mp3"]["peaks"])
    assert (reply.status, reply.kind, job["mp3"]["peaks"]) == (200, "application/json", place(job))
    probe = [MICROPY, "probe", "--peaks", "800", MEDIA / video.name]
    assert reply.json() == json.loads(subprocess.run(probe, check=True, capture_output=True).stdout)


def test_the_waveform_is_of_the_mp3_and_not_of_the_video(listener):
    loud, quiet, part = (listener.get(place(listener.uploaded(SONG, path=f"/api/v1/uploads?{options}"))).json()
                         for options in ("", "normalize=-40", "start=2&duration=3&sample_rate=22050"))
    assert max(quiet["data"]) < max(loud["data"]) / 2
    assert (part["sample_rate"], part["length"]) == (22050, -(-3 * 22050 // part["samples_per_pixel"]))
    for peaks in loud, quiet, part:
        lows, highs = peaks["data"][::2], peaks["data"][1::2]
        assert (peaks["version"], peaks["channels"], peaks["bits"]) == (2, 1, 8)
        assert 700 < len(lows) == len(highs) == peaks["length"] <= 800
        assert all(-128 <= low <= high <= 127 for low, high in zip(lows, highs))


def test_the_waveform_of_a_zip_file_is_of_all_its_mp3s(listener):
    whole, split = listener.uploaded(BOOK), listener.uploaded(Field("split", b"chapters"), BOOK)
    assert split["mp3"]["report"]["chapters"] > 1
    whole, split = (listener.get(job["mp3"]["peaks"]).json() for job in (whole, split))
    assert [max(map(abs, peaks["data"])) for peaks in (whole, split)] == [max(map(abs, whole["data"]))] * 2
    length = whole["sample_rate"] * 3
    for peaks in whole, split:
        assert (peaks["length"] - 1) * peaks["samples_per_pixel"] < length <= peaks["length"] * peaks["samples_per_pixel"]
        assert 500 < peaks["length"] <= 800


def test_there_is_none_where_nothing_was_decoded(listener):
    copied, failed = listener.uploaded(COPIED), listener.uploaded(SILENT)
    assert (copied["state"], copied["mp3"]["peaks"], failed["mp3"]) == ("done", None, None)
    for path in (place(copied), place(failed), "/api/v1/jobs/" + "0" * 24 + "/peaks"):
        reply = listener.get(path)
        assert (reply.status, reply.kind) == (404, "application/problem+json"), path


def test_it_is_nobody_elses(service, listener):
    job = listener.uploaded(GOOD)
    assert service.user("eavesdropper@example.com").get(place(job)).status == 404


def test_lists_and_events_do_not_have_it(listener):
    job = listener.uploaded(GOOD)
    for found in (listener.job(job["id"]), listener.get("/api/v1/jobs?limit=1").json()["jobs"][0]):
        assert (found["mp3"]["peaks"], "peaks" in found["mp3"]["report"]) == (place(job), False)
        assert len(json.dumps(found)) < 2000


def test_it_outlives_a_restart_and_a_job_of_before_has_none(start):
    service = start("serve")
    ann = service.user("ann@example.com")
    kept, old = ann.uploaded(SONG), ann.uploaded(GOOD)
    peaks = ann.get(place(kept)).json()
    assert service.stop() == 0
    ledger = sqlite3.connect(service.folder / "micropy.db")
    sizes = [size for size, in ledger.execute("SELECT length(report) FROM jobs")]
    assert len(sizes) == 2 and all(1500 < size < 3000 for size in sizes), sizes
    with ledger:
        ledger.execute("UPDATE jobs SET report = json_remove(report, '$.peaks') WHERE id = ?", [bytes.fromhex(old["id"])])
    ledger.close()
    service.start()
    assert ann.get(place(kept)).json() == peaks
    before = ann.job(old["id"])
    assert (before["mp3"]["peaks"], before["mp3"]["report"]) == (None, old["mp3"]["report"])
    assert ann.get(place(old)).status == 404
