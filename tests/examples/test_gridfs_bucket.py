"""gridfs_bucket.py beside a real mongod."""

import pytest
from gridfs import GridFSBucket
from pymongo import MongoClient

from harness.clips import BOOK, FIRST, GOOD, OTHER, SILENT, clip
from harness.servers import Missing

DASH = clip("fragmented-dash.mp4")


@pytest.fixture
def url(servers, request):
    try:
        servers.start("mongodb")
    except Missing as e:
        pytest.skip(str(e))
    url = f"{servers.environment['MICROPY_TEST_MONGODB_URL']}/{request.node.originalname[:40]}"
    yield url
    with MongoClient(url) as client:
        client.drop_database(client.get_default_database())


@pytest.fixture
def database(url):
    with MongoClient(url) as client:
        yield client.get_default_database()


def put(database, video):
    return GridFSBucket(database, "videos").upload_from_stream(video.name, video.data, chunk_size_bytes=4096)


def stored(database):
    """{id of the video: its MP3}; all chunks belong to one."""
    mp3s = GridFSBucket(database, "mp3s")
    files = list(mp3s.find({}))
    assert set(database["mp3s.chunks"].distinct("files_id")) == {file._id for file in files}
    assert all(file.metadata["contentType"] == "audio/mpeg" for file in files)
    return {file.metadata["video"]: file.read() for file in files}


def test_each_video_has_an_mp3_and_what_is_none_is_named(url, database, run, expected):
    good = {put(database, video): video for video in (FIRST, GOOD, DASH)}
    bad = [put(database, SILENT), put(database, FIRST._replace(data=b"no video" * 100))]
    # It may write to no file at all.
    done = run("gridfs_bucket.py", url, LIMIT_FILE_SIZE=0)
    assert done.returncode == 1
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == [str(video_id) for video_id in bad]
    made = stored(database)
    assert made == {video_id: expected(video.name, "stream") for video_id, video in good.items()}
    assert {file.filename for file in GridFSBucket(database, "mp3s").find({})} == {
        video.name.rpartition(".")[0] + ".mp3" for video in good.values()}
    # Again: those that failed are tried, the others are left.
    newest = put(database, FIRST)
    done = run("gridfs_bucket.py", url)
    assert done.stdout == f"{newest}: 2.0 s of AAC-LC\n" and len(done.stderr.splitlines()) == 2
    assert stored(database) == {**made, newest: expected(FIRST.name, "stream")}


def test_several_at_once_make_one_mp3_of_a_video(url, database, start):
    videos = [put(database, video) for video in (FIRST, GOOD, DASH, BOOK, OTHER) for _ in range(4)]
    workers = [start("gridfs_bucket.py", url) for _ in range(4)]
    assert [worker.wait(120) for worker in workers] == [0] * 4, [worker.log.read_text() for worker in workers]
    assert set(stored(database)) == set(videos)
    lines = [line for worker in workers for line in worker.log.read_text().splitlines()]
    assert sum("somebody else" not in line for line in lines) == len(videos)
