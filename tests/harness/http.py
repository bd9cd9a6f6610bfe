"""Requests, whole answers, and what a user does with the service."""

import base64
import json
import socket
import time
from http.cookiejar import DefaultCookiePolicy
from urllib.parse import urlsplit

import requests

from .clips import form

TUS = {"Tus_Resumable": "1.0.0"}
PART = {"Content_Type": "application/offset+octet-stream", **TUS}
PASSWORD = "correct horse"
#: What a client sees of a service that dies or is not there.
BROKEN = requests.RequestException

_session = requests.Session()
_session.trust_env = False
_session.headers.clear()
_session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))


class Reply:
    """A whole answer. The names of its headers are in lower case."""

    def __init__(self, response, body=None):
        self.status, self.body = response.status_code, response.content if body is None else body
        self.headers = {name.lower(): value for name, value in response.headers.items()}
        self.job_ids = response.raw.headers.getlist("X-Micropy-Job-Id")

    def __repr__(self):
        return f"<{self.status} {self.body[:200]!r}>"

    @property
    def text(self):
        return self.body.decode()

    def json(self):
        return json.loads(self.body)

    @property
    def answer(self):
        """Status and text."""
        return self.status, self.text

    @property
    def kind(self):
        return self.headers.get("content-type")

    @property
    def job_id(self):
        """The job of the only, or first, file that was uploaded."""
        return self.job_ids[0] if self.job_ids else self.json()["files"][0]["job"]["id"]


def send(method, url, body=None, token=None, basic=None, patience=60, stream=False, **headers):
    """A response, as `requests` has it. Headers are named with `_` for `-`; the URL is sent as it stands."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()} | {"Connection": "close"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    if basic is not None:
        basic = basic.encode() if isinstance(basic, str) else basic
        headers["Authorization"] = f"Basic {base64.b64encode(basic).decode()}"
    if isinstance(body, (dict, list)):
        body, headers["Content-Type"] = json.dumps(body), "application/json"
    request = requests.Request(method, url, headers=headers, data=body).prepare()
    request.url = url
    return _session.send(request, timeout=patience, allow_redirects=False, stream=stream)


def ask(*request, **more):
    """The answer to a request; see `send`."""
    return Reply(send(*request, **more))


class Events:
    """A stream of server-sent events."""

    def __init__(self, response):
        self.response, self.status = response, response.status_code
        self.lines = response.iter_lines(chunk_size=1)

    def line(self):
        return next(self.lines)

    def jobs(self):
        """Each job that it tells of."""
        for line in self.lines:
            if line.startswith(b"data: {") and len(line) > 10:
                yield json.loads(line[6:])

    def close(self):
        self.response.close()


class User:
    """A client of a gateway, signed in or not."""

    def __init__(self, url, email=None, token=None):
        self.url, self.email, self.token = url, email, token

    def register(self):
        reply = self.ask("POST", "/api/v1/auth/register", {"email": self.email, "password": PASSWORD})
        assert reply.status == 201, reply
        self.token = reply.json()["token"]
        return self

    def login(self, password=PASSWORD):
        """The answer to signing in at our API."""
        return self.ask("POST", "/api/v1/auth/login", {"email": self.email, "password": password})

    def ask(self, method, path, body=None, **more):
        return ask(method, self.url + path, body, **({"token": self.token} | more))

    def get(self, path, **more):
        return self.ask("GET", path, **more)

    def events(self):
        return Events(send("GET", f"{self.url}/api/v1/events", token=self.token, stream=True))

    def upload(self, *parts, path="/api/v1/uploads", **headers):
        """Sends files and fields in a form."""
        body, kind = form(*parts)
        return self.ask("POST", path, body, Content_Type=kind, **headers)

    def uploaded(self, *parts, **more):
        """The job of an upload's first file, when it has ended."""
        reply = self.upload(*parts, **more)
        assert reply.status in (200, 201), reply
        return self.job(reply.job_id)

    def jobs(self, query="limit=500"):
        return self.get(f"/api/v1/jobs?{query}").json()["jobs"]

    def every_job(self, states):
        """All jobs in these states, page by page."""
        before = ""
        while True:
            page = self.get(f"/api/v1/jobs?state={states}&limit=500{before}").json()
            yield from page["jobs"]
            if page["next"] is None:
                return
            before = f"&before={page['next']}"

    def job(self, id, seconds=30, states=("done", "failed", "cancelled")):
        """The job when it has ended, or is in one of these states."""
        end = time.monotonic() + seconds
        while True:
            job = self.get(f"/api/v1/jobs/{id}").json()
            if job.get("state") in states or time.monotonic() > end:
                return job
            time.sleep(0.05)

    def act(self, id, verb):
        return self.ask("POST", f"/api/v1/jobs/{id}/{verb}")

    # Uploads in parts, by tus.

    def create(self, length, **headers):
        return self.ask("POST", "/api/v1/tus", Upload_Length=str(length), **TUS, **headers)

    def create_with(self, data, path="/api/v1/tus", **headers):
        """Creates an upload and sends all of it at once."""
        return self.ask("POST", path, data, Upload_Length=str(len(data)), **PART, **headers)

    def patch(self, place, data, offset, **headers):
        return self.ask("PATCH", place, data, Upload_Offset=str(offset), **PART, **headers)

    def head(self, place):
        return self.ask("HEAD", place, **TUS)

    def offset(self, place):
        return int(self.head(place).headers["upload-offset"])

    def begin(self, method, path, length, kind, *lines):
        """A connection with a request whose body is still to come."""
        connection = connect(self.url, timeout=30)
        lines = [f"{method} {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {self.token}", f"Content-Type: {kind}",
                 f"Content-Length: {length}", *lines]
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        return connection

    def begin_part(self, place, length, offset):
        return self.begin("PATCH", place, length, PART["Content_Type"], "Tus-Resumable: 1.0.0", f"Upload-Offset: {offset}")


def connect(url, timeout=30):
    """A connection to who answers there."""
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname, parts.port), timeout=timeout)
