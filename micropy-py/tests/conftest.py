import pathlib
import struct

import pytest

MEDIA = pathlib.Path(__file__).parents[2] / "micropy-core" / "tests" / "media"


@pytest.fixture
def media():
    return MEDIA


@pytest.fixture
def clip():
    return MEDIA / "moov-first-stereo-44100.mp4"


def box(kind, *parts):
    body = b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), kind) + body


@pytest.fixture(scope="session")
def long_clip(tmp_path_factory):
    """Twenty minutes of 16-bit PCM noise in a QuickTime file, written box by box."""
    import random

    rate, seconds = 44_100, 1200
    second = random.Random(7).randbytes(rate * 4)
    count = rate * seconds
    full = b"\0" * 4
    matrix = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
    entry = box(b"sowt", struct.pack(">6xH HHI HHHHI", 1, 0, 0, 0, 2, 16, 0, 0, rate << 16))
    ftyp = box(b"ftyp", b"qt  ", full, b"qt  ")
    mdat = struct.pack(">I4s", 8 + count * 4, b"mdat")
    chunks = b"".join(
        struct.pack(">I", len(ftyp) + 8 + i * rate * 4) for i in range(seconds)
    )
    stbl = box(
        b"stbl",
        box(b"stsd", full, struct.pack(">I", 1), entry),
        box(b"stts", full, struct.pack(">III", 1, count, 1)),
        box(b"stsc", full, struct.pack(">IIII", 1, 1, rate, 1)),
        box(b"stsz", full, struct.pack(">II", 4, count)),
        box(b"stco", full, struct.pack(">I", seconds), chunks),
    )
    dinf = box(b"dinf", box(b"dref", full, struct.pack(">I", 1), box(b"url ", b"\0\0\0\1")))
    minf = box(b"minf", box(b"smhd", full, full), dinf, stbl)
    mdhd = box(b"mdhd", full, struct.pack(">IIIIHH", 0, 0, rate, count, 0, 0))
    hdlr = box(b"hdlr", full, b"mhlrsoun", b"\0" * 12, b"\0")
    tkhd = box(
        b"tkhd", b"\0\0\0\1", struct.pack(">IIIII", 0, 0, 1, 0, count), b"\0" * 8,
        struct.pack(">HHHH", 0, 0, 0x100, 0), matrix, b"\0" * 8,
    )
    mvhd = box(
        b"mvhd", full, struct.pack(">IIIIIH10x", 0, 0, rate, count, 0x10000, 0x100),
        matrix, b"\0" * 24, struct.pack(">I", 2),
    )
    moov = box(b"moov", mvhd, box(b"trak", tkhd, box(b"mdia", mdhd, hdlr, minf)))
    path = tmp_path_factory.mktemp("media") / "long.mov"
    with open(path, "wb") as file:
        file.write(ftyp + mdat)
        for _ in range(seconds):
            file.write(second)
        file.write(moov)
    return path
