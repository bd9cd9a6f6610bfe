"""Sends the service only the sound of a video, and gets its MP3. Needs nothing but Python.

    export MICROPY_URL=https://mp3.example.com MICROPY_TOKEN=…      # an API token with `convert` and `read`
    python upload_sound.py talk.mp4 talk.mp3 bitrate=128

In production:

- Of a video of 700 MB with ten minutes of sound, some 10 MB are sent. docs/api.md describes what this does.
- Nothing of the video but the outline is read into memory.
- An upload that breaks off goes on where it stopped: while the program runs by itself, and later by running it again,
  for the place of the upload is kept in a file beside the MP3 until it is done.
- Where the video has to be sent whole (it is little else than sound, or damaged), it is, and that is said.
"""

import base64
import http.client
import json
import os
import sys
import time
import urllib.parse
import zlib

URL = urllib.parse.urlsplit(os.environ.get("MICROPY_URL", "http://127.0.0.1:8080"))
TOKEN = os.environ.get("MICROPY_TOKEN", "")
#: The boxes whose contents an outline has.
WHOLE = b"ftyp", b"moov", b"moof", b"meta", b"udta", b"sidx"
PART = 16 << 20
TRIES = 8
TUS = {"Tus-Resumable": "1.0.0"}


def ask(method, path, body=None, **headers):
    """The response, with its body: JSON as it is meant, or bytes."""
    connect = http.client.HTTPSConnection if URL.scheme == "https" else http.client.HTTPConnection
    connection = connect(URL.netloc, timeout=60)
    try:
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, URL.path.rstrip("/") + path, body, {"Authorization": f"Bearer {TOKEN}", **headers})
        response = connection.getresponse()
        content = response.read()
    finally:
        connection.close()
    if "json" in response.headers.get("Content-Type", ""):
        content = json.loads(content)
    if response.status >= 400:
        detail = content.get("detail", content.get("title")) if isinstance(content, dict) else response.reason
        raise Refused(response.status, detail, response.headers)
    return response, content


class Refused(Exception):
    """An answer that is a problem."""

    def __init__(self, status, detail, headers):
        super().__init__(f"{status}: {detail}")
        self.status, self.headers = status, headers


def outline(video, size):
    """Everything in a file but its media: some 16 bytes are read of each box, and the boxes that are asked for."""
    pieces, at = [], 0
    while size - at >= 8:
        video.seek(at)
        head = video.read(16)
        length, kind, header = int.from_bytes(head[:4], "big"), head[4:8], 8
        if length == 1:
            length, header = int.from_bytes(head[8:16], "big"), 16
        elif length == 0:
            length = size - at
        if length < header or at + length > size:
            return None
        video.seek(at)
        pieces.append(video.read(length if kind in WHOLE else header))
        at += length
    return b"".join(pieces)


def parts_of(video, size, options):
    """What to send of a video: its sound, or where that cannot be found, all of it."""
    whole = {"size": size, "parts": [[0, size]], "digest": "whole"}
    bytes_of_outline = outline(video, size)
    if bytes_of_outline is None:
        return whole
    wanted = {name: options[name] for name in ("track", "language") if name in options}
    query = urllib.parse.urlencode({"size": size, **wanted})
    try:
        _, sound = ask("POST", f"/api/v1/sound?{query}", zlib.compress(bytes_of_outline),
                       Content_Type="application/octet-stream", Content_Encoding="deflate")
    except Refused as problem:
        # It is no MP4, or of more parts than the service cares to look at: uploading it says more.
        if problem.status in (413, 422, 429, 503):
            return whole
        raise
    if "whole" in sound:
        print(f"The whole video is sent: {sound['whole']}", file=sys.stderr)
    return sound


def stretch(video, parts, start, length):
    """Bytes of the file that the parts make."""
    found = []
    for part in parts:
        if isinstance(part, str):
            bytes_ = base64.b64decode(part)
            size = len(bytes_)
        else:
            offset, size = part
        if start < size and length > 0:
            count = min(length, size - start)
            if isinstance(part, str):
                found.append(bytes_[start:start + count])
            else:
                video.seek(offset + start)
                found.append(video.read(count))
            length -= count
        start = max(0, start - size)
    return b"".join(found)


def begin(name, sound, options):
    """The place of a new upload."""
    metadata = {"filename": name, **options}
    pairs = ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in metadata.items())
    response, _ = ask("POST", "/api/v1/tus", Upload_Length=str(sound["size"]), Upload_Metadata=pairs, **TUS)
    return response.headers["Location"].removeprefix(URL.path.rstrip("/"))


def is_there(place):
    """Whether the service still has an upload."""
    try:
        ask("HEAD", place, **TUS)
    except Refused as problem:
        if problem.status in (404, 410):
            return False
        raise
    return True


def send(video, sound, place):
    """Sends what the service does not have yet."""
    tries = 0
    while True:
        try:
            response, _ = ask("HEAD", place, **TUS)
            offset = int(response.headers["Upload-Offset"])
            while offset < sound["size"]:
                part = stretch(video, sound["parts"], offset, PART)
                response, _ = ask("PATCH", place, part, Upload_Offset=str(offset),
                                  Content_Type="application/offset+octet-stream", **TUS)
                offset, tries = int(response.headers["Upload-Offset"]), 0
            return
        except (OSError, http.client.HTTPException, Refused) as problem:
            lasts = isinstance(problem, Refused) and problem.status not in (409, 429, 500, 502, 503, 504)
            tries += 1
            if lasts or tries == TRIES:
                raise
            time.sleep(min(30, 2 ** tries))


def upload(path, mp3, options):
    """The id of the video's job."""
    kept = f"{mp3}.upload"
    with open(path, "rb") as video:
        size = os.fstat(video.fileno()).st_size
        sound = parts_of(video, size, options)
        place = None
        if os.path.exists(kept):
            with open(kept) as file:
                before = json.load(file)
            # The same parts make the same file.
            if before["digest"] == sound["digest"] and is_there(before["place"]):
                place = before["place"]
        if place is None:
            place = begin(os.path.basename(path), sound, options)
            with open(kept, "w") as file:
                json.dump({"place": place, "digest": sound["digest"]}, file)
        send(video, sound, place)
        os.remove(kept)
    print(f"{sound['size']} of {size} bytes sent", file=sys.stderr)
    return place.rsplit("/", 1)[-1]


def main(video, mp3, *options):
    options = dict(option.split("=", 1) for option in options)
    try:
        job = upload(video, mp3, options)
        while (state := ask("GET", f"/api/v1/jobs/{job}")[1])["state"] not in ("done", "failed", "cancelled"):
            time.sleep(1)
        if state["state"] != "done":
            print(f"{video}: {state.get('failure') or state['state']}", file=sys.stderr)
            return 1
        _, content = ask("GET", f"/api/v1/jobs/{job}/mp3")
        with open(mp3, "wb") as file:
            file.write(content)
    except (OSError, Refused) as problem:
        print(f"{video}: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
