"""What can go wrong, told apart by what the caller should do about it."""

from __future__ import annotations


class MicropyError(Exception):
    """Why a conversion or a probe did not happen: the base of all the others."""


class ReadError(MicropyError, OSError):
    """The source could not be read; `errno` and `__cause__` say why."""


class WriteError(MicropyError, OSError):
    """The destination could not be written; `errno` and `__cause__` say why."""


class MalformedError(MicropyError):
    """The bytes are not what the format asks for."""

    at: int
    """Byte offset in the source of the structure that is wrong."""
    what: str
    """The structure: a box such as `stsz`, a packet, an MP3 frame."""
    why: str
    """What is wrong with it."""


class NotMp4(MicropyError):
    """The source is no MP4, M4A, MOV or 3GP file at all."""

    why: str
    """What was found instead."""


class UnsupportedError(MicropyError):
    """The source is sound but uses something that cannot be converted."""

    what: str
    """What is not supported, by its name in the standards."""


class NoAudioTrack(MicropyError):
    """There is no audio track, or not the one asked for."""

    why: str
    """Which one was asked for; empty where there is none at all."""


class EmptyPart(MicropyError):
    """The part that was asked for holds no audio: `start` lies behind its end, or a chapter does."""

    start: float
    """Where the part begins, in seconds."""


class NoChapters(MicropyError):
    """Chapters were asked for, and there are none."""


class EncryptedError(MicropyError):
    """The audio track is encrypted."""

    scheme: str
    """The protection scheme, such as `cenc`."""


class LimitError(MicropyError):
    """The source asks for more than a limit allows."""

    at: int
    """Byte offset in the source."""
    what: str
    """What is too large or too many."""
    limit: int
    """The limit, in the unit that `what` names."""


class InvalidOption(MicropyError, ValueError):
    """An option is out of range, or contradicts another."""


class TooLong(MicropyError, ValueError):
    """Even at the lowest bitrate, the MP3 would be larger than it may be."""

    length: float
    """How long the audio is, or the longest part of it, in seconds."""
    bytes: int
    """The most bytes that the MP3 may have."""
    fits: float
    """How many seconds fit; 0 where the tags alone do not."""


class EncodeError(MicropyError):
    """The MP3 encoder refused or failed."""


class InternalError(MicropyError):
    """A fault of this library: please report it with the file."""


class Cancelled(MicropyError):
    """The caller cancelled."""
