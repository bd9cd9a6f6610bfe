"""Videos that are large and cheap: the audio of a file, spread over a sparse one as a video would spread it."""

import os
import struct


def boxes(data, start=0, end=None):
    """(kind, start, payload, end) of the boxes in data[start:end]."""
    end = len(data) if end is None else end
    while start + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, start)
        head = 8
        if size == 1:
            size, = struct.unpack_from(">Q", data, start + 8)
            head = 16
        yield kind, start, start + head, start + size
        start += size


def find(data, *path):
    """(start, payload, end) of the box at `path`."""
    payload, end = 0, len(data)
    for kind in path:
        start, payload, end = next((s, p, e) for k, s, p, e in boxes(data, payload, end) if k == kind)
    return start, payload, end


def replaced(data, path, boxes_by_kind):
    """The boxes of `data`, of which those in the container at `path` are replaced by kind."""
    out = b""
    for kind, start, payload, end in boxes(data):
        body = data[payload:end]
        if path and kind == path[0]:
            body = replaced(body, path[1:], boxes_by_kind)
        elif not path and kind in boxes_by_kind:
            body = boxes_by_kind[kind]
        out += struct.pack(">I4s", len(body) + 8, kind) + body
    return out


def spread(source, target, size, moov_first=True, per_chunk=19, other_tables=bytes(300_000)):
    """Writes the MP4 `source`, which has one track, to `target` so that the file has about `size` bytes: chunks of
    `per_chunk` samples (half a second of MP3) at equal distances, with nothing between them. `other_tables` in `moov`
    stand for those of the video.

    Returns how many bytes of audio there are."""
    with open(source, "rb") as file:
        data = file.read()
    _, start, end = find(data, b"moov")
    inside = data[start:end]
    media = b"".join(samples(data, inside))
    sizes = sample_sizes(inside)
    chunks = [sum(sizes[at:at + per_chunk]) for at in range(0, len(sizes), per_chunk)]

    def moov(places):
        runs = [(1, per_chunk, 1)]
        if rest := len(sizes) % per_chunk:
            runs.append((len(chunks), rest, 1))
        tables = {b"stsc": struct.pack(">II", 0, len(runs)) + b"".join(struct.pack(">III", *run) for run in runs),
                  b"stco": struct.pack(f">II{len(places)}I", 0, len(places), *places)}
        free = struct.pack(">I4s", len(other_tables) + 8, b"free") + other_tables
        body = replaced(inside, TABLES, tables)
        trak = next(start for kind, start, _, _ in boxes(body) if kind == b"trak")
        body = body[:trak] + free + body[trak:]
        return struct.pack(">I4s", len(body) + 8, b"moov") + body

    ftyp = data[:find(data, b"ftyp")[2]]
    head = len(ftyp) + (len(moov([0] * len(chunks))) if moov_first else 0)
    stride = max((size - head) // len(chunks), max(chunks))
    places = [head + 16 + index * stride for index in range(len(chunks))]
    media_end = places[-1] + chunks[-1]
    with open(target, "wb") as file:
        file.write(ftyp)
        if moov_first:
            file.write(moov(places))
        file.write(struct.pack(">I4sQ", 1, b"mdat", media_end - head))
        at = 0
        for place, length in zip(places, chunks):
            file.seek(place)
            file.write(media[at:at + length])
            at += length
        if not moov_first:
            file.write(moov(places))
    assert os.path.getsize(target) >= media_end
    return len(media)


#: Where the tables of a track are, in `moov`.
TABLES = (b"trak", b"mdia", b"minf", b"stbl")


def sample_sizes(moov):
    _, at, _ = find(moov, *TABLES, b"stsz")
    constant, count = struct.unpack_from(">II", moov, at + 4)
    return [constant] * count if constant else struct.unpack_from(f">{count}I", moov, at + 12)


def samples(data, moov):
    """The bytes of each chunk, in the order of the track."""
    _, at, _ = find(moov, *TABLES, b"stco")
    count, = struct.unpack_from(">I", moov, at + 4)
    offsets = struct.unpack_from(f">{count}I", moov, at + 8)
    _, at, _ = find(moov, *TABLES, b"stsc")
    runs, = struct.unpack_from(">I", moov, at + 4)
    entries = [struct.unpack_from(">III", moov, at + 8 + 12 * index) for index in range(runs)]
    sizes, sample = sample_sizes(moov), 0
    for chunk, offset in enumerate(offsets, start=1):
        per_chunk = next(samples for first, samples, _ in reversed(entries) if first <= chunk)
        yield data[offset:offset + sum(sizes[sample:sample + per_chunk])]
        sample += per_chunk
    assert sample == len(sizes)
