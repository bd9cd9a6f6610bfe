"""Clients that keep a log of what was accepted, whatever happened to the services since.

The log is the oracle: of every upload that was answered with a 2xx it has the name, the SHA-256 of the bytes, the job and
the time.
"""

import hashlib
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass

from . import SEED
from .clips import Clip, metadata, streamed, variant
from .http import BROKEN, User, ask


@dataclass
class Accepted:
    """An upload that was answered with a 2xx."""

    name: str
    sha256: str
    job: str
    at: float
    good: bool


class Client(User):
    """One user at the gateway, with the log of what it accepted."""

    def __init__(self, fleet, email):
        super().__init__(fleet.gateway.url, email)
        self.fleet, self.accepted, self.lock = fleet, [], threading.Lock()
        #: How often each status was an upload's answer, and how often there was none.
        self.answers = Counter()
        #: Answers that say that the service is away, and not for how long.
        self.without_retry_after = 0
        #: What resumable uploads lost of what they had been told was there.
        self.lost_bytes = []
        self.register()

    def sign_in(self, service=None):
        """The answer of the gateway, or of the auth service, to the original way to sign in."""
        return ask("POST", f"{(service or self.fleet.gateway).url}/login", basic=f"{self.email}:correct horse")

    def note(self, reply):
        """Counts an answer to an upload."""
        with self.lock:
            self.answers[reply.status if reply else "none"] += 1
            if reply and reply.status in (429, 503) and "retry-after" not in reply.headers:
                self.without_retry_after += 1

    def accept(self, name, sha256, job, good=True):
        entry = Accepted(name, sha256, job, time.time(), good)
        with self.lock:
            self.accepted.append(entry)
        return entry

    def send(self, name, data, good=True, path="/api/v1/uploads"):
        """Sends a file in a form: what was accepted, or None."""
        try:
            reply = self.upload(Clip(name, data), path=path, patience=60)
        except BROKEN:
            reply = None
        self.note(reply)
        if reply and reply.status in (200, 201):
            return self.accept(name, hashlib.sha256(data).hexdigest(), reply.job_id, good)
        return None

    def send_file(self, path):
        """Sends a file of any size in a form: what was accepted, or None."""
        body = streamed(path)
        reply = self.ask("POST", "/api/v1/uploads", body, Content_Type=body.kind, patience=120)
        self.note(reply)
        with path.open("rb") as file:
            return self.accept(path.name, hashlib.file_digest(file, "sha256").hexdigest(), reply.job_id) if reply.status == 201 else None

    def send_resumable(self, name, data, piece, over=lambda: False, pause=0.0):
        """Sends a file in pieces, and goes on where the service says that it stands, until it is there."""
        while True:
            if over():
                return None
            try:
                made = self.create(len(data), Upload_Metadata=metadata(filename=name))
                self.note(made)
                if made.status == 201:
                    break
            except BROKEN:
                self.note(None)
            time.sleep(0.05)
        place, known = made.headers["location"], 0
        while True:
            try:
                at = self.head(place)
                if at.status == 200:
                    offset = int(at.headers["upload-offset"])
                    if offset < known:
                        self.lost_bytes.append((made.job_id, known, offset))
                    if offset == len(data):
                        return self.accept(name, hashlib.sha256(data).hexdigest(), made.job_id)
                    reply = self.patch(place, data[offset:offset + piece], offset)
                    self.note(reply)
                    if reply.status == 204:
                        known = int(reply.headers["upload-offset"])
                        time.sleep(pause)
                        continue
                elif at.status == 404:
                    self.lost_bytes.append((made.job_id, known, "404"))
                    return None
                else:
                    self.note(at)
            except BROKEN:
                self.note(None)
            time.sleep(0.05)


class Load:
    """Clients that upload all the time, in all ways there are, until told to stop."""

    def __init__(self, client, clients=2, pause=0.1):
        self.client, self.over, self.pause = client, threading.Event(), pause
        self.threads = [threading.Thread(target=self._run, args=[n], daemon=True) for n in range(clients)]

    def __enter__(self):
        for one in self.threads:
            one.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for one in self.threads:
            one.join(120)

    def _run(self, n):
        rng = random.Random(SEED * 1000 + n)
        while not self.over.is_set():
            data, way = variant(rng), rng.random()
            if way < 0.4:
                self.client.send("form.mp4", data)
            elif way < 0.7:
                self.client.send("original.mp4", data, path="/upload")
            else:
                self.client.send_resumable("pieces.mp4", data, 30_000, self.over.is_set)
            time.sleep(self.pause)
