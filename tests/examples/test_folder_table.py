"""folder_table.py over our clips, beside what the command line tells of each."""

import csv
import json
import subprocess

import pytest

from harness import MEDIA

SUFFIXES = {".mp4", ".m4a", ".m4b", ".mov", ".3gp"}


@pytest.fixture(scope="module")
def rows(python, tmp_path_factory):
    """{file: row}, and what the program prints."""
    path = tmp_path_factory.mktemp("table") / "table.csv"
    done = subprocess.run([python, "folder_table.py", MEDIA, path], cwd=MEDIA.parents[2] / "examples", text=True,
                          capture_output=True, check=True)
    with path.open(newline="") as file:
        return {row["file"]: row for row in csv.DictReader(file)}, done.stdout


def test_each_file_has_its_row(rows, python):
    rows, _ = rows
    assert set(rows) == {str(path) for path in MEDIA.rglob("*") if path.suffix.lower() in SUFFIXES}
    several = [path for path in rows if rows[path]["codec"]][::10]
    assert len(several) > 5
    for path in several:
        told = json.loads(subprocess.run([python, "-m", "micropy", "probe", "--json", path], check=True, text=True,
                                         capture_output=True).stdout)
        track, row = told["tracks"][told["default_track"]], rows[path]
        assert row["codec"] == track["codec"] and row["problem"] == ""
        assert float(row["seconds"]) == pytest.approx(track["duration_seconds"])
        for name, value in ("bytes", told["size"]), ("sample_rate", track["sample_rate"]), ("channels", track["channels"]):
            assert int(row[name]) == value, path


def test_what_is_wrong_with_a_file_is_in_its_row(rows):
    rows, said = rows
    problems = {path.rpartition("/")[2]: row["problem"] for path, row in rows.items() if row["problem"]}
    assert problems["video-only.mp4"] == "no audio"
    assert problems["amr.3gp"].startswith("unsupported: AMR narrow band")
    assert said.splitlines()[-1].endswith(f" {len(problems)} with a problem")


def test_a_file_that_is_none_ends_nothing(run, tmp_path):
    folder = tmp_path / "videos" / "below"
    folder.mkdir(parents=True)
    (folder / "notes.mp4").write_bytes(b"no video" * 100)
    (folder / "song.MP4").symlink_to(MEDIA / "moov-first-stereo-44100.mp4")
    done = run("folder_table.py", tmp_path, tmp_path / "table.csv")
    assert done.returncode == 0, done.stderr
    with (tmp_path / "table.csv").open(newline="") as file:
        notes, song = csv.DictReader(file)
    assert "MP4" in notes["problem"] and notes["codec"] == ""
    assert (song["codec"], song["seconds"], song["problem"]) == ("AAC-LC", "2.0", "")
