"""Conversions: arguments in, reports out."""

from __future__ import annotations

import io
import json
import logging
import math
import os
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Callable, Iterable, Mapping, Optional, Protocol, Union, cast, overload

from . import _micropy, _options
from ._errors import Cancelled, InvalidOption, MicropyError
from ._micropy import CancelToken
from ._options import Path, Time, takes_options
from ._outcome import Chapter, Cover, EmptyChapter, Joined, Loudness, Probe, Report, Split, Track

if TYPE_CHECKING:
    from typing_extensions import Literal, TypeAlias, Unpack

    from ._options import Options

log = logging.getLogger("micropy")
# Who sets up no logging hears nothing: the warnings stand in the reports too.
log.addHandler(logging.NullHandler())


class Reader(Protocol):
    """An object to read from, in binary mode. It may have `seek` and `tell` too."""

    def read(self, size: int, /) -> bytes: ...


class Writer(Protocol):
    """An object to write to, in binary mode."""

    def write(self, data: bytes, /) -> Any: ...


class Bar(Protocol):
    """A progress bar such as tqdm's: its `total` is set, and `update` is told what was added."""

    total: Any

    def update(self, n: float, /) -> Any: ...


Source: TypeAlias = "Union[Path, bytes, bytearray, memoryview, Reader]"
Destination: TypeAlias = "Union[Path, Writer]"
ProgressLike: TypeAlias = "Union[Callable[[Progress], object], Bar]"


class Progress:
    """How far a conversion is, in seconds of audio."""

    __slots__ = ("done", "total", "pass_", "passes")

    def __init__(self, done: float, total: Optional[float], pass_: int, passes: int) -> None:
        self.done = done
        """Audio done so far in this pass."""
        self.total = total
        """Audio to be done in each pass, where the file says beforehand."""
        self.pass_ = pass_
        """Which pass over the audio this is, from 0."""
        self.passes = passes
        """How many there are."""

    @property
    def fraction(self) -> Optional[float]:
        """Of all passes together, from 0.0 to 1.0; None where the length is not known.

        >>> Progress(5.0, 10.0, 1, 2).fraction
        0.75
        """
        if self.total is None:
            return None
        of_pass = min(self.done / self.total, 1.0) if self.total > 0 else 1.0
        return (self.pass_ + of_pass) / max(self.passes, 1)

    def __repr__(self) -> str:
        return f"Progress(done={self.done}, total={self.total}, pass_={self.pass_}, passes={self.passes})"


class _Slices:
    """A view of memory as a file: no copy of the whole is made."""

    def __init__(self, view: memoryview) -> None:
        self._view = view.cast("B")
        self._at = 0

    def read(self, size: int, /) -> bytes:
        data = bytes(self._view[self._at : self._at + size])
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, len(self._view))[whence]
        return self._at

    def tell(self) -> int:
        return self._at


def _name(src: Source) -> str:
    if isinstance(src, str) and _micropy._is_url(src):
        return _micropy._without_secrets(src)
    return os.fspath(src) if isinstance(src, (str, os.PathLike)) else type(src).__name__


def _can_seek(file: object) -> bool:
    if not hasattr(file, "seek") or not hasattr(file, "tell"):
        return False
    seekable = getattr(file, "seekable", None)
    return seekable is None or bool(seekable())


def _source(src: Source) -> tuple[str, object]:
    if isinstance(src, str) and _micropy._is_url(src):
        return "url", src
    if isinstance(src, (str, os.PathLike)):
        return "path", os.fspath(src)
    if isinstance(src, bytes):
        return "bytes", src
    if isinstance(src, (bytearray, memoryview)):
        return "seek", _Slices(memoryview(src))
    if isinstance(src, io.TextIOBase):
        raise TypeError("src is a text file: open it in binary mode")
    if not hasattr(src, "read"):
        raise TypeError(f"src must be a path, bytes or have read(), not {type(src).__name__}")
    return ("seek" if _can_seek(src) else "stream"), src


