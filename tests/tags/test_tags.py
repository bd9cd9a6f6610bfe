"""The tags, covers and chapters of an MP3 are those of its MP4, for readers and writers that are not ours.

The MP4s are made by ffmpeg and mutagen, the MP3s read back by mutagen and ffprobe.
"""

import json
import shutil
import struct
import subprocess
import zlib

import pytest
from mutagen.id3 import ID3
from mutagen.mp4 import MP4, AtomDataType, MP4Cover, MP4FreeForm

from harness import MICROPY
from harness.clips import ffmpeg

SECONDS = 12
VERSIONS = ["2.4", "2.3"]
pytestmark = pytest.mark.skipif(not shutil.which("ffmpeg") or not shutil.which("ffprobe"), reason="ffmpeg is not installed")


def tone(*arguments):
    """ffmpeg with a tone of SECONDS as its first input."""
    ffmpeg("-f", "lavfi", "-i", f"sine=frequency=440:sample_rate=44100:duration={SECONDS}", *arguments)


def convert(source, target, version="2.4"):
    older = ["--id3v23"] if version == "2.3" else []
    subprocess.run([MICROPY, "convert", source, "-o", target, *older], check=True, capture_output=True)
    return ID3(target, translate=False)


def ffprobe(what, path):
    told = subprocess.run(["ffprobe", "-v", "error", what, "-of", "json", path], check=True, capture_output=True).stdout
    return json.loads(told)


def png(side):
    """A black square, as PNG bytes."""
    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    rows = zlib.compress((b"\0" + bytes(3 * side)) * side)
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


