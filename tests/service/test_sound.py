"""Only the sound of a video is uploaded: the MP3 is that of the whole video, and what is sent is hardly more than the
sound."""

import base64
import importlib.util
import json
import random
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from hashlib import sha256
from urllib.parse import urlsplit

import pytest

from harness import MICROPY, ROOT
from harness.clips import FIRST, GOOD, OTHER, SILENT, Clip, clip, ffmpeg
from harness.clock import until
from harness.spread import spread

EXAMPLE = ROOT / "examples" / "upload_sound.py"
#: H.264 of little to compress: what is on the wire is far more than the sound.
NOISE = "-f", "lavfi", "-i", "testsrc2=size=320x240:rate=25:duration=4,noise=alls=60"
TONE = "-f", "lavfi", "-i", "sine=frequency=330:sample_rate=44100:duration=4"
OTHER_TONE = "-f", "lavfi", "-i", "sine=frequency=700:sample_rate=44100:duration=4"
BOTH = "-map", "0:v", "-map", "1:a"
PICTURES = "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"
AAC = "-c:a", "aac", "-b:a", "96k"
CHAPTERS = """;FFMETADATA1
title=A talk
artist=Ann
[CHAPTER]
TIMEBASE=1/1000
START=0
END=1500
title=Größe
[CHAPTER]
TIMEBASE=1/1000
START=1500
END=4000
title=The end
"""

#: Videos by name: what ffmpeg is told to make them, and the options of the upload.
VIDEOS = {
    "moov last.mp4": ([*NOISE, *TONE, *BOTH, *PICTURES, *AAC], {"bitrate": 128}),
    "moov first.mp4": ([*NOISE, *TONE, *BOTH, *PICTURES, *AAC, "-movflags", "+faststart"], {}),
    "fragmented.mp4": ([*NOISE, *TONE, *BOTH, *PICTURES, "-g", "25", *AAC, "-movflags", "+frag_keyframe+empty_moov"], {}),
    "fragments based on moof.mp4": ([*NOISE, *TONE, *BOTH, *PICTURES, "-g", "25", *AAC,
                                     "-movflags", "+frag_keyframe+default_base_moof+omit_tfhd_offset"], {}),
    "samples and fragments.mp4": ([*NOISE, *TONE, *BOTH, *PICTURES, "-g", "25", *AAC, "-movflags", "+frag_keyframe"], {}),
    "chapters.mp4": ([*NOISE, *TONE, "-i", "chapters.txt", "-map_metadata", "2", "-map_chapters", "2", *BOTH, *PICTURES, *AAC], {}),
    "split.mp4": ([*NOISE, *TONE, "-i", "chapters.txt", "-map_chapters", "2", *BOTH, *PICTURES, *AAC], {"split": "chapters"}),
    "the second track.mp4": ([*NOISE, *TONE, *OTHER_TONE, *BOTH, "-map", "2:a", *PICTURES, *AAC], {"track": 1}),
    "by language.mp4": ([*NOISE, *TONE, *OTHER_TONE, *BOTH, "-map", "2:a", *PICTURES, *AAC, "-metadata:s:a:0", "language=eng",
                         "-metadata:s:a:1", "language=deu"], {"language": "de", "mono": "true"}),
    "late and cut.mp4": ([*NOISE, "-itsoffset", "0.5", *TONE, *BOTH, *PICTURES, *AAC], {"start": 1, "duration": 2, "late_start": "true"}),
    "pcm.mov": ([*NOISE, *TONE, *BOTH, *PICTURES, "-c:a", "pcm_s16le"], {"normalize": -16}),
    "alac.mov": ([*NOISE, *TONE, *BOTH, *PICTURES, "-c:a", "alac"], {}),
    "ac3.mp4": ([*NOISE, *TONE, *BOTH, *PICTURES, "-c:a", "ac3"], {}),
    "mp3.mp4": ([*NOISE, *TONE, *BOTH, *PICTURES, "-c:a", "libmp3lame"], {}),
}


@pytest.fixture(scope="module")
def talker(service):
    return service.user("talker@example.com")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    (folder / "chapters.txt").write_text(CHAPTERS)
    return folder


def outline(data):
    """Everything but the media, as docs/api.md has it."""
    kept, at = b"", 0
    while len(data) - at >= 8:
        size, kind = struct.unpack_from(">I4s", data, at)
        head = 8
        if size == 1:
            size, head = struct.unpack_from(">Q", data, at + 8)[0], 16
        elif size == 0:
            size = len(data) - at
        whole = kind in (b"ftyp", b"moov", b"moof", b"meta", b"udta", b"sidx")
        kept += data[at:at + (size if whole else head)]
        at += size
    return kept


