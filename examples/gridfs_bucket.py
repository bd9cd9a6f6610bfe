"""Makes an MP3 in GridFS of each video in GridFS that has none yet.

    pip install pymongo
    python gridfs_bucket.py mongodb://localhost:27017/media

In production:

- No temporary file, and memory does not grow with the length: chunks are read where the audio is, and the MP3 is
  written as it is made. It may run on a read-only file system.
- Run it when you like, on several machines at once, and kill it when you like. A unique index lets one MP3 of a video
  be; who comes second removes its own. A process that is killed leaves chunks which belong to no file, as with any
  upload to GridFS: remove what is in `mp3s.chunks` and not in `mp3s.files` from time to time.
- Errors of MongoDB come out of `micropy.convert` as they are; a `MicropyError` tells what is wrong with the video.
"""

import sys
from pathlib import PurePath

import micropy
from gridfs import GridFSBucket
from gridfs.errors import FileExists
from pymongo import MongoClient


def convert(videos, mp3s, video_id):
    """Make the MP3 of a video; returns micropy's report."""
    video = videos.open_download_stream(video_id)
    name = PurePath(video.filename or str(video_id)).stem + ".mp3"
    mp3 = mp3s.open_upload_stream(name, metadata={"video": video_id, "contentType": "audio/mpeg"})
    try:
        report = micropy.convert(video, mp3, bitrate=128)
        # Only now is it a file. `with` would leave the chunks of one that is not.
        mp3.close()
    except BaseException:
        mp3.abort()
        raise
    return report


def main(url):
    database = MongoClient(url).get_default_database()
    videos, mp3s = GridFSBucket(database, "videos"), GridFSBucket(database, "mp3s")
    made = database["mp3s.files"]
    made.create_index("metadata.video", unique=True)
    failed = 0
    # All of them at once: a cursor that waits for conversions is closed after ten minutes.
    for video_id in [video["_id"] for video in database["videos.files"].find({}, ["_id"])]:
        if made.find_one({"metadata.video": video_id}, ["_id"]):
            continue
        try:
            report = convert(videos, mp3s, video_id)
        except FileExists:
            print(f"{video_id}: somebody else was faster")
        except micropy.MicropyError as error:
            failed += 1
            print(f"{video_id}: {error}", file=sys.stderr)
        else:
            print(f"{video_id}: {report.duration:.1f} s of {report.codec}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