# Item, value in the MP4, frame in ID3v2.4, its text. Several values make a list.
ITEMS = [
    ("\xa9nam", ["Tïtel 大"], "TIT2", ["Tïtel 大"]),
    ("\xa9ART", ["First", "Second"], "TPE1", ["First", "Second"]),
    ("aART", ["Album artist"], "TPE2", ["Album artist"]),
    ("\xa9alb", ["Album"], "TALB", ["Album"]),
    ("\xa9wrt", ["Composer"], "TCOM", ["Composer"]),
    ("\xa9gen", ["Krautrock"], "TCON", ["Krautrock"]),
    ("\xa9day", ["2006-07-31"], "TDRC", ["2006-07-31"]),
    ("trkn", [(3, 12)], "TRCK", ["3/12"]),
    ("disk", [(1, 0)], "TPOS", ["1"]),
    ("\xa9grp", ["Grouping"], "TIT1", ["Grouping"]),
    ("\xa9cmt", ["Comment"], "COMM::XXX", ["Comment"]),
    ("\xa9lyr", ["La\nla"], "USLT::XXX", "La\nla"),
    ("cprt", ["Copyright"], "TCOP", ["Copyright"]),
    ("tmpo", [120], "TBPM", ["120"]),
    ("cpil", True, "TCMP", ["1"]),
    ("soar", ["Artist, sorted"], "TSOP", ["Artist, sorted"]),
    ("soal", ["Album, sorted"], "TSOA", ["Album, sorted"]),
    ("sonm", ["Title, sorted"], "TSOT", ["Title, sorted"]),
    ("soaa", ["Album artist, sorted"], "TSO2", ["Album artist, sorted"]),
    ("soco", ["Composer, sorted"], "TSOC", ["Composer, sorted"]),
    ("desc", ["Description"], "TIT3", ["Description"]),
    ("\xa9mvn", ["Allegro"], "MVNM", ["Allegro"]),
    # Podcasts.
    ("ldes", ["Long description"], "TDES", ["Long description"]),
    ("catg", ["Technology"], "TCAT", ["Technology"]),
    ("keyw", ["a, b"], "TKWD", ["a, b"]),
    ("egid", ["episode-1"], "TGID", ["episode-1"]),
    # Television.
    ("tvsh", ["Show"], "TXXX:TVSHOW", ["Show"]),
    ("sosn", ["Show, sorted"], "TXXX:TVSHOWSORT", ["Show, sorted"]),
    ("tvnn", ["Network"], "TXXX:TVNETWORK", ["Network"]),
    ("tven", ["S03E07"], "TXXX:TVEPISODEID", ["S03E07"]),
    ("tvsn", [3], "TXXX:TVSEASON", ["3"]),
    ("tves", [0], "TXXX:TVEPISODE", ["0"]),
    # The library and the shop.
    ("stik", [10], "TXXX:ITUNESMEDIATYPE", ["10"]),
    ("rtng", [4], "TXXX:ITUNESADVISORY", ["4"]),
    ("hdvd", [1], "TXXX:ITUNESHDVIDEO", ["1"]),
    ("pgap", True, "TXXX:ITUNESGAPLESS", ["1"]),
    ("purd", ["2020-01-01 10:00:00"], "TXXX:ITUNESPURCHASEDATE", ["2020-01-01 10:00:00"]),
    ("sfID", [143443], "TXXX:ITUNESCOUNTRYID", ["143443"]),
    ("cnID", [1440857781], "TXXX:ITUNESCATALOGID", ["1440857781"]),
    ("atID", [909253], "TXXX:ITUNESARTISTID", ["909253"]),
    ("plID", [1440857780], "TXXX:ITUNESALBUMID", ["1440857780"]),
    ("geID", [20], "TXXX:ITUNESGENREID", ["20"]),
    ("apID", ["nina@example.org"], "TXXX:ITUNESACCOUNT", ["nina@example.org"]),
]
FREE = [
    ("ISRC", "DEXX12345678", "TSRC", ["DEXX12345678"]),
    ("LABEL", "Label", "TPUB", ["Label"]),
    ("LYRICIST", "Lyricist", "TEXT", ["Lyricist"]),
    ("MusicBrainz Album Id", "2e", "TXXX:MusicBrainz Album Id", ["2e"]),
    ("Häufig", "ja", "TXXX:Häufig", ["ja"]),
    ("replaygain_album_gain\0", "0.37\0", "TXXX:replaygain_album_gain", ["0.37"]),
    # Which of two counts does not depend on their order.
    ("ORIGINALYEAR", "1996", "TXXX:ORIGINALYEAR", ["1996"]),
    ("ORIGINALDATE", "1996-11-21", "TDOR", ["1996-11-21"]),
]
# What ID3v2.3 calls otherwise, or does not have.
OLDER = {"TDRC": ("TYER", ["2006"]), "TPE1": ("TPE1", ["First/Second"]), "TDOR": ("TORY", ["1996"])}


def text_of(frame):
    """The text of a frame as the tables have it."""
    return frame.text if isinstance(frame.text, str) else [str(text) for text in frame.text]


@pytest.fixture(scope="module")
def cover():
    return png(300)


@pytest.fixture(scope="module")
def tagged(cover, tmp_path_factory):
    """An MP4 with every item of the tables."""
    path = tmp_path_factory.mktemp("tags") / "tags.m4a"
    tone("-c:a", "aac", path)
    mp4 = MP4(path)
    for item, value, *_ in ITEMS:
        mp4[item] = value
    mp4["\xa9mvi"], mp4["\xa9mvc"] = [2], [4]
    for name, value, *_ in FREE:
        mp4["----:com.apple.iTunes:" + name] = [value.encode()]
    mp4["----:com.apple.iTunes:MusicBrainz Track Id"] = [b"1f-2"]
    smpb = MP4FreeForm(b" 00000000 00000400 00000000 0000000000081340", AtomDataType.UTF8)
    mp4["----:com.apple.iTunes:iTunSMPB"] = [smpb]
    mp4["pcst"], mp4["purl"] = True, ["http://example.org/feed"]
    mp4["covr"] = [MP4Cover(cover, MP4Cover.FORMAT_PNG)]
    mp4.save()
    return path


