"""Parts, sizes, silence, joined files, PCM and waveforms."""

import array
import asyncio
import inspect
import io
import json
import os
import subprocess
import sys

import pytest

import micropy


def test_parts_hold_every_sample_once(media, tmp_path):
    book = media / "chapters.m4b"
    whole = array.array("f", micropy.convert(book, format="f32le").data)
    split = micropy.split(book, tmp_path / "parts", 1.25, format="f32le")
    assert [r.path for r in split] == [str(tmp_path / "parts" / f"chapters {n:02}.pcm") for n in (1, 2)]
    joined = array.array("f", b"".join(open(r.path, "rb").read() for r in split))
    assert len(joined) == len(whole)
    # AAC may have noise for which a decoder takes random numbers: up to the first part's end it is the same.
    cut = split[0].output_samples
    assert joined[:cut] == whole[:cut]
    assert split.complete and split.empty == ()
    named = micropy.split(book.read_bytes(), tmp_path, 2, at_silence=True, name="book", fit=20_000)
    assert named[0].path.endswith("book 01.mp3")
    assert all(r.output_bytes <= 20_000 for r in named)
    assert sum(r.output_samples / r.output_sample_rate for r in named) == pytest.approx(3.0)
    with pytest.raises(micropy.InvalidOption):
        micropy.split(book, tmp_path, 0.5)
    with pytest.raises(micropy.InvalidOption):
        micropy.split(book, tmp_path, -1)


def test_a_size_is_kept_or_refused(clip):
    for size in (100_000, 30_000, 5_000):
        report = micropy.convert(clip, fit=size)
        assert len(report.data) == report.output_bytes <= size
    with pytest.raises(micropy.TooLong) as raised:
        micropy.convert(clip, fit=3_000)
    assert (raised.value.length, raised.value.bytes) == (2.0, 3_000)
    assert raised.value.fits < 2
    with pytest.raises(micropy.InvalidOption):
        micropy.convert(clip, fit=100_000, bitrate=64)
    with pytest.raises(micropy.InvalidOption, match="out of range"):
        micropy.convert(clip, fit=-1)
    with pytest.raises(TypeError):
        micropy.convert(clip, fit="25MB")


def test_pcm_is_what_the_mp3_is_made_of(clip):
    floats = array.array("f", micropy.convert(clip, format="f32le", sample_rate=16_000, channels=1).data)
    assert len(floats) == 32_000 and 0.01 < max(floats) <= 1
    wav = micropy.convert(clip, format="wav").data
    assert wav[:4] == b"RIFF" and len(wav) == 44 + 4 * 88_200
    with pytest.raises(micropy.InvalidOption, match="wav-f32"):
        micropy.convert(clip, format="flac")


def test_silence_is_left_out(clip):
    trimmed = micropy.convert(clip, trim_silence=True)
    assert trimmed.complete and trimmed.output_samples <= 88_200


def test_files_are_joined(media, tmp_path):
    names = ("mono-8000.mp4", "stereo-48000.mp4")
    joined = micropy.join([media / name for name in names], tmp_path / "all.mp3")
    assert joined.report.path == str(tmp_path / "all.mp3")
    assert joined.report.output_samples == 4 * 48_000 and joined.report.complete
    assert [each.output_samples for each in joined.inputs] == [2 * 48_000] * 2
    mp3 = (tmp_path / "all.mp3").read_bytes()
    assert b"mono-8000" in mp3 and b"stereo-48000" in mp3 and b"CTOC" in mp3
    assert micropy.join([open(media / name, "rb") for name in names]).report.data == mp3
    with pytest.raises(micropy.NotMp4, match="Part 2: not an MP4"):
        micropy.join([media / names[0], b"not a movie"])
    with pytest.raises(micropy.InvalidOption):
        micropy.join([])


