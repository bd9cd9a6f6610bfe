"""Videos to upload, and forms to upload them in."""

import base64
import subprocess
from typing import NamedTuple

from . import MEDIA, SONG as SONG_PATH


class Clip(NamedTuple):
    """A file of a form."""

    name: str
    data: bytes
    field: str = "file"


class Field(NamedTuple):
    """A field of a form that is not a file."""

    field: str
    data: bytes


def clip(name):
    return Clip(name, (MEDIA / name).read_bytes())


GOOD = clip("moov-last-stereo-44100.mp4")
OTHER = clip("alac.m4a")
FIRST = clip("moov-first-stereo-44100.mp4")
SILENT = clip("video-only.mp4")
BOOK = clip("chapters.m4b")
SMALL = clip("mono-8000.mp4")
SONG = Clip(SONG_PATH.name, SONG_PATH.read_bytes())


def form(*parts):
    """multipart/form-data: its bytes and its Content-Type."""
    boundary, body = "micropy-test-boundary", b""
    for part in parts:
        named = f'; filename="{part.name}"' if isinstance(part, Clip) else ""
        body += f'--{boundary}\r\nContent-Disposition: form-data; name="{part.field}"{named}\r\n\r\n'.encode()
        body += part.data + b"\r\n"
    return body + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def metadata(**pairs):
    """The header Upload-Metadata of tus."""
    return ",".join(f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in pairs.items())


def padded(data, padding):
    """The same video as another file: with a box `free` of these bytes behind it."""
    return data + (8 + len(padding)).to_bytes(4, "big") + b"free" + padding


def variant(rng, data=GOOD.data, most=100_000):
    """The same video as a file of its own, of random length."""
    return padded(data, rng.randbytes(rng.randrange(16, most)))


def ffmpeg(*words):
    subprocess.run(["ffmpeg", "-v", "error", "-y", "-nostdin", *map(str, words)], check=True)


def repeated(path, times):
    """The sound of the song, so many times."""
    ffmpeg("-stream_loop", times - 1, "-i", SONG_PATH, "-map", "0:a", "-c", "copy", path)
    return path.read_bytes()


def hours(folder):
    """Four hours of sound: one minute, repeated."""
    minute, whole = folder / "minute.m4a", folder / "hours.m4a"
    ffmpeg("-f", "lavfi", "-i", "sine=frequency=440:sample_rate=8000:duration=60", "-c:a", "aac", "-b:a", "24k", minute)
    ffmpeg("-stream_loop", "239", "-i", minute, "-c", "copy", whole)
    return Clip("hours.m4a", whole.read_bytes())


class Streamed:
    """A form with one file, made as it is sent: what it begins with, and so many bytes in pieces."""

    def __init__(self, name, begin, size, pieces):
        whole, self.kind = form(Clip(name, begin))
        at = whole.rindex(b"\r\n--")
        self.start, self.size, self.pieces, self.end = whole[:at], size, pieces, whole[at:]

    def __len__(self):
        return len(self.start) + self.size + len(self.end)

    def __iter__(self):
        yield self.start
        yield from self.pieces()
        yield self.end


def large(size):
    """A sound file and behind it a box `free` of so many bytes."""
    free = (1).to_bytes(4, "big") + b"free" + (size + 16).to_bytes(8, "big")
    return Streamed("big.mp4", GOOD.data + free, size, lambda: (bytes(1 << 20) for _ in range(size >> 20)))


def streamed(path):
    """A file of any size."""
    def pieces():
        with path.open("rb") as file:
            while piece := file.read(1 << 20):
                yield piece
    return Streamed(path.name, b"", path.stat().st_size, pieces)
