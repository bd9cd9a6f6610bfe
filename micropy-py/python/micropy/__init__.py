"""MP4 video to MP3 audio: exact, and on all cores.

>>> import micropy
>>> micropy.convert("talk.mp4", "talk.mp3").output_sample_rate
44100
"""

from ._convert import Progress, convert, convert_async, convert_many, join, peaks, probe, split, split_chapters
from ._errors import (
    Cancelled,
    EmptyPart,
    EncodeError,
    EncryptedError,
    InternalError,
    InvalidOption,
    LimitError,
    MalformedError,
    MicropyError,
    NoAudioTrack,
    NoChapters,
    NotMp4,
    ReadError,
    TooLong,
    UnsupportedError,
    WriteError,
)
from ._micropy import CancelToken, __version__
from ._options import Options
from ._outcome import Chapter, Cover, EmptyChapter, Joined, Loudness, Probe, Report, Split, Track

__all__ = [
    "CancelToken",
    "Cancelled",
    "Chapter",
    "Cover",
    "EmptyChapter",
    "EmptyPart",
    "EncodeError",
    "EncryptedError",
    "InternalError",
    "InvalidOption",
    "Joined",
    "LimitError",
    "Loudness",
    "MalformedError",
    "MicropyError",
    "NoAudioTrack",
    "NoChapters",
    "NotMp4",
    "Options",
    "Probe",
    "Progress",
    "ReadError",
    "Report",
    "Split",
    "TooLong",
    "Track",
    "UnsupportedError",
    "WriteError",
    "__version__",
    "convert",
    "convert_async",
    "convert_many",
    "join",
    "peaks",
    "probe",
    "split",
    "split_chapters",
]
