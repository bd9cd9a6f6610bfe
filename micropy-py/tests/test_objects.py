"""File objects that do what files do not."""

import io
import os
import tempfile

import micropy
import pytest


class Odd(Exception):
    pass


def sources(data):
    """What is wrong with it → a source, the exception and its words."""

    def reading(read, base=io.BytesIO):
        return type("Source", (base,), {"read": read})(data)

    state = {"count": 0}

    def later(self, size):
        state["count"] += 1
        if state["count"] > 3:
            raise Odd("in the middle")
        return io.BytesIO.read(self, min(size, 2000))

    def seeking(seek):
        return type("Source", (io.BytesIO,), {"seek": seek})(data)

    def fails(self, offset, whence=0):
        raise Odd("no seeking")

    return {
        "text": (reading(lambda self, size: "text"), TypeError, "read.. must return bytes, not .*str.*binary mode"),
        "a number": (reading(lambda self, size: 7), TypeError, "read.. must return bytes, not .*int"),
        "nothing": (reading(lambda self, size: None), BlockingIOError, "returned None"),
        "too much": (reading(lambda self, size: b"x" * (size + 1)), ValueError, r"read\(\d+\) returned \d+ bytes"),
        "no size": (reading(lambda self: b""), TypeError, "argument"),
        "raises in the middle": (reading(later), Odd, "in the middle"),
        "seek raises": (seeking(fails), Odd, "no seeking"),
        "seek to text": (seeking(lambda self, offset, whence=0: "there"), ValueError, "seek.. returned 'there'"),
        "seek before the start": (seeking(lambda self, offset, whence=0: -5), ValueError, "seek.. returned -5"),
        "closed": (closed(io.BytesIO(data)), ValueError, "closed"),
        "text file": (io.StringIO("text"), TypeError, "binary mode"),
        "nothing at all": (object(), TypeError, "must be a path"),
    }


def closed(file):
    file.close()
    return file


@pytest.mark.parametrize("wrong", sources(b""))
def test_sources_that_misbehave(clip, wrong):
    source, expected, words = sources(clip.read_bytes())[wrong]
    for call in (micropy.convert, micropy.probe):
        if call is micropy.probe and wrong == "raises in the middle":
            continue
        with pytest.raises(expected, match=words):
            call(source)


def test_short_reads_of_every_length(clip):
    data, expected = clip.read_bytes(), micropy.convert(clip).data
    for piece in (1, 7, 4095):
        class Short(io.BytesIO):
            def read(self, size=-1, piece=piece):
                return super().read(min(size, piece))

        assert micropy.convert(Short(data)).data == expected


def test_bytes_like_reads(clip):
    class Mutable(io.BytesIO):
        def read(self, size=-1):
            return bytearray(super().read(size))

    assert micropy.convert(Mutable(clip.read_bytes())).data == micropy.convert(clip).data


def test_a_seek_that_lies(clip):
    """It ends, with what is there or with an error of ours: never in a panic, a hang or unbounded memory."""
    data, expected = clip.read_bytes(), micropy.convert(clip).data

    class Beyond(io.BytesIO):
        def seek(self, offset, whence=0):
            return super().seek(offset, whence) + 1_000_000

    class Stays(io.BytesIO):
        def seek(self, offset, whence=0):
            return offset if whence == 0 else len(data)

    class Huge(io.BytesIO):
        def seek(self, offset, whence=0):
            super().seek(offset, whence)
            return 2**63 - 1

    class Shrinks(io.BytesIO):
        def seek(self, offset, whence=0):
            return super().seek(min(offset, 100) if whence == 0 else offset, whence)

    assert micropy.convert(Beyond(data)).data == expected
    for lies in (Stays, Huge, Shrinks):
        try:
            assert micropy.convert(lies(data)).data
        except micropy.MicropyError as error:
            assert not isinstance(error, micropy.InternalError)


class Sink:
    """A destination that keeps what it is given, and does `odd` first."""

    def __init__(self, odd):
        self.odd, self.kept, self.calls = odd, [], 0

    def write(self, data):
        self.calls += 1
        return self.odd(self, data)

    def keep(self, data):
        self.kept.append(bytes(data))


@pytest.mark.parametrize("count", [1, 100, 65_536])
def test_short_writes(clip, count):
    def short(sink, data):
        sink.keep(data[:count])
        return min(count, len(data))

    def silent(sink, data):
        sink.keep(data)

    def true(sink, data):
        sink.keep(data)
        return True

    whole = Sink(silent)
    micropy.convert(clip, whole, jobs=1)
    for odd in (short, true):
        sink = Sink(odd)
        micropy.convert(clip, sink, jobs=1)
        assert b"".join(sink.kept) == b"".join(whole.kept)


@pytest.mark.parametrize("answer", [0, -1, 10**9, 10**30])
def test_counts_that_cannot_be(clip, answer):
    with pytest.raises(ValueError, match=f"took {answer} of"):
        micropy.convert(clip, Sink(lambda sink, data: answer))


def test_a_write_that_raises_in_the_middle(long_clip):
    odd = Odd("disk full")

    def later(sink, data):
        if sink.calls == 2:
            raise odd
        sink.keep(data)

    sink = Sink(later)
    with pytest.raises(Odd) as raised:
        micropy.convert(long_clip, sink, duration=120, quality=9)
    assert raised.value is odd
    # Nothing is written after that, as nothing would be in its place.
    assert sink.calls == 2 and len(sink.kept) == 1


def test_a_flush_that_raises(clip):
    class Flushing(io.BytesIO):
        def flush(self):
            raise odd

    odd = Odd("late")
    with pytest.raises(Odd) as raised:
        micropy.convert(clip, Flushing())
    assert raised.value is odd


def test_destinations_of_text(clip, tmp_path):
    with open(tmp_path / "a.mp3", "w") as file, pytest.raises(TypeError, match="binary mode"):
        micropy.convert(clip, file)
    with pytest.raises(TypeError):
        micropy.convert(clip, object())


def test_a_base_exception_comes_through(clip):
    def leaves(sink, data):
        raise SystemExit(7)

    with pytest.raises(SystemExit) as raised:
        micropy.convert(clip, Sink(leaves))
    assert raised.value.code == 7


def test_a_callback_may_convert(clip):
    """No lock is held while Python runs."""
    inner = []

    def converts(sink, data):
        if not inner:
            inner.append(micropy.convert(clip).data)
        sink.keep(data)

    sink = Sink(converts)
    micropy.convert(clip, sink)
    assert len(inner[0]) > 1000 and sink.kept


def test_temporary_files(clip):
    expected = micropy.convert(clip).data
    with tempfile.SpooledTemporaryFile(max_size=100_000) as src, tempfile.NamedTemporaryFile() as dst:
        src.write(clip.read_bytes())
        micropy.convert(src, dst)
        assert os.path.getsize(dst.name) == len(expected)


def test_a_pipe(clip):
    end, start = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(end)
        with open(start, "wb") as file:
            file.write(clip.read_bytes())
        os._exit(0)
    os.close(start)
    with open(end, "rb") as file:
        assert micropy.convert(file).data == micropy.convert(clip).data
    os.waitpid(pid, 0)