def test_names_that_are_made_of_a_url_hold_none_of_its_secrets():
    for url, stem in (
        ("https://ann:PASSWORD@h/watch?token=SECRET", "watch"),
        ("https://h/a%20talk.mp4?sig=SECRET#SECRET", "a talk"),
        ("https://h/..%2F..%2Fpasswd", "passwd"),
        ("https://h/con.mp4?SECRET", "_con"),
        ("https://h/?token=SECRET", ""),
        ("s3://bucket/shows/50%25.m4b", "50%25"),
        ("talks/a talk.mp4", "a talk"),
    ):
        assert micropy._convert._stem(url) == stem
        # A response, whose name is its URL.
        response = io.BytesIO()
        response.name = url
        assert micropy._convert._stem(response) == stem
    assert micropy._convert._stem(io.BytesIO()) == ""


def test_a_url_is_no_place_to_write_to(clip, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    url = "s3://key:SECRET@bucket/talk.mp3"
    for write in (
        lambda: micropy.convert(clip, url),
        lambda: micropy.join([clip], url),
        lambda: micropy.split(clip, url, 1),
        lambda: micropy.split_chapters(clip, url),
    ):
        with pytest.raises(micropy.InvalidOption, match="is a URL") as raised:
            write()
        assert "SECRET" not in str(raised.value)
    assert os.listdir(tmp_path) == []


def test_a_preset_leaves_the_bitrate_to_the_size(clip):
    report = micropy.convert(clip, preset="podcast", fit=20_000)
    assert len(report.data) <= 20_000 and report.loudness is not None
    with pytest.raises(micropy.InvalidOption, match="exclude each other"):
        micropy.convert(clip, preset="podcast", fit=20_000, bitrate=64)


def test_a_waveform_is_drawn(clip):
    drawn = micropy.peaks(clip, 100)
    assert (drawn["version"], drawn["channels"], drawn["bits"]) == (2, 1, 8)
    assert drawn["length"] == 100 and len(drawn["data"]) == 200
    words = [sys.executable, "-m", "micropy", "probe", "--peaks", "100", str(clip)]
    assert json.loads(subprocess.run(words, capture_output=True, check=True).stdout) == drawn
    assert max(micropy.peaks(clip, 10, bits=16)["data"]) > 127
    for wrong in ({"points": 0}, {"points": 10, "bits": 12}):
        with pytest.raises(micropy.InvalidOption):
            micropy.peaks(clip, **wrong)


def test_a_conversion_draws_the_waveform_of_what_it_makes(media, clip, tmp_path):
    plain = micropy.convert(clip)
    drawn = micropy.convert(clip, peaks=100)
    assert (plain.peaks, drawn.data) == (None, plain.data)
    assert drawn.peaks == micropy.peaks(clip, 100)
    fine = micropy.convert(clip, tmp_path / "talk.mp3", peaks=100, peak_bits=16)
    assert fine.peaks == micropy.peaks(clip, 100, bits=16)
    assert json.loads(json.dumps(fine.to_dict()))["peaks"] == fine.peaks
    cut = micropy.convert(clip, io.BytesIO(), start=1, sample_rate=22_050, peaks=50)
    assert (cut.peaks["sample_rate"], cut.peaks["length"], cut.peaks["samples_per_pixel"]) == (22_050, 50, 441)
    # MP3 that is copied is not decoded.
    assert micropy.convert(media / "mp3.mp4", peaks=100).peaks is None
    joined = micropy.join([clip, clip], peaks=200)
    assert joined.report.peaks["length"] == 200
    assert [report.peaks for report in joined.inputs] == [None, None]
    assert asyncio.run(micropy.convert_async(clip, peaks=100)).peaks == drawn.peaks
    for wrong in ({"peaks": 0}, {"peaks": 10, "peak_bits": 12}, {"peaks": 2_000_000}):
        with pytest.raises(micropy.InvalidOption):
            micropy.convert(clip, **wrong)


def test_help_names_every_option():
    for function in (micropy.split, micropy.join, micropy.peaks):
        assert set(micropy.Options.__annotations__) < set(inspect.signature(function).parameters)
