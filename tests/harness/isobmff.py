"""Just enough of ISO/IEC 14496-12 to write odd MP4 files and to count what a file should decode to.

It shares no code and no author's assumption with the Rust demuxer, so that each checks the other.
"""

import struct
from fractions import Fraction


def boxes(data, start=0, end=None):
    """Yields (type, start of the box, start of its content, end) for the boxes in data[start:end]."""
    end = len(data) if end is None else end
    while start + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, start)
        content = start + 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, content)
            content += 8
        elif size == 0:
            size = end - start
        yield kind, start, content, start + size
        start += size


def find(data, path, start=0, end=None):
    """All (start, content, end) of the boxes at `path`, such as "moov/trak/mdia"."""
    first, _, rest = path.partition("/")
    for kind, at, content, stop in boxes(data, start, end):
        if kind == first.encode():
            if rest:
                yield from find(data, rest, content, stop)
            else:
                yield at, content, stop


def tracks(data):
    """Describes each track of a file: what the sample count depends on."""
    (movie,) = (content for _, content, _ in find(data, "moov/mvhd"))
    movie_scale = struct.unpack_from(">I", data, movie + (20 if data[movie] else 12))[0]
    fragments = fragment_durations(data)
    for _, start, end in find(data, "moov/trak"):
        (header,) = (content for _, content, _ in find(data, "tkhd", start, end))
        track_id = struct.unpack_from(">I", data, header + (20 if data[header] else 12))[0]
        (media,) = (content for _, content, _ in find(data, "mdia/mdhd", start, end))
        (handler,) = (content for _, content, _ in find(data, "mdia/hdlr", start, end))
        duration = fragments.get(track_id, 0)
        for _, content, _ in find(data, "mdia/minf/stbl/stts", start, end):
            (count,) = struct.unpack_from(">I", data, content + 4)
            runs = struct.iter_unpack(">II", data[content + 8 : content + 8 + 8 * count])
            duration += sum(n * delta for n, delta in runs)
        yield {
            "id": track_id,
            "enabled": bool(data[header + 3] & 1),
            "handler": data[handler + 8 : handler + 12].decode(),
            "movie_scale": movie_scale,
            "media_scale": struct.unpack_from(">I", data, media + (20 if data[media] else 12))[0],
            "duration": duration,
            "edits": edits(data, start, end),
        }


def audio_track(data):
    """The audio track a reader should choose: the first enabled one, else the first."""
    sound = [track for track in tracks(data) if track["handler"] == "soun"]
    return next((track for track in sound if track["enabled"]), sound[0])


def edits(data, start, end):
    """The (duration, media time) pairs of a track's edit list."""
    out = []
    for _, content, _ in find(data, "edts/elst", start, end):
        (count,) = struct.unpack_from(">I", data, content + 4)
        entry = ">QqI" if data[content] else ">IiI"
        for i in range(count):
            out.append(struct.unpack_from(entry, data, content + 8 + i * struct.calcsize(entry))[:2])
    return out


def fragment_durations(data):
    """Track number → sum of the durations of its samples in fragments."""
    defaults, sums = {}, {}
    for _, content, _ in find(data, "moov/mvex/trex"):
        track_id, _, duration = struct.unpack_from(">III", data, content + 4)
        defaults[track_id] = duration
    for _, start, end in find(data, "moof/traf"):
        (header,) = (content for _, content, _ in find(data, "tfhd", start, end))
        flags, track_id = struct.unpack_from(">II", data, header)
        at, default = header + 8, defaults.get(track_id, 0)
        at += 8 * bool(flags & 1) + 4 * bool(flags & 2)
        if flags & 8:
            (default,) = struct.unpack_from(">I", data, at)
        for _, run, _ in find(data, "trun", start, end):
            run_flags, count = struct.unpack_from(">II", data, run)
            run_flags &= 0xFFFFFF
            at = run + 8 + 4 * bool(run_flags & 1) + 4 * bool(run_flags & 4)
            width = 4 * sum(bool(run_flags & bit) for bit in (0x100, 0x200, 0x400, 0x800))
            for i in range(count):
                own = run_flags & 0x100
                sums[track_id] = sums.get(track_id, 0) + (
                    struct.unpack_from(">I", data, at + i * width)[0] if own else default
                )
    return sums


def expected_samples(track, rate):
    """PCM samples a channel at `rate`, after the edit list; an empty edit before it adds nothing."""
    scale = Fraction(rate, track["media_scale"])
    total = track["duration"] * scale
    for length, media_time in track["edits"]:
        if media_time < 0:
            continue
        rest = track["duration"] - media_time
        asked = Fraction(length * track["media_scale"], track["movie_scale"])
        tick = Fraction(track["media_scale"], track["movie_scale"])
        # The movie's clock is coarse: an end within one of its ticks is the media's own end.
        if length == 0 or abs(asked - rest) <= tick:
            asked = rest
        total = min(asked, rest) * scale
        break
    return int(total)


