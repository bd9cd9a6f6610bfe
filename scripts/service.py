"""A `micropy-server` on free ports and a folder of its own, and how its users and their programs speak to it."""

import atexit
import base64
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from servers.server import free_port

MEDIA = Path(__file__).resolve().parent.parent / "micropy-core" / "tests" / "media"
SOURCES = [MEDIA.parent.parent.parent / crate / "src" for crate in ("micropy-services", "micropy-server")]
GOOD, OTHER, SILENT, BOOK = "moov-last-stereo-44100.mp4", "alac.m4a", "video-only.mp4", "chapters.m4b"
TUS = {"Tus_Resumable": "1.0.0"}
OFFSET = {"Content_Type": "application/offset+octet-stream", **TUS}
PASSWORD = "correct horse"


class Reply:
    """A whole answer."""

    def __init__(self, response, body):
        self.status, self.body = response.status, body
        self.headers = {name.lower(): value for name, value in response.getheaders()}

    def json(self):
        return json.loads(self.body)


def ask(port, method, path, body=None, token=None, patience=30, **headers):
    """The answer of who listens there; names of headers have `_` for `-`."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    if isinstance(body, (dict, list)):
        body, headers["Content-Type"] = json.dumps(body), "application/json"
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=patience)
    try:
        try:
            connection.request(method, path, body, headers)
        except (BrokenPipeError, ConnectionResetError):
            if connection.sock is None:
                raise
            # The answer may come before the whole body is sent.
        response = connection.getresponse()
        return Reply(response, response.read())
    finally:
        connection.close()


class Service:
    """A `micropy-server` and the folder it works on."""

    def __init__(self, program, folder, **settings):
        self.program, self.folder, self.settings, self.process = program, folder, settings, None
        self.port, self.auth_port = free_port(), free_port()

    def start(self):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MICROPY_")}
        environment |= {f"MICROPY_{name.upper()}": str(value) for name, value in self.settings.items()}
        self.log = open(f"{self.folder}.log", "ab")
        self.process = subprocess.Popen(
            [self.program, "serve", "--listen", f"127.0.0.1:{self.port}", "--auth-listen",
             f"127.0.0.1:{self.auth_port}", "--data-dir", self.folder, "--log", "json"],
            stdout=subprocess.PIPE, stderr=self.log, env=environment)
        atexit.register(self.process.kill)  # also where this script breaks off
        line = self.process.stdout.readline().decode()
        if f"http://127.0.0.1:{self.port}" not in line:
            sys.exit(f"the service did not start: {line!r}\n{Path(self.folder + '.log').read_text()}")
        return self

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def ask(self, method, path, body=None, token=None, auth=False, **headers):
        return ask(self.auth_port if auth else self.port, method, path, body, token, **headers)

    def register(self, email):
        reply = self.ask("POST", "/api/v1/auth/register", {"email": email, "password": PASSWORD})
        return reply.json()["token"]

    def upload(self, token, *files, path="/api/v1/uploads", **headers):
        body, kind = form(files)
        return self.ask("POST", path, body, token, Content_Type=kind, **headers)

    def jobs(self, token, query="limit=500"):
        return self.ask("GET", f"/api/v1/jobs?{query}", token=token).json()["jobs"]

    def job(self, token, id, seconds=30, states=("done", "failed", "cancelled")):
        """The job when it has ended, or is in one of these states."""
        end = time.monotonic() + seconds
        while True:
            job = self.ask("GET", f"/api/v1/jobs/{id}", token=token).json()
            if job["state"] in states or time.monotonic() > end:
                return job
            time.sleep(0.05)

    def act(self, token, id, verb):
        return self.ask("POST", f"/api/v1/jobs/{id}/{verb}", token=token)

    def create(self, token, length, **headers):
        """Begins an upload in parts."""
        return self.ask("POST", "/api/v1/tus", token=token, Upload_Length=str(length), **TUS, **headers)

    def offset(self, token, place):
        return int(self.ask("HEAD", place, token=token, **TUS).headers["upload-offset"])

    def begin(self, token, method, path, length, kind, *headers):
        """A connection with a request whose body is still to come."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        lines = [f"{method} {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {token}", f"Content-Type: {kind}",
                 f"Content-Length: {length}", *headers]
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        return connection

    def workers(self):
        """Its worker processes."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(parent) == self.process.pid and state != "Z":
                found.append(int(stat.parent.name))
        return sorted(found)

    def files(self, kind, state="whole"):
        """What there is in a store."""
        return sorted(file.name for file in Path(self.folder, kind, state).iterdir())


def form(files):
    """multipart/form-data of (field, file name, bytes); what has no file name is no file."""
    boundary = "micropy-test-boundary"
    named = lambda name: f'; filename="{name}"' if name else ""
    parts = b"".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"{named(name)}\r\n\r\n'.encode() + data + b"\r\n"
        for field, name, data in files)
    return parts + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def first_job(reply):
    """The id of the first job of an upload."""
    return reply.json()["files"][0]["job"]["id"]


def metadata(**pairs):
    """The header Upload-Metadata of tus."""
    return ",".join(f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in pairs.items())


def clip(name):
    return (name, name, (MEDIA / name).read_bytes())
