"""examples/flask_converter as its readers run it, beside real servers.

An upload goes through the gateway, RabbitMQ, the converter and GridFS, and comes back as an MP3. The auth service is
ours. The converter runs with a limit of no bytes on what it may write to files.
"""

import functools
import json
import os
import resource
import signal
import subprocess

import gridfs
import pika
import pytest
import requests
from bson import ObjectId
from pymongo import MongoClient

from harness import ROOT, SERVER, TARGET
from harness.clips import FIRST, GOOD, SILENT, clip, ffmpeg
from harness.clock import until
from harness.http import BROKEN
from harness.servers import Missing
from harness.servers.server import free_port
from harness.service import Service, inherited

EXAMPLE = ROOT / "examples" / "flask_converter"
REQUIREMENTS = EXAMPLE / "requirements.txt"
PASSWORD = "correct horse battery"
DASH = clip("fragmented-dash.mp4")


@pytest.fixture(scope="module")
def python():
    """A Python as the example's readers make it, with our package: the wheel that its tests made, or built here."""
    packages = [line for line in REQUIREMENTS.read_text().splitlines() if line and not line.startswith("#")]
    made = subprocess.run([ROOT / "scripts" / "venv", "flask", *packages], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"pip cannot install {REQUIREMENTS.relative_to(ROOT)}")
    wheels = sorted((TARGET / "wheels-python").glob("*.whl"))
    pip = [made.stdout.strip(), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--force-reinstall", "--no-deps"]
    subprocess.run([*pip, wheels[-1] if wheels else ROOT / "micropy-py"], check=True)
    return made.stdout.strip()


class Example:
    """The services, and the databases and queues they share, under names of this run alone."""

    def __init__(self, python, servers, folder):
        self.python, self.folder, self.processes = python, folder, []
        self.auth = Service("serve", folder / "auth")
        self.gateway = free_port()
        mark = f"flask-{os.getpid()}"
        self.settings = {
            "AMQP_URL": servers.environment["MICROPY_TEST_AMQP_URL"], "MONGODB_URL": servers.environment["MICROPY_TEST_MONGODB_URL"],
            "AUTH_SVC_ADDRESS": f"127.0.0.1:{self.auth.auth_port}", "VIDEO_QUEUE": f"{mark}-video", "MP3_QUEUE": f"{mark}-mp3",
            "VIDEOS_DB": f"{mark}-videos", "MP3S_DB": f"{mark}-mp3s", "FLASK_APP": "gateway", "PYTHONDONTWRITEBYTECODE": "1",
        }
        self.mongo = MongoClient(self.settings["MONGODB_URL"])
        self.videos, self.mp3s = (gridfs.GridFS(self.mongo[self.settings[name]]) for name in ("VIDEOS_DB", "MP3S_DB"))
        self.rabbit = pika.BlockingConnection(pika.URLParameters(self.settings["AMQP_URL"]))
        self.channel = self.rabbit.channel()
        for queue in ("VIDEO_QUEUE", "MP3_QUEUE"):
            self.channel.queue_declare(self.settings[queue], durable=True)

    def start(self):
        self.auth.folder.mkdir()
        subprocess.run([SERVER, "user", "add", "nina@example.com", "--password-stdin", "--data-dir", self.auth.folder],
                       input=PASSWORD + "\n", text=True, check=True, stdout=subprocess.DEVNULL, env=inherited())
        self.auth.start()
        with open(self.folder / "gateway.log", "ab") as log:
            self.processes.append(subprocess.Popen(
                [self.python, "-m", "flask", "run", "--port", str(self.gateway)], cwd=EXAMPLE, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, env={**inherited(), **self.settings}))
        assert until(self.answers, 60)
        self.start_converter()
        return self

    def answers(self):
        try:
            return requests.post(self.url("login"), timeout=2).status_code
        except BROKEN:
            return None

    def start_converter(self):
        # Its log is a pipe: not even that is a file it writes to.
        read, write = os.pipe()
        self.converter = subprocess.Popen(
            [self.python, "converter.py"], cwd=EXAMPLE, env={**inherited(), **self.settings}, stdin=subprocess.DEVNULL,
            stdout=write, stderr=write, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)))
        os.close(write)
        with open(self.folder / "converter.log", "ab") as log:
            self.processes += [self.converter, subprocess.Popen(["cat"], stdin=read, stdout=log)]
        os.close(read)

    def url(self, path):
        return f"http://127.0.0.1:{self.gateway}/{path}"

    def converter_said(self):
        return (self.folder / "converter.log").read_text(errors="replace")

    def next_mp3(self, seconds=60):
        """The next message on the MP3 queue."""
        body = until(lambda: self.channel.basic_get(self.settings["MP3_QUEUE"], auto_ack=True)[2], seconds)
        return json.loads(body) if body else {}

    def waiting(self):
        """How many videos wait, in the hands of nobody."""
        return self.channel.queue_declare(self.settings["VIDEO_QUEUE"], passive=True).method.message_count

    def put(self, data):
        """A video and its message, past the gateway."""
        id = str(self.videos.put(data))
        self.publish(json.dumps({"video_fid": id, "mp3_fid": None, "username": "x", "trace": "kept"}))
        return id

    def publish(self, body):
        self.channel.basic_publish("", self.settings["VIDEO_QUEUE"], body, pika.BasicProperties(delivery_mode=2))

    def close(self):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self.auth.alive:
            self.auth.stop()
        for queue in ("VIDEO_QUEUE", "MP3_QUEUE"):
            self.channel.queue_delete(self.settings[queue])
        self.rabbit.close()
        for database in ("VIDEOS_DB", "MP3S_DB"):
            self.mongo.drop_database(self.settings[database])


