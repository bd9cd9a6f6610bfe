"""Puts an MP3 beside each MP4 of an S3 bucket that has none, or an older one.

    pip install boto3
    python s3_bucket.py bucket shows/2026/

In production:

- Videos are not downloaded: micropy reads `s3://` by ranges, little but the audio's bytes, several at a time. Where the
  network is far or dear, run it in the bucket's region.
- The MP3 goes through a temporary file, since S3 asks for the length of what it is given: $TMPDIR has to hold one MP3,
  and no video. In AWS Lambda, /tmp will do.
- micropy and boto3 read the same environment, profiles and roles of machines (AWS_…). What only boto3 knows (single
  sign-on, assumed roles) goes into the environment by `aws configure export-credentials --format env`.
- Several machines may work at once, each on a prefix of its own. An object appears when it is whole.
- On all cores for each video by default. In an `Executor` of processes or threads, set `jobs=1`.
"""

import sys
import tempfile

import boto3
import micropy

s3 = boto3.client("s3")


def convert(bucket, video, mp3):
    """Make an MP3 of a video, both by key; returns micropy's report."""
    with tempfile.TemporaryFile() as file:
        report = micropy.convert(f"s3://{bucket}/{video}", file, bitrate=128)
        file.seek(0)
        s3.upload_fileobj(file, bucket, mp3, ExtraArgs={"ContentType": "audio/mpeg"})
    return report


def main(bucket, prefix=""):
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    changed = {found["Key"]: found["LastModified"] for page in pages for found in page.get("Contents", [])}
    failed = 0
    for video in changed:
        mp3 = video.removesuffix(".mp4") + ".mp3"
        if not video.endswith(".mp4") or (mp3 in changed and changed[mp3] >= changed[video]):
            continue
        try:
            report = convert(bucket, video, mp3)
        except micropy.MicropyError as error:
            failed += 1
            print(f"{video}: {error}", file=sys.stderr)
        else:
            print(f"{video}: {report.duration:.1f} s of {report.codec}, {report.input_bytes} bytes read")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