def _destination(dst: Optional[Destination]) -> tuple[str, object]:
    if dst is None:
        return "bytes", None
    _refuse_url(dst, "dst")
    if isinstance(dst, (str, os.PathLike)):
        return "path", os.fspath(dst)
    if isinstance(dst, io.TextIOBase):
        raise TypeError("dst is a text file: open it in binary mode")
    if not hasattr(dst, "write"):
        raise TypeError(f"dst must be a path, None or have write(), not {type(dst).__name__}")
    # Only where bytes already written can surely be replaced: gzip, for one, seeks but does not.
    file = getattr(dst, "file", dst)
    rewritable = isinstance(file, (io.BytesIO, io.FileIO, io.BufferedWriter, io.BufferedRandom))
    appends = "a" in str(getattr(file, "mode", ""))
    return ("seek" if rewritable and not appends and _can_seek(dst) else "stream"), dst


def _eighths(seconds: float) -> float:
    """Rounded up, so that sums are exact: a bar warns when it is moved beyond its end."""
    return math.ceil(round(seconds * 8, 6)) / 8


def _progress(
    progress: Optional[ProgressLike],
) -> Optional[Callable[[float, Optional[float], int, int], object]]:
    if progress is None:
        return None
    bar = cast("Bar", progress) if hasattr(progress, "update") else None
    if bar is not None:
        # One bar may be moved by several conversions, one after another.
        before = float(getattr(bar, "n", 0) or 0)
        told = 0.0

        def advance(done: float, total: Optional[float], pass_: int, passes: int) -> None:
            nonlocal told
            if total is not None:
                bar.total = before + _eighths(total * passes)
                done = min(done, total) + pass_ * total
            done = _eighths(done)
            if done > told:
                bar.update(done - told)
                told = done

        return advance
    call = cast("Callable[[Progress], object]", progress)
    return lambda done, total, pass_, passes: call(Progress(done, total, pass_, passes))


def _report(fields: dict[str, Any], data: Optional[bytes], path: Optional[str]) -> Report:
    loudness = fields.pop("loudness")
    drawn = fields.pop("peaks", None)
    warnings = tuple(fields.pop("warnings"))
    for warning in warnings:
        log.warning("%s", warning)
    return Report(
        **fields,
        loudness=None if loudness is None else Loudness(*loudness),
        warnings=warnings,
        data=data,
        path=path,
        peaks=None if drawn is None else json.loads(drawn),
    )


