"""URLs on the command line: where the MP3 goes, and what is refused."""

import json

import pytest


@pytest.mark.parametrize("path, name", [
    ("song.mp4", "song.mp3"), ("song.mp4?name=other.mp4", "song.mp3"), ("%73ong%2Emp4", "song.mp3"),
    ("..%2Fsong.mp4", "song.mp3")])
def test_the_mp3_is_named_after_the_path_and_stands_in_the_current_folder(micropy, fickle, path, name):
    fickle.headers = {}
    done = micropy("convert", f"{fickle.url}/{path}", "--json")
    if "%2F" in path:
        # What the server makes of it is its own business.
        assert done.returncode in (0, 1)
    else:
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["output"] == name
    made = {str(path.relative_to(micropy.folder)) for path in micropy.folder.rglob("*.mp3")}
    assert made <= {name}
    assert not list(micropy.folder.parent.glob("*.mp3"))


def test_outputs_and_collisions_are_as_for_files(micropy, web):
    url = f"{web.url}/song.mp4"
    assert micropy("convert", url, "-o", "there/").returncode == 0
    assert (micropy.folder / "there" / "song.mp3").exists()
    done = micropy("convert", url, f"{web.url}/private/song.mp4")
    assert done.returncode == 2 and "would both become song.mp3" in done.stderr
    (micropy.folder / "song.mp3").write_text("mine")
    done = micropy("convert", url)
    assert done.returncode == 1 and "already exists" in done.stderr
    assert (micropy.folder / "song.mp3").read_text() == "mine"


@pytest.mark.parametrize("url, why", [
    ("ftp://host/a.mp4", "http, https, s3, gs and az"), ("http://", "no URL"), ("https://user:pa/ss@host/a", "no URL"),
    ("s3://bucket", "no object"), ("s3:///key", "bucket"), ("http://ho st/a", "no URL")])
def test_what_is_no_url_is_refused_without_its_secrets(micropy, url, why):
    done = micropy("convert", url)
    assert done.returncode == 1 and why in done.stderr, done.stderr
    assert "pa/ss" not in done.stderr


def test_help_names_urls(micropy):
    for command in ("convert", "probe"):
        assert "s3" in micropy(command, "--help").stdout
