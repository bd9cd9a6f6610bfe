"""examples/recipes.md: each command for ffmpeg makes what the one for micropy makes beside it."""

import json
import os
import re
import shutil
import subprocess

import pytest

from harness import MEDIA, MICROPY, ROOT, SONG
from harness.pages import blocks, run

PAGE = ROOT / "examples" / "recipes.md"
TITLES = re.findall(r"^## \d+\. (.*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
BLOCKS = blocks(PAGE)
RECIPES = list(zip(TITLES, BLOCKS[::2], BLOCKS[1::2]))
#: An encoder's delay, which ffmpeg and micropy both cut off, and a packet of AAC, which ffmpeg cuts parts at.
TOLERANCE = 0.06


@pytest.fixture
def folder(tmp_path):
    """A folder as the recipes take it for granted."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "micropy").symlink_to(MICROPY)
    for name in "ffmpeg", "micropy":
        (tmp_path / name).mkdir()
        shutil.copy(SONG, tmp_path / name / "talk.mp4")
    return tmp_path


def with_film(folder):
    for name in "ffmpeg", "micropy":
        shutil.copy(MEDIA / "two-tracks.mp4", folder / name / "film.mp4")


def both(folder, theirs, ours):
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    return run(theirs, folder / "ffmpeg", PATH=path), run(ours, folder / "micropy", PATH=path)


def heard(mp3):
    """Seconds, rate and channels of an MP3 as it is decoded."""
    entries = ["-select_streams", "a:0", "-show_entries", "stream=sample_rate,channels", "-of", "json"]
    told = subprocess.run(["ffprobe", "-v", "error", *entries, mp3], check=True, capture_output=True).stdout
    stream = json.loads(told)["streams"][0]
    decode = ["ffmpeg", "-v", "error", "-i", mp3, "-map", "0:a", "-f", "s16le", "-"]
    pcm = subprocess.run(decode, check=True, capture_output=True).stdout
    rate, channels = int(stream["sample_rate"]), stream["channels"]
    return len(pcm) / 2 / channels / rate, rate, channels


def loudness(mp3):
    """Integrated, in LUFS."""
    told = subprocess.run(["ffmpeg", "-nostats", "-i", mp3, "-map", "0:a", "-af", "ebur128", "-f", "null", "-"],
                          check=True, capture_output=True, text=True).stderr
    return float(re.findall(r"I:\s+(-[\d.]+) LUFS", told)[-1])


def test_there_are_ten():
    assert len(RECIPES) == 10 and len(BLOCKS) == 20
    assert all(re.search(r"\bff(mpeg|probe)\b", theirs) and "micropy" in ours for _, theirs, ours in RECIPES)


@pytest.mark.parametrize("title, theirs, ours", RECIPES[:9], ids=TITLES[:9])
def test_both_make_the_same_files(folder, title, theirs, ours):
    with_film(folder)
    if "*" in ours:
        for name in "ffmpeg", "micropy":
            shutil.copy(MEDIA / "mono-44100.m4a", folder / name / "other.mp4")
    both(folder, theirs, ours)
    made = [sorted(path.name for path in (folder / name).glob("*.mp3")) for name in ("ffmpeg", "micropy")]
    assert made[0] and set(made[0]) == set(made[1])
    for name in made[0]:
        (seconds, *theirs_is), (our_seconds, *ours_is) = (heard(folder / who / name) for who in ("ffmpeg", "micropy"))
        assert theirs_is == ours_is
        assert abs(seconds - our_seconds) < TOLERANCE, (seconds, our_seconds)
        if "normalize" in ours:
            assert abs(loudness(folder / "micropy" / name) + 16) < 0.5
            assert abs(loudness(folder / "ffmpeg" / name) + 16) < 2


def test_both_tell_the_same_length(folder):
    _, theirs, ours = RECIPES[9]
    told = both(folder, theirs, ours)
    assert abs(float(told[0]) - float(told[1])) < 0.001, told