@takes_options
def convert(
    src: Source,
    dst: Optional[Destination] = None,
    *,
    overwrite: bool = True,
    peaks: Optional[int] = None,
    peak_bits: int = 8,
    progress: Optional[ProgressLike] = None,
    cancel: Optional[CancelToken] = None,
    **options: Unpack[Options],
) -> Report:
    """Convert the audio of an MP4, M4A, MOV or 3GP file to MP3.

    What to read, and where to write:
      src           a path, a URL (http, https, s3, gs, az), bytes, or an object with `read()`. One that can
                    seek is read from its first byte, and nothing of its video is read; one that cannot is
                    read forward. A `pathlib.Path` is never taken for a URL.
      dst           a path (the file appears only when it is whole), an object with `write()`, or None:
                    then the MP3 is the report's `data`.
      overwrite     replace the file dst if it exists
      peaks         draw the waveform, too, in at most so many points of `peak_bits` bits, 8 or 16: the
                    report's `peaks`, as the function of that name returns it. It is drawn of what is
                    made, as it is made, and costs little. MP3 that is copied is not decoded, and then
                    there is none.

    The MP3:
      bitrate, abr  kbit/s, constant or average
      vbr           variable bitrate by quality, 0 (best) to 9.999; 2 where nothing is said
      quality       LAME's effort, 0 (best) to 9 (fastest)
      sample_rate   in Hz; the source's, or the nearest that MP3 has
      channels      1 or 2; the source's, more than two are mixed down
      unscaled_downmix  mix surround down at full level, which may clip
      preset        options by what the MP3 is for; others given beside it win
                    "speech": mono, 64 kbit/s on average    "podcast": -16 LUFS, 44.1 kHz, 96 kbit/s
                    "music": the best quality               "small": mono, 24 kHz, 32 kbit/s on average
                    "moviepy": as moviepy makes by default, 44.1 kHz, stereo, 128 kbit/s
      fit           the most bytes, tags included: bitrate, channels and sample rate follow
      format        "mp3", "wav" (16 bits), "wav-f32", or PCM without a header: "s16le", "f32le"

    The audio:
      track         by place from 0, or by language ("eng")
      start, end, duration, fade_in, fade_out  seconds, or timedelta
      late_start    put silence before audio that starts later than the video
      trim_silence  leave out silence at the start and the end: what lies below -50 dBFS
      normalize     loudness to bring the audio to, in LUFS
      replay_gain   measure the loudness and write it

    Tags:
      copy_tags     take over tags, cover and chapters
      tags          values to set; None or "" removes one
      cover         a picture, as bytes or a path
      id3v23        write ID3v2.3

    The run:
      jobs          worker threads, one for each core by default; the MP3 is the same for every number
      progress      called with a `Progress` several times a second, or a bar such as tqdm's
      cancel        a `CancelToken`; when cancelled from another thread, `Cancelled` is raised

    Other Python threads run meanwhile. What `read`, `write`, `progress` or a signal's handler raises
    comes out unchanged; everything else is a `MicropyError`.

    >>> report = convert("talk.mp4", vbr=2)
    >>> report.codec, report.complete
    ('AAC-LC', True)
    >>> report.data[:3]
    b'ID3'
    """
    destination = _destination(dst)
    fields, data = _micropy.convert(
        _source(src),
        destination,
        _options.read(options),
        overwrite,
        None if peaks is None else (peaks, peak_bits),
        _progress(progress),
        cancel or CancelToken(),
    )
    report = _report(fields, data, str(destination[1]) if destination[0] == "path" else None)
    log.debug("%s: %.1f s of %s, %d bytes of MP3", _name(src), report.duration, report.codec, report.output_bytes)
    return report


@takes_options
def split_chapters(
    src: Source,
    folder: Path,
    *,
    overwrite: bool = False,
    progress: Optional[ProgressLike] = None,
    cancel: Optional[CancelToken] = None,
    **options: Unpack[Options],
) -> Split:
    """Convert each chapter into an MP3 of its own in `folder`; options as those of `convert`.

    The reports' `path` is where each went. A chapter without audio, such as one whose marker stands at the end, has no
    MP3: it is in `empty` of what is returned.

    >>> [os.path.basename(report.path) for report in split_chapters("book.m4b", "chapters")]
    ['01 Opening.mp3', '02 Zweites – Größe.mp3', '03 The end.mp3']
    """
    return _split(src, folder, None, False, overwrite, progress, cancel, options)


@takes_options
def split(
    src: Source,
    folder: Path,
    length: Time,
    *,
    at_silence: bool = False,
    name: Optional[str] = None,
    overwrite: bool = False,
    progress: Optional[ProgressLike] = None,
    cancel: Optional[CancelToken] = None,
    **options: Unpack[Options],
) -> Split:
    """Convert each stretch of `length` seconds into an MP3 of its own in `folder`, which is made where it is missing; options
    as those of `convert`.

    Together they hold every PCM sample once. With `at_silence`, each ends at the quietest place of its last quarter, so
    that none is longer than `length`. With `fit`, each of them fits. Their names are `name`, or that of src, and a number.

    >>> [os.path.basename(report.path) for report in split("book.m4b", "parts", 2)]
    ['book 01.mp3', 'book 02.mp3']
    """
    seconds = length.total_seconds() if isinstance(length, timedelta) else float(length)
    _refuse_url(folder, "folder")
    os.makedirs(folder, exist_ok=True)
    return _split(src, folder, seconds, at_silence, overwrite, progress, cancel, options, name)


