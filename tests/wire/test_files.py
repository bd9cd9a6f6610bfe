"""What lies in MongoDB, as PyMongo sees it, and files that cannot be converted."""

import datetime
import random
import time
from pathlib import Path

import pytest
from bson import Int64, ObjectId

from harness.clips import FIRST, GOOD, SILENT, SMALL, SONG
from harness.clock import until
from harness.fleet import FAILED, MP3, SERVICES, VIDEO, text_of


@pytest.mark.parametrize("database", ["videos", "mp3s"])
def test_gridfs_has_the_indexes_that_drivers_want(fleet, ann, database):
    ann.mp3(ann.upload(GOOD))
    files, chunks = (fleet.mongo[database][f"fs.{name}"].index_information() for name in ("files", "chunks"))
    assert [("filename", 1), ("uploadDate", 1)] in [index["key"] for index in files.values()]
    assert [index.get("unique") for index in chunks.values() if index["key"] == [("files_id", 1), ("n", 1)]] == [True]


@pytest.mark.parametrize("database", ["videos", "mp3s"])
def test_files_have_the_types_that_drivers_write_with_name_and_metadata(fleet, ann, database):
    reply = ann.upload(SONG)
    mp3 = ObjectId(ann.mp3(reply))
    id = fleet.job(reply.job_id)["source"] if database == "videos" else mp3
    file = fleet.mongo[database]["fs.files"].find_one({"_id": id})
    assert type(file["_id"]) is ObjectId
    assert (file["chunkSize"], type(file["chunkSize"])) == (261120, int)
    assert type(file["length"]) is Int64
    assert type(file["uploadDate"]) is datetime.datetime
    assert file["filename"] == ("song.mp4" if database == "videos" else "song.mp3")
    assert file.get("metadata")
    chunks = list(fleet.mongo[database]["fs.chunks"].find({"files_id": id}, sort=[("n", 1)]))
    assert [(type(chunk["n"]), chunk["n"]) for chunk in chunks] == [(int, n) for n in range(-(-file["length"] // 261120))]
    assert [len(chunk["data"]) for chunk in chunks[:-1]] == [261120] * (len(chunks) - 1)
    if database == "videos":
        assert fleet.videos.get(id).read() == SONG.data


def test_files_of_others_without_name_or_metadata_are_read_and_never_removed(fleet, ann, name):
    old = datetime.datetime.now(tz=datetime.timezone.utc) - datetime.timedelta(days=400)
    ids = {}
    for database, store in (("videos", fleet.videos), ("mp3s", fleet.mp3s)):
        id = ids[database] = store.put(GOOD.data, _id=ObjectId.from_datetime(old))
        fleet.mongo[database]["fs.files"].update_one({"_id": id}, {"$set": {"uploadDate": old}})
        assert {"filename", "metadata"} & set(fleet.mongo[database]["fs.files"].find_one({"_id": id})) == set()
    fleet.publish(VIDEO, {"video_fid": str(ids["videos"]), "mp3_fid": None, "username": name})
    assert len(fleet.next_mails(name)) == 1
    # The gateway sweeps as it starts.
    fleet.become("auth", "converter", "notification", gateway={"unowned_downloads": "true"})
    time.sleep(2)
    assert (fleet.videos.exists(ids["videos"]), fleet.mp3s.exists(ids["mp3s"])) == (True, True)
    reply = ann.download(str(ids["mp3s"]), Range="bytes=5-9")
    assert (reply.status, reply.body) == (206, GOOD.data[5:10])
    for database, store in (("videos", fleet.videos), ("mp3s", fleet.mp3s)):
        store.delete(ids[database])


def test_twenty_bad_files_among_good_ones_fail_with_a_reason_and_a_mail_each(fleet, name):
    fleet.become("auth", "gateway", "converter")
    rng, good = random.Random(3), []
    for number in range(20):
        # Noise, the beginning of a file, one without sound, one with a hole in its tables.
        broken = (rng.randbytes(5000), GOOD.data[:4000], SILENT.data, GOOD.data[:-3000] + rng.randbytes(3000))[number % 4]
        fleet.put(broken, name, file_name=f"{number}.mp4")
        if number % 4 == 0:
            good.append(fleet.put(FIRST.data, "good@example.com"))
    assert sorted(fleet.take_json(MP3)["video_fid"] for _ in good) == sorted(good)
    assert fleet.take(MP3, 0.5) is None
    assert until(lambda: fleet.state(FAILED) == (20, 0))
    assert fleet.converter.alive
    assert until(lambda: fleet.state(VIDEO) == (0, 1))
    assert [(job["state"], bool(job["failure"])) for job in fleet.jobs.find({"owner": name})] == [("failed", True)] * 20
    # A failure is told over mp3.failed and never over mp3.
    fleet.become(*SERVICES)
    mails = [mail for mail, _ in fleet.next_mails(name, 20)]
    assert (len(mails), {mail["Subject"] for mail in mails}) == (20, {"MP3 conversion failed"})
    reasons = [text_of(mail).split("could not be converted: ")[1].split("\n")[0] for mail in mails]
    assert all(len(reason) > 10 for reason in reasons)
    assert sum("no audio track" in reason for reason in reasons) == 5
    assert len({mail["Message-ID"] for mail in mails}) == 20


def test_a_file_of_less_than_8_kib_is_converted(fleet, name):
    assert len(SMALL.data) < 8192
    video = fleet.put(SMALL.data, name)
    assert len(fleet.next_mails(name)) == 1
    assert fleet.jobs.find_one({"source": ObjectId(video)})["state"] == "done"


def test_no_child_process_is_left(fleet, ann):
    ann.mp3(ann.upload(GOOD))

    def children(service):
        tasks = Path(f"/proc/{service.process.pid}/task").glob("*/children")
        return "".join(task.read_text() for task in tasks).split()

    # A converter's worker process ends with its conversion.
    assert until(lambda: not any(children(fleet.service(name)) for name in SERVICES), 5)