def box(kind, *parts):
    """One box of `kind` around `parts`."""
    body = b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), kind.encode("latin-1")) + body


def full_box(kind, version, flags, *parts):
    """One box with version and flags."""
    return box(kind, struct.pack(">I", version << 24 | flags), *parts)


def descriptor(tag, body):
    """One MPEG-4 descriptor (ISO/IEC 14496-1, 7.2.2), its length in the long form encoders write."""
    return bytes([tag, 0x80, 0x80, 0x80, len(body)]) + body


def aac_file(config, packets, *, scale, delta, last_delta, edit, movie_scale=1000, channels=2, rate=44100,
             wide=False, moov_first=False):
    """An M4A around AAC packets.

    `edit` is (segment duration in movie ticks, media time) or None; `wide` uses 64-bit sizes and offsets.
    """
    media = b"".join(packets)
    ftyp = box("ftyp", b"M4A ", struct.pack(">I", 512), b"M4A isomiso2")
    duration = delta * (len(packets) - 1) + last_delta
    movie_duration = duration * movie_scale // scale
    matrix = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
    times = (">QQI", ">Q") if wide else (">III", ">I")

    def moov(offset):
        esds = full_box("esds", 0, 0, descriptor(3, struct.pack(">HB", 1, 0) + descriptor(
            4, struct.pack(">BBHBII", 0x40, 0x15, 0, 0, 0, 0) + descriptor(5, config)) + descriptor(6, b"\x02")))
        entry = box("mp4a", bytes(6), struct.pack(">H", 1), bytes(8), struct.pack(">HHI", channels, 16, 0),
                    struct.pack(">I", (rate << 16) & 0xFFFFFFFF), esds)
        sizes = struct.pack(">II", 0, len(packets)) + b"".join(struct.pack(">I", len(p)) for p in packets)
        runs = [(len(packets) - 1, delta), (1, last_delta)]
        offsets = full_box("co64", 0, 0, struct.pack(">IQ", 1, offset)) if wide else full_box(
            "stco", 0, 0, struct.pack(">II", 1, offset))
        stbl = box("stbl", full_box("stsd", 0, 0, struct.pack(">I", 1), entry),
                   full_box("stts", 0, 0, struct.pack(">I", 2), *(struct.pack(">II", *run) for run in runs)),
                   full_box("stsc", 0, 0, struct.pack(">IIII", 1, 1, len(packets), 1)),
                   full_box("stsz", 0, 0, sizes), offsets)
        dinf = box("dinf", full_box("dref", 0, 0, struct.pack(">I", 1), full_box("url ", 0, 1)))
        minf = box("minf", full_box("smhd", 0, 0, bytes(4)), dinf, stbl)
        mdia = box("mdia", full_box("mdhd", int(wide), 0, struct.pack(times[0], 0, 0, scale),
                                    struct.pack(times[1], duration), struct.pack(">HH", 0x55C4, 0)),
                   full_box("hdlr", 0, 0, bytes(4), b"soun", bytes(12), b"SoundHandler\0"), minf)
        edts = b"" if edit is None else box("edts", full_box(
            "elst", int(wide), 0, struct.pack(">I", 1), struct.pack(">QqI" if wide else ">IiI", *edit, 0x10000)))
        tkhd = full_box("tkhd", int(wide), 3, struct.pack(times[0], 0, 0, 1), bytes(4),
                        struct.pack(times[1], movie_duration), bytes(8), struct.pack(">hhHH", 0, 1, 0x100, 0),
                        matrix, bytes(8))
        mvhd = full_box("mvhd", int(wide), 0, struct.pack(times[0], 0, 0, movie_scale),
                        struct.pack(times[1], movie_duration), struct.pack(">IH", 0x10000, 0x100), bytes(10),
                        matrix, bytes(24), struct.pack(">I", 2))
        return box("moov", mvhd, box("trak", tkhd, edts, mdia))

    mdat = (struct.pack(">I4sQ", 1, b"mdat", 16 + len(media)) if wide else
            struct.pack(">I4s", 8 + len(media), b"mdat")) + media
    head = len(mdat) - len(media)
    if moov_first:
        return ftyp + moov(len(ftyp) + len(moov(0)) + head) + mdat
    return ftyp + mdat + moov(len(ftyp) + head)


def rename(data, path, new, content_starts_with=b""):
    """Turns the boxes at `path` into type `new`, in place: `free` makes readers pass over them."""
    out = bytearray(data)
    for at, content, _ in find(data, path):
        if data[content:].startswith(content_starts_with):
            out[at + 4 : at + 8] = new
    return bytes(out)
