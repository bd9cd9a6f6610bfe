"""The options that all conversions share, each named once."""

from __future__ import annotations

import inspect
import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Callable, Mapping, Optional, TypedDict, TypeVar, Union

if TYPE_CHECKING:
    from typing_extensions import TypeAlias

Path: TypeAlias = "Union[str, os.PathLike[str]]"
Time: TypeAlias = "Union[int, float, timedelta]"

F = TypeVar("F", bound=Callable[..., Any])


class Options(TypedDict, total=False):
    """Which audio is converted, and to what MP3: the keyword arguments that every conversion takes."""

    bitrate: Optional[int]
    """Constant bitrate in kbit/s."""
    vbr: Optional[float]
    """Variable bitrate by quality, 0 (best) to 9.999; 2 where nothing is said."""
    abr: Optional[int]
    """Average bitrate in kbit/s."""
    quality: Optional[int]
    """LAME's effort, 0 (best) to 9 (fastest)."""
    sample_rate: Optional[int]
    """In Hz; the source's, or the nearest that MP3 has, where nothing is said."""
    channels: Optional[int]
    """1 or 2; the source's, or a mixdown to 2, where nothing is said."""
    unscaled_downmix: bool
    """Mix surround down at full level, which may clip."""
    preset: Optional[str]
    """Options by what the MP3 is for: "speech", "podcast", "music", "small" or "moviepy"; others given beside it win."""
    track: Union[int, str, None]
    """The audio track, by place from 0 or by language ("eng")."""
    start: Optional[Time]
    """Skip so much: seconds, or timedelta."""
    end: Optional[Time]
    """Stop there."""
    duration: Optional[Time]
    """Convert so much and no more."""
    late_start: bool
    """Put silence before audio that starts later than the video."""
    trim_silence: bool
    """Leave out silence at the start and the end: what lies below -50 dBFS."""
    fit: Optional[int]
    """The most bytes that the MP3 may have, tags included: bitrate, channels and sample rate follow."""
    format: Optional[str]
    """"mp3" where nothing is said, "wav" (16 bits), "wav-f32" (floats), or PCM without a header: "s16le", "f32le"."""
    fade_in: Optional[Time]
    fade_out: Optional[Time]
    normalize: Optional[float]
    """Loudness to bring the audio to, in LUFS."""
    replay_gain: bool
    """Measure the loudness and write it."""
    copy_tags: bool
    """Take over tags, cover and chapters: so it is where nothing is said."""
    tags: Optional[Mapping[str, Optional[str]]]
    """Values to set; None or "" removes one."""
    cover: Union[bytes, Path, None]
    """A picture, as bytes or a path."""
    id3v23: bool
    """Write ID3v2.3."""
    jobs: Optional[int]
    """Worker threads, one for each core where nothing is said; the MP3 is the same for every number."""


_NAMES = tuple(Options.__annotations__)
_TIMES = ("start", "end", "duration", "fade_in", "fade_out")
_FLAGS = {
    "unscaled_downmix": False,
    "late_start": False,
    "trim_silence": False,
    "replay_gain": False,
    "copy_tags": True,
    "id3v23": False,
}


def takes_options(function: F) -> F:
    """Show the options of `function` by their names, in `help()` and wherever signatures are asked for."""
    parameter = inspect.Parameter
    own = [p.replace(annotation=parameter.empty) for p in inspect.signature(function).parameters.values()]
    options = [parameter(name, parameter.KEYWORD_ONLY, default=_FLAGS.get(name)) for name in _NAMES]
    places = [p for p in own if p.kind is parameter.POSITIONAL_OR_KEYWORD]
    others = [p for p in own if p.kind is parameter.KEYWORD_ONLY]
    setattr(function, "__signature__", inspect.Signature([*places, *options, *others]))
    return function


def read(options: Mapping[str, Any]) -> dict[str, object]:
    """What the engine takes for `options`."""
    for name in options:
        if name not in _NAMES:
            raise TypeError(f"there is no option {name!r}")
    read = dict(options)
    for name in _TIMES:
        if isinstance(read.get(name), timedelta):
            read[name] = read[name].total_seconds()
    if read.get("tags") is not None:
        read["tags"] = [(key, value or "") for key, value in read["tags"].items()]
    if isinstance(read.get("fit"), str):
        raise TypeError("fit is a number of bytes")
    if isinstance(read.get("cover"), (str, os.PathLike)):
        with open(read["cover"], "rb") as file:
            read["cover"] = file.read()
    return read
