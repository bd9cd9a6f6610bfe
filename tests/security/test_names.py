"""Names that uploads bring along lead out of no folder, and into no header, wherever files are named after them."""

import io
import re
import subprocess
import zipfile
from email.message import Message

import pytest

from harness import MICROPY
from harness.clips import BOOK, GOOD, Clip, Field, clip, metadata

SPLIT = Field("split", b"chapters")
NERO = clip("chapters-nero.m4b")
#: Of a video.
NAMES = ["...m4b", "..", ".", "../../etc/passwd.m4b", "..\\..\\boot.ini", "/etc/passwd", "C:\\x.m4b", "C:x.m4b", "a/../../b.m4b", "~root.m4b",
         "-rf.m4b", "con.m4b", "aux", "nul.tar.m4b", "a\0b.m4b", "a\r\nSet-Cookie: x=1.m4b", "a\"; filename=\"b.m4b", "\u202egpj.m4b",
         "%2e%2e%2fx.m4b", "\uff0e\uff0e\uff0fx.m4b", "x" * 300 + ".m4b", "\u00fc" * 200 + ".m4b", " .m4b", "a.m4b ", "...", "e\u0301.m4b", "*?<>|.m4b"]
#: Of a chapter.
TITLES = [b"../../../ab", b"/etc/passwd", b"..\\..\\..\\ab", b"C:\\evil.exe", b"\r\nX: y\r\nabc", b"aux\0con.mp3", b"..........."]


def is_safe(name):
    """Whether a name of an entry stays in the folder on every system, and is none that a system reserves."""
    parts = name.split("/")
    return len(parts) <= 2 and all(
        part.strip(". ") and not re.search(r'[\\:*?"<>|\x00-\x1f\x7f]', part) and len(part.encode()) <= 255 and part == part.strip()
        and not re.fullmatch(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?", part) for part in parts)


def entries(body):
    with zipfile.ZipFile(io.BytesIO(body)) as found:
        return [entry.orig_filename for entry in found.infolist()]


def disposed(reply):
    """The file's name as a browser reads it: by the plain parameter, and by the encoded one."""
    header = reply.headers["content-disposition"]
    message = Message()
    message["content-disposition"] = header
    plain = re.search(r'filename="([^"]*)"', header)[1]
    assert re.fullmatch(r"(inline|attachment); filename=\"[ -!#-\[\]-~]*\"; filename\*=UTF-8''[A-Za-z0-9!#$&+.^_`|~%-]*", header), header
    return plain, message.get_filename()


@pytest.fixture(scope="module")
def ann(service):
    return service.user("ann.names@example.com")


def test_a_videos_name_leads_nowhere(ann):
    jobs = []
    for name in NAMES:
        reply = ann.create_with(NERO.data, Upload_Metadata=metadata(filename=name, split="chapters"))
        assert reply.status == 201, (name, reply)
        jobs.append(reply.job_id)
    for name, id in zip(NAMES, jobs):
        job = ann.job(id)
        assert job["state"] == "done", (name, job)
        assert "/" not in job["file_name"] and not re.search(r"[\x00-\x1f]", job["file_name"])
        for reply in (ann.get(job["mp3"]["url"]), ann.ask("HEAD", job["mp3"]["url"] + "?download=1")):
            assert "set-cookie" not in reply.headers
            for given in disposed(reply):
                assert is_safe(given) and "/" not in given, (name, given)
        for reply, least in ((ann.get(job["mp3"]["url"]), 2), (ann.get(f"/api/v1/archive?jobs={id}"), 2)):
            names = entries(reply.body)
            assert len(names) >= least and all(map(is_safe, names)), (name, names)
    whole = entries(ann.get("/api/v1/archive").body)
    assert len(whole) == len({name.lower() for name in whole}), "on some systems these are the same file"


def test_a_chapters_title_leads_nowhere(ann, tmp_path):
    data = NERO.data
    start = data.index(b"chpl")
    for n, title in enumerate(TITLES):
        book = renamed(data, start, title)
        job = ann.uploaded(SPLIT, Clip(f"book{n}.m4b", book))
        assert job["state"] == "done", (title, job)
        names = entries(ann.get(job["mp3"]["url"]).body)
        assert names and all(is_safe(name) and "/" not in name for name in names), (title, names)
        # The same from the command line.
        (tmp_path / f"{n}").mkdir()
        (tmp_path / f"{n}.m4b").write_bytes(book)
        subprocess.run([MICROPY, "convert", tmp_path / f"{n}.m4b", "--split-chapters", tmp_path / f"{n}"], check=True, capture_output=True)
        made = sorted(file.relative_to(tmp_path / f"{n}").as_posix() for file in (tmp_path / f"{n}").rglob("*"))
        assert made == sorted(names)
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(f"{n}{end}" for n in range(len(TITLES)) for end in ("", ".m4b"))


def renamed(data, start, title):
    """The book with each title of its list of chapters overwritten, as far as it is long."""
    book, at = bytearray(data), start + 4 + 1 + 3 + 1 + 4
    for _ in range(book[at - 1]):
        length = book[at + 8]
        book[at + 9:at + 9 + length] = (title * length)[:length] if len(title) < length else title[:length]
        at += 9 + length
    return bytes(book)


def test_the_files_of_an_archive_stay_in_its_folder(ann):
    ids = [ann.uploaded(Clip(name, GOOD.data))["id"] for name in ("../x.mp4", "..\\x.mp4", "x.mp4", "X.MP4", "...mp4")]
    ids.append(ann.uploaded(SPLIT, Clip("...m4b", BOOK.data))["id"])
    names = entries(ann.get(f"/api/v1/archive?jobs={','.join(ids)}").body)
    assert len(names) > len(ids) and all(map(is_safe, names)), names
    assert len({name.lower() for name in names}) == len(names)
