import asyncio
import doctest
import gzip
import importlib
import inspect
import io
import logging
import pathlib
import pickle
import pkgutil
import re
import shutil
import subprocess
import sys

import micropy
import pytest


class Forward:
    """Reads forward only, in short pieces."""

    def __init__(self, data, piece=777):
        self.file, self.piece = io.BytesIO(data), piece

    def read(self, size):
        return self.file.read(min(size, self.piece))


@pytest.fixture
def mp3(clip):
    return micropy.convert(clip).data


def test_every_kind_of_source_gives_the_same_mp3(clip, mp3):
    data = clip.read_bytes()
    assert len(mp3) > 10_000
    at_the_end = io.BytesIO()
    at_the_end.write(data)
    with open(clip, "rb") as file:
        for src in (str(clip), data, bytearray(data), memoryview(data), io.BytesIO(data),
                    at_the_end, file, Forward(data), io.FileIO(clip)):
            assert micropy.convert(src).data == mp3, src


def test_a_stream_with_its_index_at_the_end(media):
    path = media / "moov-last-stereo-44100.mp4"
    assert micropy.convert(Forward(path.read_bytes())).data == micropy.convert(path).data


def test_every_kind_of_destination(clip, mp3, tmp_path):
    report = micropy.convert(clip, tmp_path / "a.mp3")
    assert (tmp_path / "a.mp3").read_bytes() == mp3
    assert report.data is None and report.path == str(tmp_path / "a.mp3")
    memory = io.BytesIO()
    micropy.convert(clip, memory)
    assert memory.getvalue() == mp3
    with open(tmp_path / "b.mp3", "wb") as file:
        micropy.convert(clip, file)
    assert (tmp_path / "b.mp3").read_bytes() == mp3
    with open(tmp_path / "b.mp3", "ab") as file:
        micropy.convert(clip, file)
    assert (tmp_path / "b.mp3").read_bytes()[: len(mp3)] == mp3
    with gzip.open(tmp_path / "c.gz", "wb") as file:
        micropy.convert(clip, file)
    with gzip.open(tmp_path / "c.gz") as file:
        assert len(file.read()) == len(mp3)

    class Pieces(list):
        def write(self, data):
            self.append(data)

    pieces = Pieces()
    micropy.convert(clip, pieces)
    assert len(b"".join(pieces)) == len(mp3)

    class Short(Pieces):
        def write(self, data):
            self.append(data[:100])
            return len(data[:100])

    short = Short()
    micropy.convert(clip, short)
    assert b"".join(short) == b"".join(pieces)


def test_a_destination_is_kept_unless_it_may_be_overwritten(clip, tmp_path):
    (tmp_path / "a.mp3").write_bytes(b"mine")
    with pytest.raises(micropy.WriteError) as raised:
        micropy.convert(clip, tmp_path / "a.mp3", overwrite=False)
    assert isinstance(raised.value.__cause__, FileExistsError)
    assert (tmp_path / "a.mp3").read_bytes() == b"mine"


def test_options_reach_the_engine(clip):
    report = micropy.convert(clip, bitrate=64, sample_rate=32000, channels=1, start=0.1, end=0.6)
    assert (report.output_sample_rate, report.output_channels) == (32000, 1)
    assert report.duration == pytest.approx(0.5, abs=1e-3)
    as_moviepy = micropy.convert(clip, preset="moviepy")
    assert (as_moviepy.output_sample_rate, as_moviepy.output_channels) == (44100, 2)
    assert micropy.convert(clip, preset="original").data == as_moviepy.data, "the preset's name before"
    small = micropy.convert(clip, preset="small")
    assert (small.output_sample_rate, small.output_channels) == (24000, 1)
    assert micropy.convert(clip, channels=2, preset="small").output_channels == 2, "what is given beside it wins"
    assert micropy.convert(clip, preset="podcast").loudness.gain != 0
    tagged = micropy.convert(clip, tags={"title": "Ein Lied"}, id3v23=True).data
    assert tagged[:4] == b"ID3\3" and "Ein Lied".encode("utf-16-le") in tagged or b"Ein Lied" in tagged
    assert micropy.convert(clip, replay_gain=True).loudness.true_peak < 3
    assert micropy.convert(clip, jobs=1).data == micropy.convert(clip, jobs=4).data


@pytest.mark.parametrize("wrong", [
    {"bitrate": 1000}, {"bitrate": 100_000_000}, {"bitrate": 128, "vbr": 2}, {"channels": 3},
    {"start": -1}, {"start": 2, "end": 1}, {"end": 1, "duration": 1}, {"preset": "x"},
    {"quality": 10}, {"normalize": 3.0}, {"jobs": 0}, {"cover": b"no picture"}, {"jobs": -1},
])
def test_options_out_of_range_are_refused(clip, wrong):
    with pytest.raises(micropy.InvalidOption):
        micropy.convert(clip, **wrong)


def test_a_start_past_the_end_is_an_empty_part(clip):
    with pytest.raises(micropy.EmptyPart) as raised:
        micropy.convert(clip, start=1000)
    assert raised.value.start == 1000


