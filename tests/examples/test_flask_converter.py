"""examples/flask_converter as its readers run it, beside real servers.

An upload goes through the gateway, RabbitMQ, the converter and GridFS, and comes back as an MP3. The auth service is
ours. The converter runs with a limit of no bytes on what it may write to files.
"""

import functools
import os
import resource
import signal
import subprocess

import pytest
import requests
from bson import ObjectId

from harness import MEDIA, ROOT, SERVER
from harness.clips import FIRST, GOOD, SILENT, clip, ffmpeg
from harness.clock import until
from harness.fleet import MP3, VIDEO, Fleet
from harness.servers.server import free_port, listening
from harness.service import Service, inherited

EXAMPLE = ROOT / "examples" / "flask_converter"
REQUIREMENTS = EXAMPLE / "requirements.txt"
PASSWORD = "correct horse battery"
DASH = clip("fragmented-dash.mp4")


@pytest.fixture(scope="module")
def python(environments):
    return environments("flask", REQUIREMENTS)


class Example(Fleet):
    """The example's gateway and converter, our auth service, and other eyes on what they share."""

    def __init__(self, python, servers, folder):
        super().__init__(servers, folder)
        self.python, self.auth_service, self.port, self.processes = python, Service("serve", folder / "auth"), free_port(), []
        self.settings = {**inherited(), "AMQP_URL": self.amqp, "MONGODB_URL": self.mongodb, "FLASK_APP": "gateway",
                         "AUTH_SVC_ADDRESS": f"127.0.0.1:{self.auth_service.auth_port}", "PYTHONDONTWRITEBYTECODE": "1"}

    def begin(self):
        self.purge()
        self.auth_service.folder.mkdir()
        subprocess.run([SERVER, "user", "add", "nina@example.com", "--password-stdin", "--data-dir", self.auth_service.folder],
                       input=PASSWORD + "\n", text=True, check=True, stdout=subprocess.DEVNULL, env=inherited())
        self.auth_service.start()
        with open(self.folder / "gateway.log", "ab") as log:
            self.processes.append(subprocess.Popen(
                [self.python, "-m", "flask", "run", "--port", str(self.port)], cwd=EXAMPLE, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, env=self.settings))
        assert until(lambda: listening(self.port), 60)
        self.start_converter()
        return self

    def start_converter(self):
        # Its log is a pipe: not even that is a file it writes to.
        read, write = os.pipe()
        self.converter_process = subprocess.Popen(
            [self.python, "converter.py"], cwd=EXAMPLE, env=self.settings, stdin=subprocess.DEVNULL,
            stdout=write, stderr=write, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)))
        os.close(write)
        with open(self.folder / "converter.log", "ab") as log:
            self.processes += [self.converter_process, subprocess.Popen(["cat"], stdin=read, stdout=log)]
        os.close(read)

    def url(self, path):
        return f"http://127.0.0.1:{self.port}/{path}"

    def converter_said(self):
        return (self.folder / "converter.log").read_text(errors="replace")

    def close(self):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.auth_service.stop()
        super().close()


@pytest.fixture(scope="module")
def example(python, all_servers, tmp_path_factory):
    example = Example(python, all_servers, tmp_path_factory.mktemp("flask"))
    yield example.begin()
    example.close()


@pytest.fixture(scope="module")
def nina(example):
    """The headers of a user who is signed in."""
    login = requests.post(example.url("login"), auth=("nina@example.com", PASSWORD))
    assert login.status_code == 200
    return {"Authorization": f"Bearer {login.text}"}


@functools.cache
def expected(python, name):
    """The MP3 that the converter makes of a clip."""
    program = """import micropy, sys
micropy.convert(sys.argv[1], type("Pieces", (), {"write": lambda self, data: sys.stdout.buffer.write(data) and None})(), preset="moviepy")"""
    return subprocess.run([python, "-c", program, MEDIA / name], check=True, capture_output=True).stdout


@pytest.mark.parametrize("auth", [("nina@example.com", "x"), None], ids=["a wrong password", "none"])
def test_login_refuses(example, auth):
    assert requests.post(example.url("login"), auth=auth).status_code == 401


@pytest.mark.parametrize("video", [FIRST, GOOD, DASH], ids=lambda clip: clip.name)
def test_an_upload_comes_back_as_an_mp3(example, nina, python, video):
    reply = requests.post(example.url("upload"), headers=nina, files={"file": (video.name, video.data)})
    assert (reply.status_code, reply.text) == (200, "success!")
    message = example.take_json(MP3, 60)
    assert message.get("username") == "nina@example.com"
    mp3 = requests.get(example.url("download"), headers=nina, params={"fid": message["mp3_fid"]})
    assert (mp3.status_code, mp3.headers["Content-Type"]) == (200, "audio/mpeg")
    assert mp3.content == expected(python, video.name)


def test_what_is_missing_or_wrong_is_refused(example, nina):
    file = {"file": b"x"}
    assert requests.post(example.url("upload"), files=file).status_code == 401
    assert requests.post(example.url("upload"), headers={"Authorization": "Bearer nonsense"}, files=file).status_code == 403
    assert requests.post(example.url("upload"), headers=nina).status_code == 400
    for params, status in ({}, 400), ({"fid": "x"}, 404), ({"fid": str(ObjectId())}, 404):
        assert requests.get(example.url("download"), headers=nina, params=params).status_code == status


def test_what_cannot_be_converted_keeps_nobody_from_their_mp3(example):
    for body in ("no JSON", "{}", "[]", '{"video_fid": "x"}', {"video_fid": str(ObjectId())}):
        example.publish(VIDEO, body)
    example.put(SILENT.data, "x")
    example.put(REQUIREMENTS.read_bytes(), "x")
    good = example.put(FIRST.data, "x", trace="kept")
    message = example.take_json(MP3, 60)
    assert (message.get("video_fid"), message.get("trace")) == (good, "kept")
    assert "NoAudioTrack" in example.converter_said() and "NotMp4" in example.converter_said()
    before = len(list(example.mp3s.find()))
    # The same message again: one MP3.
    example.publish(VIDEO, {"video_fid": good, "mp3_fid": None, "username": "x"})
    assert example.take_json(MP3, 60).get("mp3_fid") == message.get("mp3_fid")
    assert len(list(example.mp3s.find())) == before
    assert example.converter_process.poll() is None


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=lambda how: how.name)
def test_a_converter_that_ends_loses_nothing(example, tmp_path, how):
    long = tmp_path / "long.m4a"
    ffmpeg("-f", "lavfi", "-i", "anoisesrc=d=900:c=pink:r=44100", "-ac", "2", "-c:a", "aac", "-b:a", "128k", long)
    chunks = example.mongo["mp3s"].fs.chunks
    known = len(chunks.distinct("files_id"))
    video = example.put(long.read_bytes(), "x")
    assert until(lambda: len(chunks.distinct("files_id")) > known, 60)
    example.converter_process.send_signal(how)
    example.converter_process.wait(20)
    assert until(lambda: example.state(VIDEO)[0] == 1, 60)
    if how == signal.SIGTERM:
        assert len(chunks.distinct("files_id")) == known
    example.start_converter()
    assert example.take_json(MP3, 120).get("video_fid") == video
    assert len(list(example.mp3s.find({"metadata.video_fid": video}))) == 1
