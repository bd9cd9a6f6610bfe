"""A video in GridFS becomes an MP3 in GridFS, beside a real mongod."""

import os

import micropy
import pytest

gridfs = pytest.importorskip("gridfs")
pymongo = pytest.importorskip("pymongo")

URL = os.environ.get("MICROPY_TEST_MONGODB_URL")
pytestmark = pytest.mark.skipif(not URL, reason="MICROPY_TEST_MONGODB_URL is not set")


@pytest.fixture
def database():
    client = pymongo.MongoClient(URL)
    name = f"micropy-py-{os.getpid()}"
    yield client[name]
    client.drop_database(name)
    client.close()


@pytest.mark.parametrize("name", ["moov-first-stereo-44100.mp4", "moov-last-stereo-44100.mp4"])
def test_from_grid_out_to_grid_in(database, media, name):
    files = gridfs.GridFS(database)
    with open(media / name, "rb") as file:
        # Small chunks, so that reads cross their borders.
        video_id = files.put(file, chunk_size=4096)
    video, mp3 = files.get(video_id), files.new_file(chunk_size=4096)
    report = micropy.convert(video, mp3, preset="moviepy")
    mp3.close()
    stored = files.get(mp3._id).read()
    assert len(stored) == report.output_bytes
    pieces = []
    micropy.convert(media / name, type("", (), {"write": lambda self, data: pieces.append(data)})(), preset="moviepy")
    assert stored == b"".join(pieces)
    assert micropy.probe(files.get(video_id)).duration == pytest.approx(report.duration, abs=0.1)


def test_only_the_audio_is_fetched(database, media):
    """A megabyte of what is no audio lies in the file, and stays where it is."""
    data = (media / "moov-first-stereo-44100.mp4").read_bytes()
    files = gridfs.GridFS(database)
    filler = (1 << 20).to_bytes(4, "big") + b"free" + bytes((1 << 20) - 8)
    video_id = files.put(data + filler)

    class Counted:
        def __init__(self, file):
            self.file, self.count = file, 0

        def read(self, size):
            data = self.file.read(size)
            self.count += len(data)
            return data

        def seek(self, offset, whence=0):
            return self.file.seek(offset, whence)

        def tell(self):
            return self.file.tell()

    counted = Counted(files.get(video_id))
    assert micropy.convert(counted).complete
    assert counted.count < len(data) + (1 << 18)


def test_what_fails_is_not_kept(database, media):
    files = gridfs.GridFS(database)
    video_id = files.put((media / "video-only.mp4").read_bytes())
    mp3 = files.new_file()
    with pytest.raises(micropy.NoAudioTrack):
        micropy.convert(files.get(video_id), mp3)
    mp3.abort()
    assert [file._id for file in files.find()] == [video_id]
    assert database.fs.chunks.count_documents({"files_id": {"$ne": video_id}}) == 0
