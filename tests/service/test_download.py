"""Downloads: whole, in ranges, conditional, and as an archive."""

import io
import zipfile

import pytest

from harness.clips import GOOD, OTHER, SILENT
from harness.http import User


@pytest.fixture(scope="module")
def owner(service):
    return service.user("owner.of.downloads@example.com")


@pytest.fixture(scope="module")
def batch(owner):
    reply = owner.upload(GOOD, OTHER, SILENT).json()
    for file in reply["files"]:
        owner.job(file["job"]["id"])
    return reply


@pytest.fixture(scope="module")
def mp3(batch):
    return f"/api/v1/jobs/{batch['files'][0]['job']['id']}/mp3"


@pytest.fixture(scope="module")
def whole(owner, mp3):
    return owner.get(mp3)


def test_a_download_is_an_mp3(whole):
    assert (whole.status, whole.body[:3], whole.kind) == (200, b"ID3", "audio/mpeg")


def test_head_gives_the_length_and_has_no_ranges(owner: User, mp3, whole):
    head = owner.ask("HEAD", mp3)
    assert (head.status, head.headers["content-length"], head.body) == (200, str(len(whole.body)), b"")
    assert owner.ask("HEAD", mp3, Range="bytes=10-19").status == 200


def test_a_range_is_a_part(owner, mp3, whole):
    part = owner.get(mp3, Range="bytes=10-19")
    assert (part.status, part.body) == (206, whole.body[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{len(whole.body)}"


def test_a_range_past_the_end_is_refused(owner, mp3, whole):
    beyond = owner.get(mp3, Range="bytes=99999999-")
    assert (beyond.status, beyond.headers.get("content-range")) == (416, f"bytes */{len(whole.body)}")


@pytest.mark.parametrize("version, status", [
    ("{}", 206), ('"another"', 200), ("W/{}", 200), ("Wed, 21 Oct 2065 07:28:00 GMT", 200)])
def test_if_range_gives_a_part_of_the_same_version_only(owner, mp3, whole, version, status):
    part = owner.get(mp3, Range="bytes=10-19", If_Range=version.format(whole.headers["etag"]))
    assert (part.status, part.body) == (status, whole.body[10:20] if status == 206 else whole.body)


def test_if_range_is_checked_before_the_range(owner, mp3):
    assert owner.get(mp3, Range="bytes=99999999-", If_Range='"another"').status == 200


def test_a_known_version_is_not_sent_again(owner, mp3, whole):
    known = owner.get(mp3, If_None_Match=whole.headers["etag"])
    assert (known.status, known.body) == (304, b"")


def test_a_file_is_saved_under_the_videos_name(owner, mp3):
    name = owner.get(mp3 + "?download=1").headers["content-disposition"]
    assert name.startswith('attachment; filename="moov-last-stereo-44100.mp3"')


def test_an_archive_holds_the_mp3s_of_a_batch(owner, batch, whole):
    archive = owner.get(f"/api/v1/archive?batch={batch['batch']}")
    with zipfile.ZipFile(io.BytesIO(archive.body)) as entries:
        assert sorted(entries.namelist()) == ["alac.mp3", "moov-last-stereo-44100.mp3"]
        assert entries.testzip() is None
        assert entries.read("moov-last-stereo-44100.mp3") == whole.body