@pytest.fixture(scope="module", params=VERSIONS)
def mp3(tagged, request):
    """The version of ID3, the path of the MP3, its tags."""
    path = tagged.with_suffix(f".{request.param}.mp3")
    return request.param, path, convert(tagged, path, request.param)


@pytest.mark.parametrize("frame, text", [(frame, text) for _, _, frame, text in ITEMS + FREE])
def test_an_item_becomes_its_frame(mp3, frame, text):
    version, _, tags = mp3
    frame, text = OLDER.get(frame, (frame, text)) if version == "2.3" else (frame, text)
    assert text_of(tags[frame]) == text


def test_frames_without_an_item_of_their_own(mp3):
    version, _, tags = mp3
    assert tags.version[:2] == (2, int(version[2]))
    assert text_of(tags["MVIN"]) == ["2/4"]
    assert tags["UFID:http://musicbrainz.org"].data == b"1f-2"
    assert tags["TSSE"].text[0].startswith("Micropy ")
    assert "PCST" in tags and tags["WFED"].url == "http://example.org/feed"
    assert [key for key in tags if "SMPB" in key] == []


def test_the_cover_keeps_its_bytes_for_mutagen_and_for_ffmpeg(mp3, cover):
    _, path, tags = mp3
    assert [(p.type, p.mime, p.data == cover) for p in tags.getall("APIC")] == [(3, "image/png", True)]
    command = ["ffmpeg", "-v", "error", "-i", path, "-map", "0:v:0", "-c", "copy", "-f", "image2pipe", "-"]
    assert subprocess.run(command, check=True, capture_output=True).stdout == cover


def test_ffprobe_reads_the_tags(mp3):
    told = ffprobe("-show_format", mp3[1])["format"]["tags"]
    assert (told.get("title"), told.get("comment"), told.get("track"), told.get("date", "")[:4]) == ("Tïtel 大", "Comment", "3/12", "2006")


