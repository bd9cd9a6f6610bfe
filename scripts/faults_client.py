"""Our services as processes of their own over the real servers, and a client that logs what was accepted.

The log is the oracle: of every upload that was answered with a 2xx it has the name, the SHA-256 of the
bytes, the job and the time, whatever happened to the services since.
"""

import atexit
import base64
import email
import email.policy
import hashlib
import http.client
import json
import os
import re
import select
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import pika
import pymongo
from servers import mariadb, mongodb, rabbitmq, smtp
from servers.server import free_port
from service import OFFSET, TUS, ask

SECRET = "0123456789abcdef0123456789abcdef"
#: What a client sees of a service that dies or is not there.
BROKEN = (OSError, http.client.HTTPException)


class Process:
    """One service. It keeps its port and its folder over restarts."""

    def __init__(self, program, kind, folder, settings):
        self.program, self.kind, self.folder, self.settings = program, kind, folder, settings
        self.port, self.process, self.log = free_port(), None, f"{folder}.log"

    def start(self):
        flag = {"gateway": "--listen", "auth": "--auth-listen"}.get(self.kind, "--health-listen")
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MICROPY_")}
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [self.program, self.kind, flag, f"127.0.0.1:{self.port}", "--data-dir", self.folder, "--log", "json"],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, env={**kept, **self.settings})
        atexit.register(self.process.kill)  # also where the script breaks off
        ready, _, _ = select.select([self.process.stdout], [], [], 30)
        line = self.process.stdout.readline().decode() if ready else ""
        if "is ready" not in line:
            raise RuntimeError(f"the {self.kind} does not start: {line!r}\n{Path(self.log).read_text()[-3000:]}")
        return self

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        """As an operator stops it: its exit code, and the seconds it took."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60), time.monotonic() - began

    def lines(self, text, after=0.0):
        """Of the log: (time, entry) of each line with this message."""
        for line in Path(self.log).read_text(errors="replace").splitlines():
            if text in line:
                entry = json.loads(line)
                at = datetime.fromisoformat(entry["timestamp"].replace("Z", "+00:00")).timestamp()
                if at >= after:
                    yield at, entry

    def in_hand(self):
        """The jobs that it began and did not bring to an end, each with its attempt."""
        begun = {}
        for _, entry in self.lines('"job_id"'):
            if entry["message"] == "conversion started":
                begun[entry["job_id"]] = entry["attempt"]
            elif entry["message"].startswith("conversion "):
                begun.pop(entry["job_id"], None)
        return begun

    def memory(self, forget=False):
        """The most it had resident, in bytes, since the last time that was to be forgotten."""
        if forget:
            Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) * 1024


class Set:
    """The four servers and, over them, gateway, auth service, converters and notification services."""

    def __init__(self, program, folder, converters=2, notifications=2):
        self.rabbitmq, self.mongodb = rabbitmq.server(), mongodb.server()
        self.mariadb, self.smtp = mariadb.server(), smtp.server()
        self.servers = [self.rabbitmq, self.mongodb, self.mariadb, self.smtp]
        for server in self.servers:
            atexit.register(server.close)
        urls = {}
        starting = [threading.Thread(target=self._start, args=[server, urls]) for server in self.servers]
        for one in starting:
            one.start()
        for one in starting:
            one.join()
        missing = [why for why in urls.values() if isinstance(why, Exception)]
        if missing:
            raise missing[0]
        settings = {
            "MICROPY_STORAGE_URL": urls["MICROPY_TEST_MONGODB_URL"],
            "MICROPY_QUEUE_URL": urls["MICROPY_TEST_AMQP_URL"],
            "MICROPY_USERS_URL": urls["MICROPY_TEST_MYSQL_URL"],
            "MICROPY_NOTIFIER_URL": urls["MICROPY_TEST_SMTP_URL"],
            "MICROPY_WORKERS": "1", "JWT_SECRET": SECRET,
        }
        self.amqp = urls["MICROPY_TEST_AMQP_URL"]
        self.mails = Mails(urls["MICROPY_TEST_SMTP_DIR"])
        self.mongo = pymongo.MongoClient(urls["MICROPY_TEST_MONGODB_URL"], serverSelectionTimeoutMS=20000)
        self.jobs = self.mongo["micropy"]["jobs"]

        def process(kind, number=1, **more):
            return Process(program, kind, f"{folder}/{kind}{number}", {**settings, **more})

        self.auth = process("auth").start()
        self.gateway = process("gateway", MICROPY_AUTH_URL=f"http://127.0.0.1:{self.auth.port}").start()
        public = f"http://127.0.0.1:{self.gateway.port}"
        self.converters = [process("converter", n).start() for n in range(converters)]
        self.notifications = [process("notification", n, MICROPY_PUBLIC_URL=public).start()
                              for n in range(notifications)]

    @staticmethod
    def _start(server, urls):
        try:
            server.start()
            urls.update(server.environment())
        except Exception as e:  # told by the thread that waits
            urls[server.name] = e

    def services(self):
        return [self.auth, self.gateway, *self.converters, *self.notifications]

    def close(self):
        for service in self.services():
            if service.process.poll() is None:
                service.stop()
        for server in self.servers:
            server.close()

    def ask_broker(self, act):
        """What `act` returns, given a channel of its own."""
        connection = pika.BlockingConnection(pika.URLParameters(self.amqp))
        try:
            return act(connection.channel())
        finally:
            connection.close()

    def depth(self, queue):
        """How many messages of a queue wait for a consumer; 0 where there is no such queue."""
        def count(channel):
            try:
                return channel.queue_declare(queue, passive=True).method.message_count
            except pika.exceptions.ChannelClosedByBroker:
                return 0
        return self.ask_broker(count)

    def whole(self, database, id):
        """The SHA-256 of a file and whether its chunks are complete; None where there is no such file."""
        files = self.mongo[database]["fs"]
        file = files["files"].find_one({"_id": id})
        if file is None:
            return None
        digest, length, number = hashlib.sha256(), 0, 0
        for chunk in files["chunks"].find({"files_id": id}).sort("n", 1):
            number += chunk["n"] == number
            length += len(chunk["data"])
            digest.update(chunk["data"])
        expected = -(-file["length"] // file["chunkSize"])
        return digest.hexdigest(), (length, number) == (file["length"], expected)

    def orphans(self, database):
        """What a sweeper has still to remove: (files that no job has, files begun, chunks of neither)."""
        files = self.mongo[database]["fs"]
        name = {"videos": "source", "mp3s": "mp3"}[database]
        stored, begun = set(files["files"].distinct("_id")), set(files["uploads"].distinct("_id"))
        owned = set(self.jobs.distinct(name))
        return stored - owned, begun - owned, set(files["chunks"].distinct("files_id")) - stored - begun


class Mails:
    """What the mail server was given, by the job that it is about."""

    def __init__(self, folder):
        self.folder, self.seen, self.of_job = Path(folder), set(), {}

    def read(self):
        """{(job, subject): Message-ID of each mail}."""
        for file in sorted(self.folder.glob("*.eml")):
            if file.name not in self.seen:
                self.seen.add(file.name)
                mail = email.message_from_bytes(file.read_bytes(), policy=email.policy.default)
                job = re.search(r"#job-([0-9a-f]{24})", mail.get_body(["plain"]).get_content())[1]
                self.of_job.setdefault((job, mail["Subject"]), []).append(mail["Message-ID"])
        return self.of_job


@dataclass
class Accepted:
    """An upload that was answered with a 2xx."""

    name: str
    sha256: str
    job: str
    at: float
    good: bool


@dataclass
class Client:
    """One user at the gateway, with the log of what it accepted."""

    set: Set
    owner: str
    token: str = ""
    accepted: list = field(default_factory=list)
    #: How often each status was an upload's answer, and how often there was none.
    answers: Counter = field(default_factory=Counter)
    #: Answers that say that the service is away, and not for how long.
    without_retry_after: int = 0
    #: What resumable uploads lost of what they had been told was there.
    lost_bytes: list = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def register(self):
        reply = self.ask("POST", "/api/v1/auth/register", {"email": self.owner, "password": "correct horse"})
        self.token = reply.json()["token"]
        return self

    def login(self, port=None):
        """The answer of the gateway, or of whom else there is at a port."""
        word = base64.b64encode(f"{self.owner}:correct horse".encode()).decode()
        return self.ask("POST", "/login", port=port, signed=False, Authorization=f"Basic {word}")

    def ask(self, method, path, body=None, port=None, signed=True, patience=60, **headers):
        port = port or self.set.gateway.port
        return ask(port, method, path, body, self.token if signed else None, patience, **headers)

    def note(self, reply):
        """Counts an answer to an upload."""
        with self.lock:
            self.answers[reply.status if reply else "none"] += 1
            if reply and reply.status in (429, 503) and "retry-after" not in reply.headers:
                self.without_retry_after += 1

    def accept(self, name, data, job, good):
        entry = Accepted(name, hashlib.sha256(data).hexdigest(), job, time.time(), good)
        with self.lock:
            self.accepted.append(entry)
        return entry

    def upload(self, name, data, good=True, path="/api/v1/uploads"):
        """Sends a file as a form: what was accepted, or None."""
        body, kind = form(name, data)
        try:
            reply = self.ask("POST", path, body, Content_Type=kind)
        except BROKEN:
            self.note(None)
            return None
        self.note(reply)
        if reply.status == 201:
            return self.accept(name, data, reply.json()["files"][0]["job"]["id"], good)
        if reply.status == 200:
            return self.accept(name, data, reply.headers["x-micropy-job-id"], good)
        return None

    def upload_file(self, path):
        """Sends a file of any size as a form, read as it is sent."""
        head, kind = form(os.path.basename(path), b"")
        head, tail = head[:head.rindex(b"\r\n--")], head[head.rindex(b"\r\n--"):]
        digest = hashlib.sha256()

        def pieces():
            yield head
            with open(path, "rb") as file:
                while piece := file.read(1 << 20):
                    digest.update(piece)
                    yield piece
            yield tail

        length = len(head) + os.path.getsize(path) + len(tail)
        reply = self.ask("POST", "/api/v1/uploads", pieces(), Content_Type=kind, Content_Length=str(length))
        self.note(reply)
        if reply.status != 201:
            return None
        job = reply.json()["files"][0]["job"]["id"]
        entry = Accepted(os.path.basename(path), digest.hexdigest(), job, time.time(), True)
        self.accepted.append(entry)
        return entry

    def send_resumable(self, name, data, piece, over=lambda: False, pause=0.0):
        """Sends a file in pieces, and goes on where the service says that it stands, until it is there."""
        made = None
        while made is None or made.status != 201:
            if over():
                return None
            try:
                label = base64.b64encode(name.encode()).decode()
                made = self.ask("POST", "/api/v1/tus", Upload_Length=str(len(data)),
                                Upload_Metadata=f"filename {label}", **TUS)
                self.note(made)
            except BROKEN:
                self.note(None)
            time.sleep(0.05 if made is None or made.status != 201 else 0)
        place, known = made.headers["location"], 0
        while True:
            try:
                at = self.ask("HEAD", place, **TUS)
                if at.status == 200:
                    offset = int(at.headers["upload-offset"])
                    if offset < known:
                        self.lost_bytes.append((made.headers["x-micropy-job-id"], known, offset))
                    if offset == len(data):
                        return self.accept(name, data, made.headers["x-micropy-job-id"], True)
                    reply = self.ask("PATCH", place, data[offset:offset + piece], Upload_Offset=str(offset), **OFFSET)
                    self.note(reply)
                    if reply.status == 204:
                        known = int(reply.headers["upload-offset"])
                        time.sleep(pause)
                        continue
                elif at.status == 404:
                    self.lost_bytes.append((made.headers["x-micropy-job-id"], known, "404"))
                    return None
                else:
                    self.note(at)
            except BROKEN:
                self.note(None)
            time.sleep(0.05)


def form(name, data):
    """multipart/form-data with one file."""
    boundary = "micropy-test-boundary"
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode()
    return head + data + f"\r\n--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def when_open(port, seconds=120):
    """The time at which something listens on a port."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with socket.socket() as s:
            s.settimeout(1)
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return time.time()
        time.sleep(0.02)
    raise TimeoutError(f"nothing listens on port {port}")