def _split(
    src: Source,
    folder: Path,
    length: Optional[float],
    at_silence: bool,
    overwrite: bool,
    progress: Optional[ProgressLike],
    cancel: Optional[CancelToken],
    options: Mapping[str, Any],
    name: Optional[str] = None,
) -> Split:
    _refuse_url(folder, "folder")
    made, empty = _micropy.split(
        _source(src),
        os.fspath(folder),
        length,
        at_silence,
        _stem(src) if name is None else name,
        _options.read(options),
        overwrite,
        _progress(progress),
        cancel or CancelToken(),
    )
    split = Split(
        (_report(fields, None, os.fspath(path)) for path, fields in made),
        (
            EmptyChapter(
                title=fields["title"],
                start=fields["start"],
                complete=fields["complete"],
                warnings=tuple(fields["warnings"]),
            )
            for fields in empty
        ),
    )
    for part in split.empty:
        for warning in part.warnings:
            log.warning("part %r at %.3f s: %s", part.title, part.start, warning)
    return split


def _stem(src: Source) -> str:
    """What the names of the parts of src begin with, and the title of its chapter."""
    name: object = os.fspath(src) if isinstance(src, (str, os.PathLike)) else getattr(src, "name", "")
    if not isinstance(name, str):
        return ""
    if _micropy._is_url(name) and not isinstance(src, os.PathLike):
        # Of a response from a URL as well: its user, password and query are nobody's business.
        return _micropy._stem_of_url(name)
    return os.path.splitext(os.path.basename(name))[0]


def _refuse_url(path: object, what: str) -> None:
    if isinstance(path, str) and _micropy._is_url(path):
        raise InvalidOption(f"{what} is a URL, {_micropy._without_secrets(path)}: only files can be written")


@takes_options
def join(
    srcs: Iterable[Source],
    dst: Optional[Destination] = None,
    *,
    overwrite: bool = True,
    peaks: Optional[int] = None,
    peak_bits: int = 8,
    progress: Optional[ProgressLike] = None,
    cancel: Optional[CancelToken] = None,
    **options: Unpack[Options],
) -> Joined:
    """Join the sources into one MP3, one after the other without a gap, with a chapter for each.

    A chapter has the title of its source, or its name. The sources get one sample rate and number of channels: those of
    the options, or the highest that any of them has. Options as those of `convert`; start, end, fades, loudness and size
    apply to the whole. With `peaks`, the report has the waveform of the whole.

    >>> joined = join(["talk.mp4", "book.m4b"], "all.mp3")
    >>> [round(report.duration, 1) for report in joined.inputs]
    [2.0, 3.0]
    """
    destination = _destination(dst)
    fields, data, inputs = _micropy.join(
        [(_stem(src) or f"Part {number}", _source(src)) for number, src in enumerate(srcs, 1)],
        destination,
        _options.read(options),
        overwrite,
        None if peaks is None else (peaks, peak_bits),
        _progress(progress),
        cancel or CancelToken(),
    )
    path = str(destination[1]) if destination[0] == "path" else None
    return Joined(_report(fields, data, path), tuple(_report(each, None, None) for each in inputs))


@takes_options
def peaks(
    src: Source,
    points: int,
    *,
    bits: int = 8,
    progress: Optional[ProgressLike] = None,
    cancel: Optional[CancelToken] = None,
    **options: Unpack[Options],
) -> dict[str, Any]:
    """The waveform in at most so many points, in the form of the BBC's audiowaveform (version 2).

    `data` has the lowest and the highest value of each point, of 8 or 16 bits. Of the options, those that say which audio
    matter: track, start, end, duration.

    >>> drawn = peaks("talk.mp4", 100)
    >>> drawn["length"], len(drawn["data"])
    (100, 200)
    """
    drawn: dict[str, Any] = json.loads(
        _micropy.peaks(
            _source(src), points, bits, _options.read(options), _progress(progress), cancel or CancelToken()
        )
    )
    return drawn


def probe(src: Source, *, cancel: Optional[CancelToken] = None) -> Probe:
    """Tell what is in a file: tracks, length, tags, chapters, covers.

    >>> probe("talk.mp4").tracks[0].codec
    'AAC-LC'
    """
    fields = _micropy.probe(_source(src), cancel or CancelToken())
    found = Probe(
        brand=fields["brand"],
        fragmented=fields["fragmented"],
        size=fields["size"],
        tracks=tuple(Track(**track) for track in fields["tracks"]),
        default_track=fields["default_track"],
        other_tracks=fields["other_tracks"],
        tags=MappingProxyType({key: tuple(values) for key, values in fields["tags"].items()}),
        covers=tuple(Cover(*cover) for cover in fields["covers"]),
        chapters=tuple(
            Chapter(start, end, title, picture and Cover(*picture)) for start, end, title, picture in fields["chapters"]
        ),
        warnings=tuple(fields["warnings"]),
    )
    for warning in found.warnings:
        log.warning("%s", warning)
    return found


