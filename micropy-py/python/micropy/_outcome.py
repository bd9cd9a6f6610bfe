"""What was found and done."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Iterable, List, Mapping, Optional


@dataclass(frozen=True)
class Loudness:
    """Loudness by EBU R 128 of what was converted, before any gain."""

    integrated: Optional[float]
    """Integrated loudness in LUFS; None where all is silence."""
    true_peak: float
    """Highest true peak in dBTP; minus infinity for digital silence."""
    gain: float
    """The gain in dB that was applied to normalize it."""


@dataclass(frozen=True)
class Report:
    """What a conversion did. Counts of PCM samples are per channel, times in seconds."""

    codec: str
    """The source's coding with its profile, such as `AAC-LC`."""
    copied: bool
    """The source's MP3 frames were taken over as they are."""
    input_sample_rate: int
    input_channels: int
    input_samples: int
    """PCM samples of the source that were converted (after edit list and trim)."""
    input_bytes: int
    packets: int
    expected_packets: int
    concealed_packets: int
    """Packets that could not be decoded and were replaced by silence of their length, or hold more and were cut."""
    output_sample_rate: int
    output_channels: int
    output_samples: int
    output_bytes: int
    frames: int
    duration: float
    """Length of the MP3."""
    expected_duration: Optional[float]
    """Length that the container declares; more than `duration` in a file that breaks off."""
    mean_bitrate: float
    """Of the MP3 in bit/s, tags included."""
    complete: bool
    """False where the source breaks off before its end: the MP3 is what was there."""
    loudness: Optional[Loudness]
    """How loud the source is, where it was measured."""
    warnings: tuple[str, ...]
    data: Optional[bytes] = field(default=None, repr=False)
    """The MP3, where no destination was given."""
    path: Optional[str] = None
    """The file that was written, where it was one."""
    peaks: Optional[dict[str, Any]] = field(default=None, repr=False)
    """The waveform, where one was asked for: as that of the function `peaks`."""

    def to_dict(self) -> dict[str, Any]:
        """As plain values, without `data`."""
        fields = asdict(self)
        del fields["data"]
        fields["warnings"] = list(self.warnings)
        return fields


@dataclass(frozen=True)
class Joined:
    """What became of sources that were joined."""

    report: Report
    """Of the MP3; what was read counts for all sources together."""
    inputs: tuple[Report, ...]
    """Of each source, with its own warnings."""


@dataclass(frozen=True)
class EmptyChapter:
    """A chapter or another part of which no MP3 was made: there is no audio for it."""

    title: str
    """Only chapters have one."""
    start: float
    """Where it begins, in seconds of the presentation."""
    complete: bool
    """True where its marker stands at or after the end of the audio, so that nothing is lost; False where the audio
    that the file declares for it is missing."""
    warnings: tuple[str, ...]
    """Why it is missing."""


class Split(List[Report]):
    """The reports of the parts that are MP3s, in order: a list."""

    def __init__(self, reports: Iterable[Report], empty: Iterable[EmptyChapter]) -> None:
        super().__init__(reports)
        self.empty = tuple(empty)
        """The parts without audio, of which there is no MP3."""

    @property
    def complete(self) -> bool:
        """False where the source breaks off, or something of it is missing: the MP3s are what was there."""
        return all(report.complete for report in self) and all(chapter.complete for chapter in self.empty)


@dataclass(frozen=True)
class Track:
    """One audio track of a file."""

    id: int
    codec: Optional[str]
    problem: Optional[str]
    """Why it cannot be converted, if it cannot."""
    sample_rate: Optional[int]
    channels: Optional[int]
    language: Optional[str]
    """ISO 639-2 code."""
    enabled: bool
    packets: int
    samples: Optional[int]
    duration: Optional[float]
    bitrate: Optional[int]


@dataclass(frozen=True)
class Cover:
    """A picture."""

    mime: str
    data: bytes = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Its type and size."""
        return {"type": self.mime, "bytes": len(self.data)}


@dataclass(frozen=True)
class Chapter:
    """A chapter, in seconds of the presentation."""

    start: float
    end: float
    title: str
    picture: Optional[Cover] = None
    """Its picture, in podcasts and audiobooks that have one for each chapter."""


@dataclass(frozen=True)
class Probe:
    """What is in a file."""

    brand: Optional[str]
    fragmented: bool
    size: Optional[int]
    tracks: tuple[Track, ...]
    """The audio tracks, in file order."""
    default_track: Optional[int]
    """The track that a conversion takes by default, by its place among them."""
    other_tracks: int
    tags: Mapping[str, tuple[str, ...]]
    covers: tuple[Cover, ...]
    chapters: tuple[Chapter, ...]
    warnings: tuple[str, ...]

    @property
    def duration(self) -> Optional[float]:
        """Length of the default track in seconds."""
        return None if self.default_track is None else self.tracks[self.default_track].duration

    def to_dict(self) -> dict[str, Any]:
        """As plain values; of pictures their type and size."""
        return {
            "brand": self.brand,
            "fragmented": self.fragmented,
            "size": self.size,
            "tracks": [asdict(track) for track in self.tracks],
            "default_track": self.default_track,
            "other_tracks": self.other_tracks,
            "tags": {key: list(values) for key, values in self.tags.items()},
            "covers": [cover.to_dict() for cover in self.covers],
            "chapters": [
                {**asdict(chapter), "picture": chapter.picture and chapter.picture.to_dict()} for chapter in self.chapters
            ],
            "warnings": list(self.warnings),
        }
