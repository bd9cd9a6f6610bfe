"""docs/api.md: its commands, run one after the other against a service that has just been installed."""

import json
import os
import shutil
import zipfile

import pytest

from harness import MEDIA, ROOT, SONG
from harness.pages import blocks, run
from harness.service import starter

PAGE = ROOT / "docs" / "api.md"
#: Said after a block, so that what it printed can be told apart.
MARK = "--- end of a block ---"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("api")
    shutil.copy(SONG, folder / "talk.mp4")
    shutil.copy(MEDIA / "moov-last-stereo-44100.mp4", folder / "film.mp4")
    shutil.copy(ROOT / "examples" / "upload_sound.py", folder)
    shutil.copy(MEDIA / "mono-44100.m4a", folder / "a.mp4")
    shutil.copy(MEDIA / "alac.m4a", folder / "b.mp4")
    return folder


@pytest.fixture(scope="module")
def told(folder, tmp_path_factory):
    """What each block of the page printed."""
    if not shutil.which("jq"):
        pytest.skip("jq is not installed")
    assert PAGE.read_text(encoding="utf-8").count("http://127.0.0.1:8080") == 1
    for start in starter(tmp_path_factory.mktemp("service")):
        service = start("serve")
        pieces = (block.replace("http://127.0.0.1:8080", service.url) for block in blocks(PAGE))
        script = f"\necho '\n{MARK}'\n".join(pieces)
        environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        yield run(script, folder, **environment).split(f"\n{MARK}\n")


def which(told, text):
    """The output of the block with this text."""
    [index] = [index for index, block in enumerate(blocks(PAGE)) if text in block]
    return told[index].strip()


def test_a_video_becomes_an_mp3(told, folder):
    assert which(told, "echo $STATE").splitlines()[-1] == "done"
    assert (folder / "talk.mp3").read_bytes().startswith(b"ID3")
    assert which(told, "-r 0-2") == "ID3"


def test_only_the_sound_is_sent(told, folder):
    assert (folder / "film.mp3").read_bytes().startswith(b"ID3")


def test_a_batch_becomes_an_archive(told, folder):
    with zipfile.ZipFile(folder / "batch.zip") as archive:
        assert sorted(archive.namelist()) == ["a.mp3", "b.mp3"]


def test_several_files_become_one_mp3(told, folder):
    assert (folder / "both.mp3").read_bytes().startswith(b"ID3")


def test_events_begin_with_ready(told, folder):
    assert (folder / "events.txt").read_text().startswith("event: ready")


def test_an_upload_in_parts_becomes_a_job(told):
    jobs = which(told, "jobs?limit=10").splitlines()
    assert len([line for line in jobs if line.endswith(" talk.mp4")]) == 2
    ours = [line for line in jobs if not line.endswith(" lecture.mp4")]
    assert all(line.split()[0] in {"done", "queued", "running"} for line in ours[:4]), jobs


def test_a_url_becomes_a_job(told):
    job = json.loads(which(told, "$API/imports"))
    assert (job["state"], job["origin"]) == ("queued", "https://example.com/lecture.mp4")


def test_webhooks_have_secrets(told):
    assert which(told, "hooks/micropy\"}'").startswith("whsec_")
    assert which(told, "--json '{}'").startswith("whsec_")


def test_errors_say_what_is_wrong(told):
    problem = json.loads(which(told, "jobs/000000000000000000000000"))
    assert (problem["status"], problem["title"]) == (404, "Not Found")
