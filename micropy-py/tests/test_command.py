"""`python -m micropy`: the flags, the output and the exit codes of the program `micropy`."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import micropy
import pytest

PYTHON = [sys.executable, "-m", "micropy"]
BINARY = pathlib.Path(os.environ.get("MICROPY_BINARY", "")).absolute()


def run(*words, folder, command=PYTHON, **more):
    return subprocess.run([*command, *map(str, words)], cwd=folder, capture_output=True, timeout=120, **more)


@pytest.fixture
def folder(tmp_path, clip, media):
    shutil.copy(clip, tmp_path / "talk.mp4")
    shutil.copy(media / "video-only.mp4", tmp_path / "silent.mp4")
    data = clip.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) * 3 // 4])
    return tmp_path


@pytest.mark.parametrize("words, code, told", [
    ("convert talk.mp4", 0, "talk.mp4 → talk.mp3"),
    ("convert silent.mp4", 1, "silent.mp4: "),
    ("convert absent.mp4", 1, "absent.mp4: cannot open"),
    ("convert talk.mp4 silent.mp4 -o out", 1, "silent.mp4: "),
    ("convert talk.mp4 --bitrate 7", 2, "7"),
    ("convert talk.mp4 --bitrate 128 --vbr 2", 2, "cannot be used with"),
    ("convert --no-such-flag", 2, "--no-such-flag"),
    ("", 2, "Usage: python -m micropy"),
    ("convert cut.mp4 -o cut.mp3", 3, "warning"),
    ("probe talk.mp4", 0, ""),
    ("probe absent.mp4", 1, "absent.mp4: "),
    ("--version", 0, ""),
    ("--help", 0, ""),
])
def test_exit_codes(folder, words, code, told):
    ran = run(*words.split(), folder=folder)
    assert ran.returncode == code, ran
    assert told in ran.stderr.decode()
    assert b"Traceback" not in ran.stderr


def test_what_is_made_is_what_the_function_makes(folder, clip):
    run("convert", "talk.mp4", "--vbr", "4", "--tag", "artist=Nina", "--mono", folder=folder)
    expected = micropy.convert(clip, vbr=4, tags={"artist": "Nina"}, channels=1).data
    assert len(expected) > 5_000 and (folder / "talk.mp3").read_bytes() == expected


def test_standard_input_and_output(folder, clip):
    with open(clip, "rb") as file:
        ran = run("convert", "-", "--bitrate", "128", stdin=file, folder=folder)
    assert ran.returncode == 0
    pieces = []
    micropy.convert(clip, type("Pieces", (), {"write": lambda self, data: pieces.append(data)})(), bitrate=128)
    assert ran.stdout == b"".join(pieces)
    assert "standard output" in ran.stderr.decode()


def test_help_and_version_are_whole_in_a_pipe(folder):
    told = run("convert", "--help", folder=folder).stdout.decode()
    assert "--split-chapters" in told and "--id3v23" in told
    assert run("--version", folder=folder).stdout.decode() == f"micropy {micropy.__version__}\n"
    assert "130  interrupted" in run("--help", folder=folder).stdout.decode()


def test_a_name_that_is_no_unicode(folder):
    name = os.fsencode("talk-") + b"\xff.mp4"
    shutil.copy(folder / "talk.mp4", os.path.join(os.fsencode(folder), name))
    ran = subprocess.run([*PYTHON, "convert", name], cwd=folder, capture_output=True)
    assert ran.returncode == 0, ran.stderr
    assert os.path.exists(os.path.join(os.fsencode(folder), name[:-4] + b".mp3"))


@pytest.mark.skipif(not BINARY.is_file(), reason="MICROPY_BINARY names no program micropy")
@pytest.mark.parametrize("words", [
    "convert talk.mp4 --json --force --jobs 1",
    "convert talk.mp4 cut.mp4 silent.mp4 -o out --json --force --replaygain",
    "convert book.m4b --split-chapters out --json --force",
    "convert talk.mp4 --bitrate 7",
    "convert talk.mp4 cut.mp4 -o both.mp3",
    "convert absent.mp4",
    "probe talk.mp4 book.m4b --json",
    "probe talk.mp4 book.m4b",
    "probe silent.mp4 cut.mp4 absent.mp4",
    "--version",
    "convert - -o -",
])
def test_it_says_what_the_program_says(folder, media, words):
    shutil.copy(media / "chapters.m4b", folder / "book.m4b")
    feed = {"input": (folder / "talk.mp4").read_bytes()} if " -" in words + " " else {}
    here = run(*words.split(), folder=folder, **feed)
    there = run(*words.split(), folder=folder, command=[BINARY], **feed)
    assert here.returncode == there.returncode

    def lines(output):
        # How long it took differs from run to run.
        if "--json" not in words:
            return output
        values = [json.loads(line) for line in output.splitlines()]
        assert values
        return [{k: v for k, v in value.items() if k not in ("elapsed_seconds", "speed")} for value in values]

    assert lines(here.stdout) == lines(there.stdout)
    if b" in " not in there.stderr:
        assert here.stderr == there.stderr


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_it(long_clip, tmp_path, how):
    command = [*PYTHON, "convert", str(long_clip), "-o", "out.mp3", "--quality", "0", "--jobs", "1"]
    child = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE)
    # Its unfinished file shows that it is at work.
    deadline = time.monotonic() + 60
    while not list(tmp_path.iterdir()):
        assert child.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    started = time.monotonic()
    child.send_signal(how)
    _, told = child.communicate(timeout=30)
    assert child.returncode == 130
    assert time.monotonic() - started < 10
    assert list(tmp_path.iterdir()) == []
    assert b"cancelled" in told and b"Traceback" not in told