def ask(user, body, size, encoding=None, **query):
    query = "".join(f"&{name}={value}" for name, value in query.items())
    headers = {"Content_Encoding": encoding} if encoding else {}
    return user.ask("POST", f"/api/v1/sound?size={size}{query}", body, Content_Type="application/octet-stream", **headers)


def sound_of(user, data, **query):
    """The file that the parts make, and the answer."""
    reply = ask(user, zlib.compress(outline(data)), len(data), "deflate", **query)
    assert reply.status == 200, reply
    answer = reply.json()
    parts = [base64.b64decode(part) if isinstance(part, str) else data[part[0]:sum(part)] for part in answer["parts"]]
    assert all(isinstance(part, str) or sum(part) <= len(data) for part in answer["parts"])
    made = b"".join(parts)
    assert len(made) == answer["size"]
    return made, answer


@pytest.mark.parametrize("name", VIDEOS)
def test_the_mp3_is_that_of_the_whole_video(talker, folder, name):
    words, options = VIDEOS[name]
    words = [folder / word if word == "chapters.txt" else word for word in words]
    ffmpeg(*words, folder / name)
    data = (folder / name).read_bytes()
    chosen = {key: options[key] for key in ("track", "language") if key in options}
    sound, answer = sound_of(talker, data, **chosen)
    assert "whole" not in answer and len(sound) < len(data) / 2, (answer.get("whole"), len(sound), len(data))
    query = "&".join(f"{key}={value}" for key, value in options.items())
    jobs = [talker.uploaded(Clip(name, file), path=f"/api/v1/uploads?{query}") for file in (data, sound)]
    assert [job["state"] for job in jobs] == ["done", "done"], jobs
    mp3s = [sha256(talker.get(job["mp3"]["url"]).body).hexdigest() for job in jobs]
    assert mp3s[0] == mp3s[1]
    assert jobs[0]["mp3"]["report"] == jobs[1]["mp3"]["report"]
    # It is a file of its own, also for others.
    (folder / "sound").write_bytes(sound)
    heard = subprocess.run(["ffmpeg", "-v", "error", "-xerror", "-i", folder / "sound", "-map", "0:a:" + str(options.get("track", 0)),
                            "-f", "md5", "-"], capture_output=True, text=True)
    whole = subprocess.run(["ffmpeg", "-v", "error", "-i", folder / name, "-map", "0:a:" + str(options.get("track", 0)),
                            "-f", "md5", "-"], capture_output=True, text=True)
    if "language" not in options:
        assert (heard.stdout, heard.stderr) == (whole.stdout, whole.stderr)


def test_a_file_that_is_little_else_than_sound_is_sent_whole(talker):
    for file, why in (OTHER, "little else"), (SILENT, "no audio track"), (clip("encrypted-cenc.mp4"), "encrypted"):
        sound, answer = sound_of(talker, file.data)
        assert sound == file.data and answer["parts"] == [[0, len(file.data)]]
        assert why in answer["whole"], answer


def test_so_is_a_damaged_file(talker):
    cut = FIRST.data[:-1000]
    # Its last box goes on behind the end: there is no outline.
    assert ask(talker, outline(FIRST.data), len(cut)).status == 422
    data = bytearray(GOOD.data)
    at = data.rindex(b"stsz")
    data[at + 12:at + 16] = b"\0\0\xff\xff"
    _, answer = sound_of(talker, bytes(data))
    assert "whole" in answer


def test_where_flask_converters_may_come_the_video_is_sent_whole(start):
    service = start("serve", unowned_downloads=True)
    _, answer = sound_of(service.user("ann@example.com"), GOOD.data)
    assert "converters" in answer["whole"] and answer["size"] == len(GOOD.data)


def test_what_is_no_outline_is_refused_by_name(talker):
    good, size = outline(GOOD.data), len(GOOD.data)
    for reply, status, why in [
        (ask(talker, good[:-1], size), 422, "ends inside it"),
        (ask(talker, good + b"more", size), 422, "goes on"),
        (ask(talker, good, size + 1000), 422, "outline"),
        (ask(talker, b"", size), 422, "outline"),
        (ask(talker, GOOD.data, size), 422, "outline"),
        (ask(talker, good, size, "deflate"), 400, "deflate"),
        (ask(talker, good, size, "gzip"), 415, "deflate"),
        (ask(talker, zlib.compress(bytes(40 << 20)), size, "deflate"), 413, "33554432"),
        (ask(talker, good, size, bitrate=128), 400, "bitrate"),
        (ask(talker, good, size, track=1, language="en"), 400, "exclude"),
        (talker.ask("POST", "/api/v1/sound", good), 400, "size"),
    ]:
        assert reply.status == status, (status, why, reply)
        assert why in reply.json()["detail"], reply
    assert ask(talker, bytes(33 << 20), size).status == 413
    assert ask(talker, good, size).status == 200