def test_a_cancelled_probe_ends(clip):
    token = micropy.CancelToken()
    assert micropy.probe(clip, cancel=token).tracks
    token.cancel()
    with pytest.raises(micropy.Cancelled):
        micropy.probe(clip, cancel=token)


def test_reports_are_frozen_and_plain(clip):
    report = micropy.convert(clip)
    with pytest.raises(AttributeError):
        report.codec = "x"
    assert "data" not in report.to_dict() and "data=" not in repr(report)
    assert report.to_dict()["codec"] == "AAC-LC"
    assert pickle.loads(pickle.dumps(report)) == report


def test_probe(media):
    book = micropy.probe(media / "chapters.m4b")
    assert len(book.chapters) > 1 and book.duration > 0
    cover = micropy.probe(media / "tags-cover-jpeg.m4a")
    assert cover.covers[0].mime == "image/jpeg" and cover.tags
    assert len(micropy.probe(media / "two-tracks.mp4").tracks) == 2
    assert cover.to_dict()["covers"][0]["bytes"] == len(cover.covers[0].data)


def with_pictures_named(mp4, track):
    """`mp4` whose chapters' titles are a track, with `track` beside it in the list of such tracks."""
    if len(mp4) < 8:
        return mp4
    size = int.from_bytes(mp4[:4], "big")
    kind, body = mp4[4:8], mp4[8:size]
    if kind == b"chap":
        body += track.to_bytes(4, "big")
    elif kind in (b"moov", b"trak", b"tref"):
        body = with_pictures_named(body, track)
    return (len(body) + 8).to_bytes(4, "big") + kind + body + with_pictures_named(mp4[size:], track)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_the_pictures_of_chapters(media, tmp_path):
    def ffmpeg(*args):
        subprocess.run(["ffmpeg", "-v", "error", *map(str, args)], check=True, stdin=subprocess.DEVNULL)

    for i in range(3):
        ffmpeg("-f", "lavfi", "-i", f"color=size={16 * (i + 1)}x16", "-frames:v", 1, tmp_path / f"{i}.jpg")
    pictures = ("-framerate", 1, "-start_number", 0, "-i", tmp_path / "%d.jpg")
    ffmpeg("-i", media / "chapters.m4b", *pictures, "-map", "0:a", "-map", "1:v", "-map_chapters", 0, "-c", "copy",
           tmp_path / "made.mp4")
    # `moov` is the last box: nothing that it points to moves.
    found = micropy.probe(with_pictures_named((tmp_path / "made.mp4").read_bytes(), 2))
    # Each shows for a second; the chapters begin at 0, 0.8 and 1.7 seconds.
    expected = [(tmp_path / f"{i}.jpg").read_bytes() for i in (0, 0, 1)]
    assert [(c.picture.mime, c.picture.data) for c in found.chapters] == [("image/jpeg", data) for data in expected]
    told = [chapter["picture"] for chapter in found.to_dict()["chapters"]]
    assert told == [{"type": "image/jpeg", "bytes": len(data)} for data in expected]
    assert micropy.probe(media / "chapters.m4b").to_dict()["chapters"][0]["picture"] is None


def test_chapters(media, tmp_path):
    reports = micropy.split_chapters(media / "chapters.m4b", tmp_path)
    assert len(reports) == len(micropy.probe(media / "chapters.m4b").chapters)
    assert sorted(r.path for r in reports) == sorted(str(p) for p in tmp_path.iterdir())
    assert reports.complete and reports.empty == ()
    with pytest.raises(micropy.NoChapters):
        micropy.split_chapters(media / "moov-first-stereo-44100.mp4", tmp_path)


def test_a_chapter_without_audio_is_told_and_has_no_file(media, tmp_path):
    book = (media / "chapters-nero.m4b").read_bytes()
    # The last of three begins at 1.7 s, in units of 100 ns; the audio ends at 3 s.
    late = book.replace((17_000_000).to_bytes(8, "big"), (40_000_000).to_bytes(8, "big"))
    split = micropy.split_chapters(late, tmp_path)
    assert (len(split), len(list(tmp_path.iterdir()))) == (2, 2)
    assert [(chapter.title, chapter.start, chapter.complete) for chapter in split.empty] == [("The end", 4.0, True)]
    assert split.complete


def test_errors_say_what_to_do(media, clip):
    with pytest.raises(micropy.NoAudioTrack):
        micropy.convert(media / "video-only.mp4")
    with pytest.raises(micropy.EncryptedError) as raised:
        micropy.convert(media / "encrypted-cenc.mp4")
    assert raised.value.scheme == "cenc"
    with pytest.raises(micropy.UnsupportedError) as raised:
        micropy.convert(media / "amr.3gp")
    assert "AMR" in raised.value.what
    with pytest.raises(micropy.NotMp4) as raised:
        micropy.convert(b"hello, this is no film" * 9)
    assert raised.value.why
    with pytest.raises(micropy.ReadError) as raised:
        micropy.convert(media / "not-there.mp4")
    assert raised.value.errno == 2 and isinstance(raised.value.__cause__, FileNotFoundError)
    assert isinstance(raised.value, OSError)


