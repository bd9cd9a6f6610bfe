"""Videos that are joined are one upload and one job, whose MP3 is that of `micropy convert --join`, byte for byte."""

import json
import subprocess
import time

import pytest

from harness import MICROPY
from harness.clips import BOOK, FIRST, GOOD, OTHER, SILENT, SMALL, Clip, Field, clip, metadata, repeated
from harness.clock import until

JOIN = Field("join", b"true")
TEXT = Clip("notes.mp4", b"No video, but more than eight bytes.")
#: Other rates, channels and codings, a name of its own for one chapter and none that a file system takes for another.
THREE = (FIRST, Clip("Zweiter Teil – Größe?.m4a", OTHER.data), Clip(".mp4", SMALL.data))
#: It breaks off in the middle.
CUT = Clip("cut.mp4", FIRST.data[:len(FIRST.data) * 2 // 3])


@pytest.fixture(scope="module")
def ann(service):
    return service.user("ann.joins@example.com")


@pytest.fixture
def by_command(tmp_path):
    """What the command line makes of the files: its exit code, the MP3 if there is one, and what it says."""
    def convert(clips, *words):
        for video in clips:
            (tmp_path / video.name).write_bytes(video.data)
        output = tmp_path / "joined.mp3"
        output.unlink(missing_ok=True)
        run = subprocess.run([MICROPY, "convert", "--join", *(video.name for video in clips), "-o", output, "-y", *words],
                             cwd=tmp_path, capture_output=True, text=True)
        return run.returncode, output.read_bytes() if output.exists() else None, run.stderr
    return convert


def listed(clips):
    return [{"name": video.name, "bytes": len(video.data)} for video in clips]


def resumable(clips, **options):
    """The metadata of an upload of files that are joined."""
    return {"Upload_Metadata": metadata(filename=clips[0].name, join="true", videos=json.dumps(listed(clips)), **options)}


def behind_each_other(clips):
    return b"".join(video.data for video in clips)


@pytest.mark.parametrize("options, words", [
    ({}, []),
    ({"bitrate": "96", "mono": "true"}, ["-b", "96", "--mono"]),
    ({"start": "1", "duration": "3", "fade_out": "1", "normalize": "-20"},
     ["--start", "1", "--duration", "3", "--fade-out", "1", "--normalize", "-20"]),
    ({"fit": "60000", "trim_silence": "true"}, ["--fit", "60kB", "--trim-silence"]),
    ({"tags": "false"}, ["--no-tags"]),
], ids=["as it is", "mono", "cut", "fit", "untagged"])
def test_the_mp3_is_that_of_the_command_line(ann, by_command, options, words):
    code, mp3, said = by_command(THREE, *words)
    assert code == 0, said
    in_a_form = ann.uploaded(JOIN, *(Field(name, value.encode()) for name, value in options.items()), *THREE)
    made = ann.create_with(behind_each_other(THREE), **resumable(THREE, **options))
    assert made.status == 201, made
    for job in in_a_form, ann.job(made.job_id):
        assert (job["state"], job["failure"], job["file_name"]) == ("done", None, FIRST.name)
        assert ann.get(job["mp3"]["url"]).body == mp3
        assert job["bytes"] == len(behind_each_other(THREE))
        assert (job["options"]["join"], job["options"]["videos"]) == (True, listed(THREE))
        assert job["mp3"]["file_name"] == "moov-first-stereo-44100.mp3"
        assert job["mp3"]["report"]["complete"] and ann.get(job["mp3"]["peaks"]).status == 200


def test_one_upload_of_a_form_is_one_job_and_takes_the_room_of_all_files(service, ann):
    before = set(service.files("videos"))
    reply = ann.upload(GOOD, BOOK, path="/api/v1/uploads?join=true")
    assert (reply.status, len(reply.json()["files"])) == (201, 1)
    assert ann.job(reply.job_id)["state"] == "done"
    [stored] = set(service.files("videos")) - before
    assert (service.folder / "videos" / "whole" / stored).read_bytes() == GOOD.data + BOOK.data
    alone = ann.uploaded(JOIN, GOOD)
    assert (alone["state"], alone["options"]["videos"]) == ("done", listed([GOOD]))


def test_files_that_do_not_fit_are_refused_together(start):
    service = start("serve", quota_bytes=len(GOOD.data) + len(BOOK.data) - 1)
    ann = service.user("ann@example.com")
    assert ann.upload(JOIN, GOOD, BOOK).status == 403
    assert ann.create(len(GOOD.data) + len(BOOK.data), **resumable([GOOD, BOOK])).status == 403
    assert ann.jobs() == [] and service.files("videos") == []


def test_a_damaged_file_ends_as_on_the_command_line(ann, by_command):
    # What breaks off is joined as far as it goes.
    code, mp3, said = by_command([GOOD, CUT, OTHER])
    assert (code, "cut.mp4: warning:" in said) == (3, True), said
    job = ann.uploaded(JOIN, GOOD, CUT, OTHER)
    assert job["state"] == "done" and ann.get(job["mp3"]["url"]).body == mp3
    report = job["mp3"]["report"]
    assert not report["complete"] and any(warning.startswith("cut.mp4: ") for warning in report["warnings"]), report
    # Of what cannot be opened nothing is made.
    for broken in (SILENT, Clip("broken.mp4", GOOD.data[:40] + bytes(len(GOOD.data) - 40))):
        code, mp3, said = by_command([OTHER, broken])
        assert (code, mp3) == (1, None), said
        job = ann.uploaded(JOIN, OTHER, broken)
        assert job["state"] == "failed" and job["attempts"] == 1
        assert job["failure"].startswith(f"{broken.name.removesuffix('.mp4')}: ") and job["failure"] in said


def test_one_file_that_is_no_video_keeps_all_of_them_out(service):
    # A user of its own: the jobs of others go on while this looks.
    ann, stored = service.user("cat.joins@example.com"), set(service.files("videos"))
    for refused, status, why in [
        (ann.upload(JOIN, GOOD, TEXT), 415, "notes.mp4: This is not"),
        (ann.upload(JOIN, GOOD, Clip("nothing.mp4", b"")), 400, "nothing.mp4: The file is empty"),
        (ann.upload(JOIN, GOOD, Field("bitrate", b"96"), GOOD), 400, "bitrate: options come before"),
        (ann.upload(JOIN, *[SMALL] * 101), 413, "100 files at most"),
        (ann.upload(JOIN, *[Clip("n" * 200, SMALL.data)] * 60), 400, "names are too long"),
        (ann.upload(JOIN), 400, "no file"),
        (ann.upload(JOIN, Field("split", b"chapters"), BOOK), 400, "join and split"),
        (ann.upload(JOIN, Field("videos", json.dumps(listed([GOOD])).encode()), GOOD), 400, "videos"),
        (ann.upload(Field("videos", json.dumps(listed([GOOD])).encode()), GOOD), 400, "videos"),
        (ann.upload(GOOD, path='/api/v1/uploads?join=true&videos=[{"name":"a","bytes":1}]'), 400, "videos"),
        (ann.ask("POST", "/api/v1/imports", {"url": "https://example.com/a.mp4", "options": {"join": True}}), 400, "join"),
    ]:
        assert (refused.status, why in refused.json()["detail"]) == (status, True), refused
    assert (ann.jobs(), set(service.files("videos")) - stored) == ([], set())


@pytest.mark.parametrize("videos, why", [
    ([], "1 to 100 files"),
    ([{"name": "a", "bytes": 1}] * 1000, "1 to 100 files"),
    ([{"name": "a.mp4", "bytes": 500}, {"name": "b.mp4", "bytes": 0}, {"name": "c.mp4", "bytes": 500}], "file 2 is empty"),
    ([{"name": "a.mp4", "bytes": 500}, {"name": "b.mp4", "bytes": 499}], "they have 999 bytes"),
    ([{"name": "a.mp4", "bytes": 500}, {"name": "b.mp4", "bytes": 501}], "they have 1001 bytes"),
    ([{"name": "a.mp4", "bytes": 2**64 - 1}, {"name": "b.mp4", "bytes": 1001}], "too long"),
    ([{"name": "a.mp4", "bytes": 2**64 + 1000}], "videos: "),
    ([{"name": "a.mp4", "bytes": -1000}], "videos: "),
    ([{"name": "a.mp4", "bytes": 1000, "offset": 5}], "videos: "),
    ([{"bytes": 1000}], "videos: "),
    ([["a.mp4", 1000, 7]], "videos: "),
    ([{"name": "n" * 9000, "bytes": 1000}], "too long"),
    ({"name": "a.mp4", "bytes": 1000}, "videos: "),
    ("a.mp4", "videos: "),
    (None, "videos: "),
], ids=lambda value: str(value)[:60])
def test_a_list_that_is_none_is_refused_before_anything_is_stored(service, ann, videos, why):
    made = ann.create(1000, Upload_Metadata=metadata(filename="a.mp4", join="true", videos=json.dumps(videos)))
    assert (made.status, why in made.json()["detail"]) == (400, True), made
    assert len(made.body) < 1000
    many = metadata(filename="a.mp4", join="true", videos=json.dumps([{"name": "a", "bytes": 1}] * 10_000))
    # Or it is more than a header may be.
    assert ann.create(10_000, Upload_Metadata=many).status in (400, 431)


def test_a_list_goes_with_join_and_join_with_a_list(ann):
    for pairs, why in [
        ({"join": "true"}, "name and the bytes"),
        ({"videos": json.dumps(listed([GOOD]))}, "goes with join"),
        ({"join": "true", "split": "chapters", "videos": json.dumps(listed([GOOD]))}, "join and split"),
    ]:
        made = ann.create(len(GOOD.data), Upload_Metadata=metadata(filename="a.mp4", **pairs))
        assert (made.status, why in made.json()["detail"]) == (400, True), made


def test_the_names_of_a_list_are_names(ann):
    videos = [{"name": "../../etc/pass\nwd", "bytes": len(GOOD.data)}]
    made = ann.create_with(GOOD.data, Upload_Metadata=metadata(filename="a.mp4", join="true", videos=json.dumps(videos)))
    assert ann.job(made.job_id)["options"]["videos"] == [{"name": "passwd", "bytes": len(GOOD.data)}]


def test_a_list_whose_borders_lie_elsewhere_is_one_jobs_failure(ann):
    videos = [{"name": "a.mp4", "bytes": 1000}, {"name": "b.mp4", "bytes": len(GOOD.data) - 1000}]
    made = ann.create_with(GOOD.data, Upload_Metadata=metadata(filename="a.mp4", join="true", videos=json.dumps(videos)))
    job = ann.job(made.job_id)
    assert (job["state"], job["attempts"], job["failure"][:3]) == ("failed", 1, "a: ")
    assert ann.uploaded(GOOD)["state"] == "done"


def test_a_request_that_is_repeated_is_one_job(ann):
    first, again = (ann.upload(JOIN, GOOD, OTHER, Idempotency_Key="joined") for _ in range(2))
    assert (first.status, again.status, again.job_id) == (201, 201, first.job_id)
    for other in ([JOIN, OTHER, GOOD], [JOIN, GOOD], [GOOD, OTHER], [JOIN, GOOD, Clip("other.m4a", OTHER.data)]):
        assert ann.upload(*other, Idempotency_Key="joined").status == 422
    both, key = [GOOD, OTHER], {"Idempotency_Key": "joined in parts"}
    first, again = (ann.create(len(behind_each_other(both)), **resumable(both), **key) for _ in range(2))
    assert (first.status, again.headers["location"]) == (201, first.headers["location"])
    assert ann.create(len(behind_each_other(both)), **resumable(both[::-1]), **key).status == 422


def test_where_flask_converters_may_come_nothing_is_joined(start):
    service = start("serve", unowned_downloads=True)
    ann = service.user("ann@example.com")
    for refused in (ann.upload(JOIN, GOOD, OTHER), ann.create(len(GOOD.data), **resumable([GOOD]))):
        assert (refused.status, "converters" in refused.json()["detail"]) == (400, True), refused
    assert ann.jobs() == [] and service.files("videos") == []
    assert ann.uploaded(GOOD)["state"] == "done"


def test_neither_a_broken_upload_nor_a_killed_converter_changes_the_mp3(start, tmp_path, by_command):
    long = Clip("long.m4a", repeated(tmp_path / "repeated.m4a", 40))
    clips = [GOOD, long, OTHER, long]
    code, mp3, said = by_command(clips)
    assert code == 0, said
    service = start("serve")
    ann = service.user("ann@example.com")
    data = behind_each_other(clips)
    made = ann.create(len(data), **resumable(clips))
    place, half = made.headers["location"], len(GOOD.data) + len(long.data) // 2
    assert ann.patch(place, data[:half], 0).status == 204
    service.kill()
    service.start()
    assert ann.offset(place) == half
    assert ann.patch(place, data[half:], half).status == 204
    assert until(lambda: ann.get(f"/api/v1/jobs/{made.job_id}").json()["state"] != "queued")
    time.sleep(0.3)
    state = ann.get(f"/api/v1/jobs/{made.job_id}").json()["state"]
    service.kill()
    service.start()
    # Its lease has to expire first.
    job = ann.job(made.job_id, seconds=120)
    assert (state, job["state"], job["attempts"] > 1) == ("running", "done", True)
    assert ann.get(job["mp3"]["url"]).body == mp3