def test_answers_that_nobody_reads_are_counted(service):
    eve = service.user("eve.sound@example.com")
    address = urlsplit(service.url)
    data = GOOD.data + struct.pack(">I4s", 6 << 20, b"udta") + bytes((6 << 20) - 8)
    body = zlib.compress(outline(data) + struct.pack(">I4s", 1 << 30, b"free"))
    size = len(data) + (1 << 30)
    head = (f"POST /api/v1/sound?size={size} HTTP/1.1\r\nHost: {address.netloc}\r\nAuthorization: Bearer {eve.token}\r\n"
            f"Content-Type: application/octet-stream\r\nContent-Encoding: deflate\r\nContent-Length: {len(body)}\r\n\r\n")
    waiting = []
    for _ in range(2):
        client = socket.socket()
        # Little of the answer lies in the system's buffers.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect((address.hostname, address.port))
        client.sendall(head.encode() + body)
        assert client.recv(12) == b"HTTP/1.1 200"
        waiting.append(client)
    assert ask(eve, body, size, "deflate").status == 429
    for client in waiting:
        client.close()
    assert until(lambda: ask(eve, body, size, "deflate").status == 200, 20)


def test_what_would_be_large_beside_the_stretches_is_sent_whole(talker):
    data = GOOD.data + struct.pack(">I4s", 9 << 20, b"udta") + bytes((9 << 20) - 8)
    body = zlib.compress(outline(data) + struct.pack(">I4s", 1 << 30, b"free"))
    answer = ask(talker, body, len(data) + (1 << 30), "deflate").json()
    assert "too large" in answer["whole"] and len(answer["parts"]) == 1


def test_ranges_beyond_the_file_are_none(talker):
    """A table that names bytes which the file does not have, or which are so many that nobody could send them."""
    good = outline(GOOD.data)
    at = good.rindex(b"stco")
    for offset in 0xFFFFFFF0, len(GOOD.data), 7:
        data = good[:at + 12] + struct.pack(">I", offset) + good[at + 16:]
        answer = ask(talker, data, len(GOOD.data)).json()
        assert "whole" in answer or all(isinstance(part, str) or sum(part) <= len(GOOD.data) for part in answer["parts"])
    at = good.rindex(b"stsz")
    many = good[:at + 8] + struct.pack(">II", 1, 0xFFFFFFFF) + good[at + 16:]
    answer = ask(talker, many, len(GOOD.data)).json()
    assert "whole" in answer


@pytest.fixture(scope="module")
def program():
    spec = importlib.util.spec_from_file_location("upload_sound", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Counter:
    """A proxy that counts what passes. Where it is told to, it breaks off after so many bytes, or lets no more than a `rate`
    of bytes a second through, each way."""

    def __init__(self, port):
        self.port, self.sent, self.received, self.left, self.rate = port, 0, 0, None, None
        self.free, self.lock = {"sent": 0.0, "received": 0.0}, threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.port))
            threading.Thread(target=self.pass_on, args=(client, server, "sent"), daemon=True).start()
            threading.Thread(target=self.pass_on, args=(server, client, "received"), daemon=True).start()

    def pass_on(self, one, other, what):
        try:
            while data := one.recv(1 << 16):
                if what == "sent" and self.left is not None:
                    self.left -= len(data)
                    if self.left < 0:
                        self.left = None
                        break
                with self.lock:
                    setattr(self, what, getattr(self, what) + len(data))
                if self.rate:
                    self.pass_slowly(data, what)
                other.sendall(data)
        except OSError:
            pass
        for end in one, other:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def pass_slowly(self, data, what):
        with self.lock:
            now = time.monotonic()
            self.free[what] = end = max(self.free[what], now) + len(data) / self.rate
        time.sleep(end - now)

    def close(self):
        self.listener.close()


@pytest.fixture
def wire(service):
    wire = Counter(service.port)
    yield wire
    wire.close()


def tables(samples):
    """Tables as those of a video's samples: sizes, times and places."""
    rng = random.Random(1)
    sizes = [rng.randrange(8_000, 60_000) for _ in range(samples)]
    places = [index * 38_000 + rng.randrange(2_000) for index in range(samples)]
    times = [rng.choice([0, 512, 1024]) for _ in range(samples)]
    return (struct.pack(f">{samples}I", *sizes) + struct.pack(f">{samples}I", *places)
            + b"".join(struct.pack(">II", 1, time) for time in times))


