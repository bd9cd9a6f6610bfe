"""The process that reads a stranger's file holds nothing and reaches nothing, and nobody of its user reads our memory.

What it cannot do is tried from within by the tests of `worker/sandbox.rs`.
"""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from harness import SERVER
from harness.clips import hours
from harness.clock import until
from harness.service import inherited, starter
from harness.tokens import SECRET


@pytest.fixture(scope="module")
def long_video(tmp_path_factory):
    return hours(tmp_path_factory.mktemp("clips"))


@pytest.fixture
def start(tmp_path):
    yield from starter(tmp_path)


def status(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def test_a_worker_is_confined_before_it_reads_the_video(start, long_video):
    service = start("serve", workers=1, jwt_secret=SECRET)
    ann = service.user("ann@example.com")
    ann.upload(long_video)
    worker = until(service.workers).pop()
    until(lambda: status(worker)["Seccomp"] == "2", 5, 0.001)
    held = status(worker)
    assert (held["NoNewPrivs"], held["Seccomp"], held["Seccomp_filters"]) == ("1", "2", "2")
    assert SECRET.encode() not in Path(f"/proc/{worker}/environ").read_bytes()
    for thread in Path(f"/proc/{worker}/task").iterdir():
        assert status(int(thread.name))["Seccomp"] == "2"
    # Its video and errors go over sockets and pipes; the one file is the MP3, which has no name.
    opened = {os.readlink(fd) for fd in Path(f"/proc/{worker}/fd").iterdir()}
    files = {name for name in opened if name.startswith("/")}
    assert all(name.endswith(" (deleted)") for name in files) and len(files) == 1, opened


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to run the service as somebody else")
def test_nobody_of_the_same_user_reads_the_memory_of_a_service(request):
    nobody = 65534
    # Folders of pytest are root's alone.
    folder = Path(tempfile.mkdtemp(prefix="micropy-isolation-"))
    request.addfinalizer(lambda: shutil.rmtree(folder))
    program, data = folder / "micropy-server", folder / "data"
    shutil.copy(SERVER, program)
    data.mkdir()
    for path in (folder, data):
        os.chown(path, nobody, nobody)
    service = subprocess.Popen(
        [program, "serve", "--listen", "127.0.0.1:0", "--auth-listen", "127.0.0.1:0",
         "--health-listen", "127.0.0.1:0", "--data-dir", data],
        user=nobody, group=nobody, extra_groups=[], stdout=subprocess.PIPE, env={**inherited(), "MICROPY_JWT_SECRET": SECRET})
    try:
        assert b"is ready" in service.stdout.readline()
        for file in ("environ", "mem"):
            path = f"/proc/{service.pid}/{file}"
            read = subprocess.run(["head", "-c1", path], user=nobody, group=nobody, extra_groups=[], capture_output=True)
            assert read.returncode != 0 and b"Permission denied" in read.stderr, (file, read)
    finally:
        service.terminate()
        assert service.wait(30) == 0
