"""A server that tests use: started on a free port with its data in a temporary folder, and stopped again."""

import fcntl
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from .. import ROOT


class Missing(Exception):
    """The server is not installed; the text says what to install."""


def python_with(server, name, *packages):
    """The Python of an environment called `name`, which has these packages from PyPI; raises Missing without them."""
    made = subprocess.run([ROOT / "scripts" / "venv", name, *packages], text=True, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if made.returncode != 0:
        raise Missing(f"{server} cannot be installed from PyPI: {made.stderr[-500:]}")
    return made.stdout.strip()


#: The ports this process has handed out, each by the open file that keeps other processes from it.
_taken = []


def free_port():
    """A port that nothing has and nothing gets by chance: below the range from which the system takes ports for
    outgoing connections and for those that ask for any, one of which may come before the server's own start."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as limits:
        lowest = int(limits.read().split()[0])
    folder = os.path.join(tempfile.gettempdir(), f"micropy-ports-{os.getuid()}")
    os.makedirs(folder, exist_ok=True)
    for port in random.sample(range(10_000, lowest), 200):
        lock = open(os.path.join(folder, str(port)), "w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with socket.socket() as s:
                s.bind(("127.0.0.1", port))
        except OSError:
            lock.close()
            continue
        _taken.append(lock)
        return port
    raise RuntimeError(f"no free port found between 10000 and {lowest}")


class Server:
    """One server process. Its data outlives stop() and kill(), until close()."""

    #: What people call it.
    name = ""
    #: Seconds until it must answer.
    patience = 60

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix=f"micropy-{self.name}-")
        os.chmod(self.folder, 0o755)
        self.port = free_port()
        self.process = None

    def environment(self):
        """What tests find it by: {"MICROPY_TEST_..._URL": ...}."""
        raise NotImplementedError

    def prepare(self):
        """Makes the data folder, once, or raises Missing."""

    def command(self):
        """The process: (arguments, environment)."""
        raise NotImplementedError

    def answers(self):
        """Whether it does its work now."""
        raise NotImplementedError

    def start(self):
        if not os.path.exists(self.path("prepared")):
            self.prepare()
            open(self.path("prepared"), "w").close()
        arguments, environment = self.command()
        log = open(self.path("log"), "ab")
        self.process = subprocess.Popen(
            arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder,
            env={**os.environ, **environment}, start_new_session=True)
        log.close()
        deadline = time.monotonic() + self.patience
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                with open(self.path("log"), errors="replace") as log:
                    raise RuntimeError(f"{self.name} does not start:\n{log.read()[-3000:]}")
            time.sleep(0.1)
        return self

    def stop(self):
        """As an operator stops it."""
        self._end(signal.SIGTERM)

    def kill(self):
        """At once, without a goodbye."""
        self._end(signal.SIGKILL)

    def _end(self, how):
        if self.process is None:
            return
        try:
            os.killpg(self.process.pid, how)
            self.process.wait(30)
        except ProcessLookupError:
            pass
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process = None

    def close(self):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.close()


def listening(port):
    with socket.socket() as s:
        s.settimeout(1)
        return s.connect_ex(("127.0.0.1", port)) == 0