@pytest.fixture(scope="module")
def ten_minutes(folder):
    """Ten minutes of AAC at 128 kbit/s."""
    noise = "anoisesrc=duration=600:sample_rate=44100:amplitude=0.3:seed=1"
    ffmpeg("-f", "lavfi", "-i", noise, "-ac", "2", "-c:a", "aac", "-b:a", "128k", folder / "talk.m4a")
    return folder / "talk.m4a"


@pytest.fixture(scope="module")
def talk(folder, ten_minutes):
    """Ten minutes of sound, spread over 700 MB: the path, and bytes of its sound."""
    path = folder / "talk.mp4"
    audio = spread(ten_minutes, path, 700_000_000, moov_first=False, per_chunk=2, other_tables=tables(18_000))
    return path, audio


def test_ten_minutes_of_700_mb_cost_their_sound(service, talker, program, wire, talk, tmp_path):
    path, audio = talk
    program.URL, program.TOKEN = program.urllib.parse.urlsplit(wire.url), talker.token
    job = program.upload(str(path), str(tmp_path / "talk.mp3"), {"bitrate": "128"})
    print(f"{audio} bytes of sound: {wire.sent} sent, {wire.received} received")
    assert 9_000_000 < audio < wire.sent < 1.05 * audio
    assert wire.received < 0.05 * audio
    job = talker.job(job, seconds=300)
    assert job["state"] == "done", job
    subprocess.run([MICROPY, "convert", path, "-o", tmp_path / "whole.mp3", "--bitrate", "128"], check=True, stdin=subprocess.DEVNULL)
    assert talker.get(job["mp3"]["url"]).body == (tmp_path / "whole.mp3").read_bytes()


@pytest.mark.full
@pytest.mark.timeout(600)
def test_a_phone_video_of_2_gb_is_done_within_a_minute_on_a_line_of_10_mbit(service, talker, program, wire, ten_minutes, folder):
    path = folder / "phone.mp4"
    # Two packets of sound a chunk and the index behind the media, as phones write it, at 30 frames a second.
    audio = spread(ten_minutes, path, 2_000_000_000, moov_first=False, per_chunk=2, other_tables=tables(18_000))
    program.URL, program.TOKEN = program.urllib.parse.urlsplit(wire.url), talker.token
    wire.rate = 10_000_000 / 8
    began = time.monotonic()
    job = program.upload(str(path), str(folder / "phone.mp3"), {"bitrate": "128"})
    uploaded = time.monotonic() - began
    job = talker.job(job, seconds=300)
    done = time.monotonic() - began
    assert job["state"] == "done", job
    _, mp3 = program.ask("GET", f"/api/v1/jobs/{job['id']}/mp3")
    got = time.monotonic() - began
    print(f"{path.stat().st_size} bytes, {audio} of them sound: {wire.sent} sent in {uploaded:.1f} s, done after {done:.1f} s, "
          f"an MP3 of {len(mp3)} bytes downloaded after {got:.1f} s")
    assert path.stat().st_size >= 1_999_000_000 and job["mp3"]["report"]["duration"] == pytest.approx(600, abs=1)
    assert uploaded > 0.9 * wire.sent / wire.rate, "the line is as slow as that"
    assert wire.sent < 1.05 * audio
    assert done < 60


def test_the_example_converts_and_goes_on_where_it_stopped(service, talker, wire, folder, tmp_path):
    ffmpeg(*NOISE, *TONE, *BOTH, *PICTURES, "-c:a", "pcm_s16le", folder / "long.mov")

    def run(url):
        return subprocess.Popen(
            [sys.executable, EXAMPLE, folder / "long.mov", tmp_path / "long.mp3", "vbr=4"], stderr=subprocess.PIPE, text=True,
            env={"MICROPY_URL": url, "MICROPY_TOKEN": talker.token, "PATH": "/usr/bin:/bin"})
    kept = tmp_path / "long.mp3.upload"
    wire.left = 150_000
    first = run(wire.url)
    assert until(kept.exists, 20) and until(lambda: wire.left is None, 20)
    first.kill()
    first.wait()
    place = json.loads(kept.read_text())["place"]
    assert talker.offset(place) > 0
    before = wire.sent
    second = run(wire.url)
    _, said = second.communicate(timeout=120)
    assert second.returncode == 0, said
    size, whole = (int(word) for word in said.split() if word.isdigit())
    assert size < whole / 2 and whole == (folder / "long.mov").stat().st_size
    assert not kept.exists()
    assert wire.sent - before < size, "not all of it again"
    subprocess.run([MICROPY, "convert", folder / "long.mov", "-o", tmp_path / "whole.mp3", "--vbr", "4"], check=True, stdin=subprocess.DEVNULL)
    assert (tmp_path / "long.mp3").read_bytes() == (tmp_path / "whole.mp3").read_bytes()