@takes_options
async def convert_async(
    src: Source,
    dst: Optional[Destination] = None,
    *,
    overwrite: bool = True,
    peaks: Optional[int] = None,
    peak_bits: int = 8,
    progress: Optional[ProgressLike] = None,
    cancel: Optional[CancelToken] = None,
    **options: Unpack[Options],
) -> Report:
    """`convert`, without blocking the event loop: it runs in the loop's default executor.

    A task that is cancelled ends its conversion, and waits for that. Callbacks are called in the
    executor's thread.

    >>> import asyncio
    >>> asyncio.run(convert_async("talk.mp4", bitrate=64)).complete
    True
    """
    import asyncio

    # A token of this call's own: cancelling the task must not end what else the caller's token holds.
    token = CancelToken()
    loop = asyncio.get_running_loop()
    own = loop.run_in_executor(
        None,
        lambda: convert(
            src,
            dst,
            overwrite=overwrite,
            peaks=peaks,
            peak_bits=peak_bits,
            progress=progress,
            cancel=token,
            **options,
        ),
    )
    try:
        while True:
            if cancel is not None and cancel.cancelled:
                token.cancel()
            done, _ = await asyncio.wait([own], timeout=None if cancel is None else 0.05)
            if done:
                return own.result()
    except asyncio.CancelledError:
        token.cancel()
        await asyncio.wait([own])
        if not own.cancelled():
            own.exception()
        raise


@overload
def convert_many(
    pairs: Iterable[tuple[Source, Optional[Destination]]],
    *,
    on_error: Literal["raise"] = ...,
    overwrite: bool = ...,
    progress: Optional[ProgressLike] = ...,
    cancel: Optional[CancelToken] = ...,
    **options: Unpack[Options],
) -> list[Report]: ...
@overload
def convert_many(
    pairs: Iterable[tuple[Source, Optional[Destination]]],
    *,
    on_error: Union[Literal["return"], Callable[[Source, MicropyError], object]],
    overwrite: bool = ...,
    progress: Optional[ProgressLike] = ...,
    cancel: Optional[CancelToken] = ...,
    **options: Unpack[Options],
) -> list[Union[Report, MicropyError]]: ...
@takes_options
def convert_many(
    pairs: Iterable[tuple[Source, Optional[Destination]]],
    *,
    on_error: Union[str, Callable[[Source, MicropyError], object]] = "raise",
    overwrite: bool = True,
    progress: Optional[ProgressLike] = None,
    cancel: Optional[CancelToken] = None,
    **options: Unpack[Options],
) -> Union[list[Report], list[Union[Report, MicropyError]]]:
    """Convert pairs of source and destination, one after another, each on all cores.

    on_error: "raise" ends at the first that fails, "return" puts its exception in the place of its
        report, and a function is called with the source and the exception, which is returned too.
        Cancelling always ends.

    >>> made = convert_many([("talk.mp4", "talk.mp3"), ("notes.txt", "notes.mp3")], on_error="return", quality=9)
    >>> [type(one).__name__ for one in made]
    ['Report', 'NotMp4']
    """
    if on_error not in ("raise", "return") and not callable(on_error):
        raise ValueError('on_error must be "raise", "return" or a function')
    made: list[Union[Report, MicropyError]] = []
    for src, dst in pairs:
        try:
            made.append(convert(src, dst, overwrite=overwrite, progress=progress, cancel=cancel, **options))
        except Cancelled:
            raise
        except MicropyError as error:
            if on_error == "raise":
                raise
            log.warning("%s: %s", _name(src), error)
            if callable(on_error):
                on_error(src, error)
            made.append(error)
    return made
