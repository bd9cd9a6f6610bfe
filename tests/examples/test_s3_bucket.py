"""s3_bucket.py with moto, which checks every signature."""

import hashlib
import json
import time

import pytest

from harness import MEDIA
from harness.clips import FIRST, GOOD, SILENT, padded
from harness.servers import Missing
from harness.servers.s3 import S3

#: Lists a bucket as {key: [type, MD5 of its bytes]}, and takes away what is named.
LOOK = """
import hashlib, json, sys, boto3
s3 = boto3.client("s3")
for key in sys.argv[2:]:
    s3.delete_object(Bucket=sys.argv[1], Key=key)
got = {found["Key"]: s3.get_object(Bucket=sys.argv[1], Key=found["Key"]) for found in s3.list_objects_v2(Bucket=sys.argv[1])["Contents"]}
print(json.dumps({key: [one["ContentType"], hashlib.md5(one["Body"].read()).hexdigest()] for key, one in got.items()}))
"""


@pytest.fixture
def store():
    server = S3()
    try:
        yield server.start()
    except Missing as e:
        pytest.skip(str(e))
    finally:
        server.close()


@pytest.fixture
def run(run, store):
    """With the keys of the store."""
    return lambda *words, **settings: run(
        *words, **{"AWS_ENDPOINT_URL": store.url, "AWS_EC2_METADATA_DISABLED": "true", **store.environment(), **settings})


@pytest.fixture
def bucket(run, store):
    """What is in the bucket, as {key: (type, MD5)}; keys that are named are deleted first."""
    def bucket(*deleted):
        told = run("-c", LOOK, store.bucket, *deleted)
        assert told.returncode == 0, told.stderr
        return {key: tuple(one) for key, one in json.loads(told.stdout).items()}
    return bucket


def made(expected, video):
    return "audio/mpeg", hashlib.md5(expected(video.name, "file")).hexdigest()


def test_each_mp4_has_an_mp3_beside_it(run, store, bucket, expected, tmp_path):
    large = tmp_path / "large.mp4"
    large.write_bytes(padded(GOOD.data, bytes(3_000_000)))
    for key, path in {"shows/1/50% großes #1?.mp4": MEDIA / FIRST.name, "shows/large.mp4": large,
                      "shows/silent.mp4": MEDIA / SILENT.name, "shows/notes.txt": MEDIA / "expected.tsv",
                      "others/a.mp4": MEDIA / FIRST.name}.items():
        store.put([(key, path, None)])
    # The MP3 goes through a file; the video, which is larger than it may be, does not.
    done = run("s3_bucket.py", store.bucket, "shows/", LIMIT_FILE_SIZE=1_000_000)
    assert done.returncode == 1
    assert done.stderr.startswith("shows/silent.mp4: ") and len(done.stderr.splitlines()) == 1
    mp3s = {key: found for key, found in bucket().items() if key.endswith(".mp3")}
    assert mp3s == {"shows/1/50% großes #1?.mp3": made(expected, FIRST), "shows/large.mp3": made(expected, GOOD)}

    # Again: what is there is left, what is not is made, and so is what has changed.
    bucket("shows/silent.mp4", "shows/large.mp3")
    done = run("s3_bucket.py", store.bucket, "shows/")
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.rpartition(":")[0] for line in done.stdout.splitlines()] == ["shows/large.mp4"]
    time.sleep(1)  # S3's dates are of whole seconds
    store.put([("shows/large.mp4", MEDIA / FIRST.name, None)])
    assert run("s3_bucket.py", store.bucket, "shows/").returncode == 0
    assert bucket()["shows/large.mp3"] == made(expected, FIRST)


def test_without_the_keys_nothing_is_read(run, store):
    store.put([("a.mp4", MEDIA / FIRST.name, None)])
    done = run("s3_bucket.py", store.bucket, AWS_SECRET_ACCESS_KEY="wrong")
    assert done.returncode == 1 and "SignatureDoesNotMatch" in done.stderr, done.stderr
