"""A job that is split at chapters makes a ZIP file of what the program `micropy` makes of the same video."""

import io
import re
import subprocess
import zipfile

import pytest

from harness import MEDIA, MICROPY, isobmff
from harness.clips import BOOK, GOOD, Clip, Field, clip, metadata

NERO = clip("chapters-nero.m4b")
SPLIT = Field("split", b"chapters")


def unpacked(data):
    """What is in a ZIP file, none of it compressed, all of it sound."""
    with zipfile.ZipFile(io.BytesIO(data)) as entries:
        assert entries.testzip() is None
        assert {entry.compress_type for entry in entries.infolist()} == {zipfile.ZIP_STORED}
        assert len(set(entries.namelist())) == len(entries.namelist())
        return {name: entries.read(name) for name in entries.namelist()}


@pytest.fixture(scope="module")
def chapters(tmp_path_factory):
    """The MP3s of the book's chapters, as the command line makes them."""
    folder = tmp_path_factory.mktemp("chapters")
    subprocess.run([MICROPY, "convert", MEDIA / BOOK.name, "--split-chapters", folder], check=True, capture_output=True)
    found = {file.name: file.read_bytes() for file in sorted(folder.iterdir())}
    assert len(found) > 1
    return found


@pytest.fixture(scope="module")
def reader(service):
    return service.user("reader@example.com")


@pytest.fixture(scope="module")
def batch(reader):
    return reader.upload(SPLIT, BOOK, NERO, GOOD).json()


@pytest.fixture(scope="module")
def book(reader, batch):
    return reader.job(batch["files"][0]["job"]["id"])


def test_books_are_split_and_a_video_without_chapters_fails(reader, batch, book):
    other, plain = (reader.job(file["job"]["id"]) for file in batch["files"][1:])
    assert (book["state"], book["options"], other["state"]) == ("done", {"split": "chapters"}, "done")
    assert (plain["state"], plain["failure"]) == ("failed", "there are no chapters to split at")


def test_the_job_describes_the_zip_file(book, chapters):
    mp3 = book["mp3"]
    assert (mp3["content_type"], mp3["file_name"]) == ("application/zip", "chapters.zip")
    report = mp3["report"]
    assert (report["chapters"], round(report["duration"], 3), report["codec"]) == (len(chapters), 3.0, "AAC-LC")


def test_the_zip_file_holds_the_mp3s_of_the_command_line(reader, book, chapters):
    mp3 = book["mp3"]
    whole = reader.get(mp3["url"] + "?download=1")
    assert whole.kind == "application/zip"
    assert whole.headers["content-disposition"].split(";")[:2] == ["attachment", ' filename="chapters.zip"']
    assert len(whole.body) == mp3["bytes"]
    assert reader.get(mp3["url"], Range="bytes=0-3").body == b"PK\x03\x04"
    assert unpacked(whole.body) == chapters
    reply = reader.get(f"/download?fid={mp3['fid']}")
    assert (reply.kind, reply.headers["content-disposition"]) == ("application/zip", f"inline; filename={mp3['fid']}.zip")
    assert reply.body == whole.body


def test_an_archive_has_a_folder_for_each_split_book(reader, book, chapters):
    single = reader.uploaded(BOOK)
    again = reader.uploaded(BOOK, path="/api/v1/uploads?split=chapters")
    assert (single["mp3"]["content_type"], single["mp3"]["file_name"]) == ("audio/mpeg", "chapters.mp3")
    archive = unpacked(reader.get(f"/api/v1/archive?jobs={book['id']},{single['id']},{again['id']}").body)
    assert {name: archive.get(f"chapters/{name}") for name in chapters} == chapters
    assert sorted(archive) == sorted(
        ["chapters.mp3"] + [f"{folder}/{name}" for folder in ("chapters", "chapters (2)") for name in chapters])


def test_an_archive_of_a_batch_has_its_books(reader, batch, book):
    reader.job(batch["files"][1]["job"]["id"])
    archive = unpacked(reader.get(f"/api/v1/archive?batch={batch['batch']}").body)
    assert sorted({name.split("/")[0] for name in archive}) == ["chapters", "chapters-nero"]


def test_a_part_can_be_split(reader, chapters):
    part = reader.uploaded(BOOK, path="/api/v1/uploads?split=chapters&start=1.5&bitrate=64&tags=false")
    report = part["mp3"]["report"]
    assert (part["state"], report["chapters"] < len(chapters), round(report["duration"], 3)) == ("done", True, 1.5)


def test_an_upload_by_tus_can_be_split(reader):
    made = reader.create_with(BOOK.data, Upload_Metadata=metadata(filename="b.m4b", split="chapters"))
    assert reader.job(made.job_id)["mp3"]["file_name"] == "b.zip"


def test_a_book_that_breaks_off_is_split_as_far_as_it_goes(reader):
    cut = reader.uploaded(SPLIT, Clip("cut.m4b", cut_book()))
    assert cut["state"] == "done"
    assert (cut["mp3"]["report"]["chapters"], cut["mp3"]["report"]["complete"]) == (2, False)


@pytest.mark.parametrize("how", ["length", "silence"])
def test_a_video_is_split_by_time_and_each_part_fits(reader, tmp_path, how):
    words = ["--split", "1.2", "--fit", "20kB"] + (["--split-at", "silence"] if how == "silence" else [])
    subprocess.run([MICROPY, "convert", MEDIA / BOOK.name, "-o", tmp_path, *words], check=True, capture_output=True)
    made = {file.name.removeprefix("chapters "): file.read_bytes() for file in tmp_path.iterdir()}
    job = reader.uploaded(BOOK, path=f"/api/v1/uploads?split={how}&split_length=1.2&fit=20000")
    assert (job["state"], job["mp3"]["report"]["chapters"]) == ("done", len(made))
    parts = unpacked(reader.get(job["mp3"]["url"]).body)
    assert parts == made and all(len(mp3) <= 20_000 for mp3 in parts.values())


def test_what_does_not_fit_fails_with_the_length_that_does(reader):
    job = reader.uploaded(BOOK, path="/api/v1/uploads?fit=3000")
    assert job["state"] == "failed" and "do not fit into 3000 bytes" in job["failure"]


def test_an_unknown_way_to_split_is_refused(reader):
    assert reader.upload(BOOK, path="/api/v1/uploads?split=minutes").status == 400


def cut_book():
    """A book of three chapters that breaks off within the second."""
    boxes = {kind: NERO.data[start:end] for kind, start, _, end in isobmff.boxes(NERO.data)}
    # The index comes first now, so the media stand behind it by its length.
    index = bytearray(boxes[b"moov"])
    for table in re.finditer(b"stco", index):
        first = table.end() + 8
        count = int.from_bytes(index[first - 4:first], "big")
        for at in range(first, first + 4 * count, 4):
            index[at:at + 4] = (int.from_bytes(index[at:at + 4], "big") + len(index)).to_bytes(4, "big")
    media = boxes[b"mdat"]
    return boxes[b"ftyp"] + boxes[b"free"] + bytes(index) + media[:len(media) * 4 // 10]