@pytest.fixture(scope="module")
def example(python, servers, tmp_path_factory):
    try:
        servers.start("rabbitmq", "mongodb")
    except Missing as e:
        pytest.skip(str(e))
    example = Example(python, servers, tmp_path_factory.mktemp("flask"))
    try:
        yield example.start()
    finally:
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
micropy.convert(sys.argv[1], type("Pieces", (), {"write": lambda self, data: sys.stdout.buffer.write(data) and None})(), preset="original")"""
    path = ROOT / "micropy-core" / "tests" / "media" / name
    return subprocess.run([python, "-c", program, path], check=True, capture_output=True).stdout


@pytest.mark.parametrize("auth", [("nina@example.com", "x"), None], ids=["a wrong password", "none"])
def test_login_refuses(example, auth):
    assert requests.post(example.url("login"), auth=auth).status_code == 401


@pytest.mark.parametrize("video", [FIRST, GOOD, DASH], ids=lambda clip: clip.name)
def test_an_upload_comes_back_as_an_mp3(example, nina, python, video):
    reply = requests.post(example.url("upload"), headers=nina, files={"file": (video.name, video.data)})
    assert (reply.status_code, reply.text) == (200, "success!")
    message = example.next_mp3()
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
    for body in ("no JSON", "{}", "[]", '{"video_fid": "x"}', json.dumps({"video_fid": str(ObjectId())})):
        example.publish(body)
    example.put(SILENT.data)
    example.put(REQUIREMENTS.read_bytes())
    good = example.put(FIRST.data)
    message = example.next_mp3()
    assert (message.get("video_fid"), message.get("trace")) == (good, "kept")
    assert "NoAudioTrack" in example.converter_said() and "NotMp4" in example.converter_said()
    before = len(list(example.mp3s.find()))
    # The same message again: one MP3.
    example.publish(json.dumps({"video_fid": good, "mp3_fid": None, "username": "x"}))
    assert example.next_mp3().get("mp3_fid") == message.get("mp3_fid")
    assert len(list(example.mp3s.find())) == before
    assert example.converter.poll() is None


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=lambda how: how.name)
def test_a_converter_that_ends_loses_nothing(example, tmp_path, how):
    long = tmp_path / "long.m4a"
    ffmpeg("-f", "lavfi", "-i", "anoisesrc=d=900:c=pink:r=44100", "-ac", "2", "-c:a", "aac", "-b:a", "128k", long)
    chunks = example.mongo[example.settings["MP3S_DB"]].fs.chunks
    known = len(chunks.distinct("files_id"))
    video = example.put(long.read_bytes())
    assert until(lambda: len(chunks.distinct("files_id")) > known, 60)
    example.converter.send_signal(how)
    example.converter.wait(20)
    assert until(lambda: example.waiting() == 1, 60)
    if how == signal.SIGTERM:
        assert len(chunks.distinct("files_id")) == known
    example.start_converter()
    assert example.next_mp3(120).get("video_fid") == video
    assert len(list(example.mp3s.find({"metadata.video_fid": video}))) == 1