def test_many(media, clip):
    seen = []
    pairs = [(clip, None), (media / "video-only.mp4", None), (clip, None)]
    made = micropy.convert_many(pairs, on_error=lambda src, error: seen.append(src))
    assert [type(m).__name__ for m in made] == ["Report", "NoAudioTrack", "Report"]
    assert seen == [media / "video-only.mp4"]
    with pytest.raises(micropy.NoAudioTrack):
        micropy.convert_many(pairs)


def test_warnings_are_logged(clip, caplog):
    data = clip.read_bytes()
    with caplog.at_level(logging.WARNING, "micropy"):
        report = micropy.convert(data[: len(data) * 3 // 4])
    assert not report.complete
    assert [r.getMessage() for r in caplog.records] == list(report.warnings) != []


def test_conversions_are_logged_for_who_asks(clip, caplog):
    with caplog.at_level(logging.DEBUG, "micropy"):
        micropy.convert(clip)
    [record] = caplog.records
    assert record.name == "micropy" and str(clip) in record.getMessage()
    assert "AAC-LC" in record.getMessage()


def test_who_sets_up_no_logging_hears_nothing(clip):
    code = "import micropy, sys; print(micropy.convert(sys.stdin.buffer.read()).complete)"
    data = clip.read_bytes()
    ran = subprocess.run(
        [sys.executable, "-c", code], input=data[: len(data) * 3 // 4], capture_output=True, check=True)
    assert ran.stdout.strip() == b"False" and ran.stderr == b""


def test_an_option_that_there_is_not(clip):
    for call in (micropy.convert, micropy.probe):
        with pytest.raises(TypeError):
            call(clip, bitrat=128)
    with pytest.raises(TypeError, match="bitrat"):
        micropy.convert_many([(clip, None)], bitrat=128)
    with pytest.raises(TypeError, match="bitrat"):
        asyncio.run(micropy.convert_async(clip, bitrat=128))


def test_help_names_every_option():
    for function in (micropy.convert, micropy.convert_async, micropy.convert_many, micropy.split_chapters):
        names = set(inspect.signature(function).parameters)
        assert set(micropy.Options.__annotations__) < names and "cancel" in names
        assert not any(p.kind is p.VAR_KEYWORD for p in inspect.signature(function).parameters.values())
    words = inspect.getdoc(micropy.convert)
    for name in inspect.signature(micropy.convert).parameters:
        assert re.search(rf"\b{name}\b", words), name
    assert all(len(line) < 105 for line in words.splitlines())
    assert inspect.signature(micropy.convert).parameters["copy_tags"].default is True


def test_every_public_name_is_told():
    for name in micropy.__all__:
        it = getattr(micropy, name)
        if callable(it):
            assert inspect.getdoc(it), name
            assert not inspect.getdoc(it).startswith(f"{name}("), f"{name} has the words dataclass makes"


def test_tags_are_copied_where_nothing_is_said(media):
    tagged = media / "tags-cover-jpeg.m4a"
    title = micropy.probe(tagged).tags["title"][0]
    encoded = title.encode("utf-8")
    assert encoded in micropy.convert(tagged).data
    assert encoded not in micropy.convert(tagged, copy_tags=False).data


@pytest.mark.parametrize("name", sorted(
    f"micropy.{module.name}" for module in pkgutil.iter_modules(micropy.__path__)
    if module.name not in ("_micropy", "__main__")) + ["micropy"])
def test_the_examples_in_the_docstrings_run(name, media, clip, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(clip, "talk.mp4")
    shutil.copy(media / "chapters.m4b", "book.m4b")
    (tmp_path / "notes.txt").write_text("no film")
    (tmp_path / "chapters").mkdir()
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0
    if name in ("micropy", "micropy._convert"):
        assert result.attempted > 0


def table_of_calls():
    """The right column of the page for those who come from elsewhere."""
    page = pathlib.Path(__file__).parents[2] / "docs" / "from-moviepy.md"
    calls = [call for line in page.read_text("utf-8").splitlines() if line.startswith("| ")
             for call in re.findall(r"`(micropy\.[^`]*)`", line.replace("\\|", "|").split(" | ")[-1])]
    assert len(calls) > 15
    return calls


@pytest.mark.parametrize("call", table_of_calls())
def test_the_page_for_those_who_come_from_elsewhere_is_true(call, long_clip, clip, media, tmp_path):
    names = {
        "micropy": micropy, "path": long_clip, "out": tmp_path / "out.mp3", "io": io, "file": clip.open("rb"),
        "book": media / "chapters.m4b", "folder": tmp_path, "data": clip.read_bytes(), "asyncio": asyncio,
        "bar": lambda progress: None,
    }
    if call.startswith("micropy.convert(path") and "start" not in call:
        names["path"] = clip
    assert eval(call, names) is not None