@pytest.fixture(scope="module", params=[3, 300])
def book(tmp_path_factory, request):
    """A book with so many chapters, as ffmpeg writes them: a QuickTime text track and Nero's list. And the chapters."""
    length, count, folder = SECONDS * 1000, request.param, tmp_path_factory.mktemp("chapters")
    bounds = [length * i // count for i in range(count + 1)]
    expected = [(a, b, f"Kapitel {i} «ß»") for i, (a, b) in enumerate(zip(bounds, bounds[1:]))]
    entries = [f"[CHAPTER]\nTIMEBASE=1/1000\nSTART={a}\nEND={b}\ntitle={t}\n" for a, b, t in expected]
    (folder / "chapters.txt").write_text(";FFMETADATA1\n" + "".join(entries))
    path = folder / "book.m4b"
    tone("-i", folder / "chapters.txt", "-map", "0:a", "-map_chapters", "1", "-c:a", "aac", "-f", "mp4", path)
    return path, expected


@pytest.mark.parametrize("version", VERSIONS)
def test_chapters_keep_their_times_titles_and_order(book, version):
    source, expected = book
    target = source.with_suffix(f".{version}.mp3")
    tags = convert(source, target, version)
    found = ffprobe("-show_chapters", target)["chapters"]
    assert len(found) == len(expected)
    times = [(round(float(c["start_time"]) * 1000), round(float(c["end_time"]) * 1000)) for c in found]
    assert [pair for pair, (a, b, _) in zip(times, expected) if abs(pair[0] - a) > 1 or abs(pair[1] - b) > 1] == []
    assert [c["tags"].get("title", "") for c in found] == [title for _, _, title in expected]
    [top] = [toc for toc in tags.getall("CTOC") if toc.flags & 2]
    leaves = top.child_element_ids
    if leaves and leaves[0].startswith("toc"):
        leaves = [leaf for toc in leaves for leaf in tags["CTOC:" + toc].child_element_ids]
    starts = [tags["CHAP:" + leaf].start_time for leaf in leaves]
    assert (starts, len(starts)) == (sorted(starts), len(expected))


def with_pictures_named(mp4, track):
    """An MP4 whose chapters' titles are a track, with `track` beside it in each list of such tracks."""
    if len(mp4) < 8:
        return mp4
    size, kind = struct.unpack(">I4s", mp4[:8])
    body = mp4[8:size]
    if kind == b"chap":
        body += struct.pack(">I", track)
    elif kind in (b"moov", b"trak", b"tref"):
        body = with_pictures_named(body, track)
    return struct.pack(">I4s", len(body) + 8, kind) + body + with_pictures_named(mp4[size:], track)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", ["mov", "mp4"])
def test_the_pictures_of_chapters_are_in_their_frames(tmp_path, kind, version):
    count, seconds = 3, SECONDS // 3
    for i, colour in enumerate(("red", "green", "blue")):
        ffmpeg("-f", "lavfi", "-i", f"color={colour}:size=64x64", "-frames:v", "1", tmp_path / f"{i}.jpg")
    entries = [f"[CHAPTER]\nTIMEBASE=1/1\nSTART={i * seconds}\nEND={(i + 1) * seconds}\ntitle=Part {i}\n" for i in range(count)]
    (tmp_path / "chapters.txt").write_text(";FFMETADATA1\n" + "".join(entries))
    pictures = ["-framerate", f"1/{seconds}", "-start_number", "0", "-i", tmp_path / "%d.jpg"]
    maps = ["-map", "0:a", "-map", "2:v", "-map_chapters", "1", "-c:v", "copy", "-c:a", "aac"]
    made = tmp_path / f"made.{kind}"
    tone("-i", tmp_path / "chapters.txt", *pictures, *maps, made)
    source = tmp_path / f"podcast.{kind}"
    # `moov` is the last box: nothing that it points to moves.
    source.write_bytes(with_pictures_named(made.read_bytes(), 2))
    told = subprocess.run([MICROPY, "probe", "--json", source], check=True, capture_output=True).stdout
    assert [chapter["picture"] for chapter in json.loads(told)["chapters"]] == [
        {"type": "image/jpeg", "bytes": (tmp_path / f"{i}.jpg").stat().st_size} for i in range(count)
    ]
    tags = convert(source, tmp_path / "podcast.mp3", version)
    chapters = [tags[f"CHAP:chp{i}"] for i in range(count)]
    assert [chapter.sub_frames["TIT2"].text for chapter in chapters] == [[f"Part {i}"] for i in range(count)]
    found = [chapter.sub_frames.getall("APIC") for chapter in chapters]
    assert [[(p.mime, p.data) for p in pictures] for pictures in found] == [
        [("image/jpeg", (tmp_path / f"{i}.jpg").read_bytes())] for i in range(count)
    ]
    folder = tmp_path / "split"
    subprocess.run([MICROPY, "convert", source, "--split-chapters", folder], check=True, capture_output=True)
    for i, path in enumerate(sorted(folder.iterdir())):
        [picture] = ID3(path).getall("APIC")
        assert picture.data == (tmp_path / f"{i}.jpg").read_bytes()


@pytest.mark.parametrize("flags", [[], ["-movflags", "use_metadata_tags"]], ids=["strings", "keys"])
def test_the_metadata_of_quicktime_becomes_frames(tmp_path, flags):
    source = tmp_path / "tagged.mov"
    tone("-c:a", "aac", "-metadata", "title=Tïtel", "-metadata", "artist=Künstler", "-metadata", "comment=Ça", *flags, source)
    tags = convert(source, tmp_path / "tagged.mp3")
    assert [text_of(tags[frame]) for frame in ("TIT2", "TPE1", "COMM::XXX")] == [["Tïtel"], ["Künstler"], ["Ça"]]
