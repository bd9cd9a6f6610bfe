"""One process of the service, or of the Flask services that it takes the place of."""

import atexit
import json
import os
import re
import select
import signal
import subprocess
from datetime import datetime
from pathlib import Path

from . import SERVER, twins
from .clock import until
from .http import Reply, User, ask, send
from .servers.server import free_port, listening

#: The flag for the address of each kind of process.
LISTEN = {"serve": "--listen", "gateway": "--listen", "auth": "--auth-listen"}


def inherited():
    """The environment without what is meant for the tests: the server takes no setting that it does not know."""
    return {name: value for name, value in os.environ.items() if not name.startswith("MICROPY_")}


class Service:
    """A process that keeps its ports, its folder and its log over restarts.

    Settings in lower case are the service's own (`workers=1` is MICROPY_WORKERS=1); those in upper case are names in
    the environment as they stand.
    """

    #: Those whose logs are shown when a test fails.
    running = []

    def __init__(self, kind, folder, twin=False, program=SERVER, host="127.0.0.1", **settings):
        self.program, self.host = program, host
        self.kind, self.folder, self.twin, self.settings = kind, Path(folder), twin, settings
        self.port, self.auth_port, self.process = free_port(), free_port(), None
        # Health and metrics: a port of their own beside HTTP for users.
        self.health_port = free_port() if kind in LISTEN else self.port
        self.url, self.auth_url, self.health_url = (
            f"http://127.0.0.1:{port}" for port in (self.port, self.auth_port, self.health_port))
        self.log = Path(f"{folder}.log")
        self.log.touch()

    def command(self):
        if self.twin:
            return [twins.python(), twins.FOLDER / f"{self.kind}.py"]
        flags = [LISTEN.get(self.kind, "--health-listen"), f"{self.host}:{self.port}"]
        if self.kind in LISTEN:
            flags += ["--health-listen", f"{self.host}:{self.health_port}"]
        if self.kind == "serve":
            flags += ["--auth-listen", f"{self.host}:{self.auth_port}"]
        return [self.program, self.kind, *flags, "--data-dir", self.folder, "--log", "json"]

    def environment(self):
        settings = {name if name.isupper() else f"MICROPY_{name.upper()}": str(value).lower() if isinstance(value, bool) else str(value)
                    for name, value in self.settings.items()}
        return {**inherited(), **settings}

    def start(self, **changes):
        self.settings = {name: value for name, value in {**self.settings, **changes}.items() if value is not None}
        assert self.program.exists(), f"{self.program} is not there: cargo build --workspace --all-features"
        self.began = self.log.stat().st_size
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                list(map(str, self.command())), stdin=subprocess.DEVNULL, stdout=log if self.twin else subprocess.PIPE,
                stderr=log, env=self.environment(), cwd=self.folder.parent)
        atexit.register(self.process.kill)  # also where the tests break off
        if not (self._twin_ready() if self.twin else self._ready()):
            self.kill()
            raise RuntimeError(f"{self.kind} does not start:\n{self.said()[-3000:]}")
        return self

    def _ready(self):
        readable, _, _ = select.select([self.process.stdout], [], [], 60)
        return readable and b"is ready" in self.process.stdout.readline()

    def _twin_ready(self):
        waits = self.kind in ("converter", "notification")
        ready = (lambda: "waiting for messages" in self.said()) if waits else (lambda: listening(self.port))
        return until(lambda: ready() or self.process.poll() is not None) and self.process.poll() is None

    def restart(self, **changes):
        """Stops it, which must end well, and starts it with some settings changed; None takes one away."""
        assert self.stop() == 0, self.said()[-2000:]
        return self.start(**changes)

    def kill(self):
        """At once, without a goodbye."""
        self.process.kill()
        self.process.wait()

    def stop(self, seconds=30):
        """As an operator stops it: its exit code."""
        self.process.terminate()
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return "killed, as it did not stop"

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    @property
    def alive(self):
        return self.process is not None and self.process.poll() is None

    # HTTP.

    def ask(self, method, path, body=None, **more):
        return ask(method, self.url + path, body, **more)

    def ask_auth(self, method, path, body=None, **more):
        """The auth service that runs in the same process, on its own port."""
        return ask(method, self.auth_url + path, body, **more)

    def ask_health(self, path):
        """What those who run it ask."""
        return ask("GET", self.health_url + path)

    def first_event(self, **headers):
        """The answer to GET /api/v1/events, which has no end: its first event, if there are any."""
        with send("GET", f"{self.url}/api/v1/events", stream=True, **headers) as response:
            lines = response.iter_lines(chunk_size=1)
            stream = response.headers.get("content-type") == "text/event-stream"
            return Reply(response, next(lines) + next(lines) if stream else None)

    def anyone(self, token=None):
        return User(self.url, token=token)

    def user(self, email):
        """A user who has just registered."""
        return User(self.url, email).register()

    # What can be seen of it from outside.

    def said(self, since=None):
        """Its log, by default since it was started last."""
        with self.log.open(errors="replace") as log:
            log.seek(self.began if since is None else since)
            return log.read()

    def entries(self, text="", since=0):
        """(time, entry) of each line of its log with this text."""
        for line in self.said(since).splitlines():
            if text in line and line.startswith("{"):
                entry = json.loads(line)
                yield datetime.fromisoformat(entry["timestamp"].replace("Z", "+00:00")).timestamp(), entry

    def complaints(self, since=None):
        """The warnings and errors in its log."""
        return [entry for _, entry in self.entries(since=self.began if since is None else since)
                if entry["level"] in ("WARN", "ERROR")]

    def workers(self):
        """The pids of its worker processes."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(parent) == self.process.pid and state != "Z":
                found.append(int(stat.parent.name))
        return sorted(found)

    def peak_memory(self, forget=False):
        """The most it had resident, in bytes, since that was last to be forgotten."""
        proc = Path(f"/proc/{self.process.pid}")
        if forget:
            (proc / "clear_refs").write_text("5")
        return int(re.search(r"VmHWM:\s+(\d+)", (proc / "status").read_text())[1]) * 1024

    def files(self, kind, state="whole"):
        """The names of the files in one of its stores."""
        return sorted(file.name for file in (self.folder / kind / state).iterdir())

    def in_hand(self):
        """The jobs that a converter began and did not bring to an end, each with its attempt."""
        begun = {}
        for _, entry in self.entries('"job_id"'):
            if entry["message"] == "conversion started":
                begun[entry["job_id"]] = entry["attempt"]
            elif entry["message"].startswith("conversion "):
                begun.pop(entry["job_id"], None)
        return begun


def starter(folder):
    """A function that starts services in a folder, and ends them with the test: each must stop as it is told."""
    started = []

    def start(kind="serve", name=None, **settings):
        service = Service(kind, folder / (name or f"{kind}{len(started) or ''}"), **settings)
        started.append(service)
        Service.running.append(service)
        return service.start()

    yield start
    codes = {service.kind: service.stop() for service in started if service.alive}
    for service in started:
        Service.running.remove(service)
    assert set(codes.values()) <= {0}, codes
