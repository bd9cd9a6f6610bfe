"""No one user stops the others: not with connections, streams, archives or a thousand jobs."""

import io
import json
import os
import signal
import socket
import sqlite3
import statistics
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness import SERVER
from harness.clips import GOOD, Clip, repeated
from harness.clock import until
from harness.http import send
from harness.service import starter
from harness.servers import Missing

#: Streams of events, archives and downloads of one user at the same time.
STREAMS, ARCHIVES, DOWNLOADS = 16, 2, 32
#: Jobs of another that may begin before somebody's only one.
AHEAD = 2


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    for start in starter(tmp_path_factory.mktemp("fairness")):
        yield start("serve")


def is_alive(service):
    began = time.monotonic()
    assert service.ask("GET", "/healthz", patience=10).status == 200
    return time.monotonic() - began < 2


# Streams.

def test_a_users_streams_are_limited_and_leave_room_for_others(service, ann, bob):
    with ThreadPoolExecutor(16) as pool:
        asked = list(pool.map(lambda _: ann.events(), range(400)))
    open_streams = [stream for stream in asked if stream.status == 200]
    refused = [stream for stream in asked if stream.status == 429]
    assert (len(open_streams), len(refused)) == (STREAMS, 400 - STREAMS)
    assert all(int(stream.response.headers["retry-after"]) > 0 for stream in refused)
    assert is_alive(service)
    assert bob.events().line() == b"event: ready"
    for stream in asked:
        stream.close()

    def again():
        stream = ann.events()
        stream.close()
        return stream.status == 200
    assert until(again, 60), "a closed stream makes room for another"


# Connections.

@pytest.fixture
def few_files(start, tmp_path):
    """A service that may open no more than 256 files."""
    program = tmp_path / "few-files"
    program.write_text(f'#!/bin/sh\nulimit -n 256\nexec "{SERVER}" "$@"\n')
    program.chmod(0o755)
    return start("serve", program=program)


def crowd(service, number):
    """Connections that say nothing."""
    found = []
    for _ in range(number):
        found.append(socket.create_connection(("127.0.0.1", service.port), timeout=10))
    return found


def processor_time(service):
    """Seconds of the processor that a service has used."""
    fields = Path(f"/proc/{service.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_connections_end_before_descriptors_do_and_one_address_has_half_of_them(few_files):
    ann = few_files.user("ann@example.com")
    idle = crowd(few_files, 300)
    time.sleep(0.5)
    used = processor_time(few_files)
    # From another address of this computer.
    with socket.create_connection(("127.0.0.1", few_files.port), timeout=10, source_address=("127.0.0.2", 0)) as other:
        other.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert other.recv(100).startswith(b"HTTP/1.1 200")
    time.sleep(2)
    assert processor_time(few_files) - used < 0.5, "it spins"
    descriptors = len(list(Path(f"/proc/{few_files.process.pid}/fd").iterdir()))
    assert descriptors < 200
    assert [entry["message"] for entry in few_files.complaints() if "accept" in entry["message"]] == []
    for connection in idle:
        connection.close()
    assert until(lambda: is_alive(few_files))
    assert ann.uploaded(GOOD)["state"] == "done"


# Downloads.

def unread(service, job, token, address):
    """A download that nobody reads, which came by a proxy: the status, and the connection."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(20)
    connection.connect(("127.0.0.1", service.port))
    connection.sendall(f"GET /api/v1/jobs/{job}/mp3 HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {address}\r\n"
                       f"Authorization: Bearer {token}\r\n\r\n".encode())
    head = connection.recv(600).decode(errors="replace")
    return int(head.split()[1]), head, connection


@pytest.fixture
def few_files_behind_a_proxy(start, tmp_path):
    program = tmp_path / "few-files"
    program.write_text(f'#!/bin/sh\nulimit -n 600\nexec "{SERVER}" "$@"\n')
    program.chmod(0o755)
    return start("serve", program=program, trust_forwarded=True, registration=True)


def enlarge(service):
    """No download of the only MP3 ends by itself."""
    mp3, = (service.folder / "mp3s" / "whole").iterdir()
    os.truncate(mp3, 80 << 20)


def test_downloads_of_one_user_leave_room_for_others_also_behind_a_proxy(few_files_behind_a_proxy):
    service = few_files_behind_a_proxy
    ann, bob = service.user("ann@example.com"), service.user("bob@example.com")
    job = ann.uploaded(GOOD)["id"]
    enlarge(service)
    # From addresses all over the world.
    held, refused = [], None
    while refused is None:
        status, head, connection = unread(service, job, ann.token, f"203.0.113.{len(held)}")
        assert status in (200, 429), head
        if status == 429:
            refused = head.lower()
        held.append(connection)
        assert len(held) < 30
    assert "retry-after:" in refused
    assert bob.get("/api/v1/jobs", X_Forwarded_For="198.51.100.9", patience=10).status == 200
    for connection in held:
        connection.close()

    def again():
        status, _, connection = unread(service, job, ann.token, "203.0.113.7")
        connection.close()
        return status == 200
    assert until(again, 60), "one that has ended makes room for another"


def test_who_asks_for_anything_else_behind_a_proxy_leaves_half_of_the_room(few_files_behind_a_proxy):
    service = few_files_behind_a_proxy
    bob = service.user("bob@example.com")
    held = []
    for _ in range(60):
        connection = socket.create_connection(("127.0.0.1", service.port), timeout=20)
        # A body that does not come.
        connection.sendall(b"POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 203.0.113.7\r\n"
                           b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
        connection.settimeout(0.5)
        held.append(connection)
        try:
            head = connection.recv(600)
            break
        except TimeoutError:
            pass
    assert head.startswith(b"HTTP/1.1 429"), (len(held), head)
    assert bob.get("/api/v1/jobs", X_Forwarded_For="198.51.100.9", patience=10).status == 200
    for connection in held:
        connection.close()


def test_a_user_has_as_many_downloads_as_browsers_and_players_open(service, ann):
    long = ann.uploaded(GOOD)["id"]
    found = ann.get(f"/api/v1/jobs/{long}").json()["mp3"]["fid"]
    os.truncate(service.folder / "mp3s" / "whole" / found, 80 << 20)
    downloads = [unread(service, long, ann.token, "203.0.113.7") for _ in range(DOWNLOADS + 1)]
    assert [status for status, _, _ in downloads] == [200] * DOWNLOADS + [429]
    assert ann.get("/api/v1/jobs").status == 200
    for _, _, connection in downloads:
        connection.close()


# Archives.

def test_a_users_archives_are_limited_and_another_has_theirs(service, ann, bob, tmp_path):
    long = Clip("long.m4a", repeated(tmp_path / "long.m4a", 25))
    job = ann.uploaded(long, path="/api/v1/uploads?bitrate=320", patience=120)["id"]
    other = bob.uploaded(GOOD)["id"]
    path, held = f"/api/v1/archive?jobs={job}", []
    for _ in range(ARCHIVES):
        response = send("GET", f"{service.url}{path}", token=ann.token, stream=True)
        assert response.status_code == 200
        held.append(response)
    refused = ann.get(path)
    assert (refused.status, refused.headers["retry-after"].isdigit()) == (429, True)
    assert bob.get(f"/api/v1/archive?jobs={other}").status == 200
    for response in held:
        response.close()
    assert until(lambda: ann.get(path).status == 200, 60)


def test_a_job_that_is_named_a_thousand_times_is_in_the_archive_once(service, ann):
    job = ann.uploaded(GOOD)["id"]
    named = ",".join([job, job.upper()] * 600)
    archive = ann.get(f"/api/v1/archive?jobs={named}")
    with zipfile.ZipFile(io.BytesIO(archive.body)) as entries:
        assert len(entries.namelist()) == 1


# Health.

def test_readiness_does_not_depend_on_the_number_of_jobs(start):
    service = start("serve")
    service.user("ann@example.com").uploaded(GOOD)
    database = sqlite3.connect(service.folder / "micropy.db")
    columns = [name for _, name, *_ in database.execute("PRAGMA table_info(jobs)")]
    new = {"id": "randomblob(12)", "source": "randomblob(12)", "mp3": "randomblob(12)"}
    values = ", ".join(new.get(name, name) for name in columns)
    with database:
        database.execute(f"""
            WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40000)
            INSERT INTO jobs SELECT {values} FROM n, (SELECT * FROM jobs LIMIT 1)""")

    def median(path):
        took = []
        for _ in range(21):
            began = time.monotonic()
            assert service.ask_health(path).status == 200
            took.append(time.monotonic() - began)
        return statistics.median(took)
    assert median("/readyz") < median("/metrics") / 4


# Jobs.

def ahead(jobs, late):
    """How many of others' jobs began while one waited: (owner, created, started) of each."""
    [(asked, began)] = [(created, started) for owner, created, started in jobs if owner == late]
    return sum(owner != late and asked < started < began for owner, created, started in jobs)


def test_a_hundred_jobs_of_one_user_delay_anothers_by_two_at_most(start):
    service = start("serve", workers=1)
    ann, bob = service.user("ann@example.com"), service.user("bob@example.com")
    sent = ann.upload(*[GOOD] * 100, patience=120).json()["files"]
    assert len(sent) == 100
    assert bob.uploaded(GOOD)["state"] == "done"
    waiting = [job for job in ann.every_job("queued")]
    assert len(waiting) > 50, "they were still to do"
    times = sqlite3.connect(service.folder / "micropy.db").execute("SELECT owner, created, started FROM jobs WHERE started")
    assert ahead(times.fetchall(), bob.email) <= AHEAD
    # Nor are hers lost or held back for good.
    assert until(lambda: not any(True for _ in ann.every_job("queued,running")), 240)
    assert {job["state"] for job in ann.every_job("done,failed,cancelled")} == {"done"}


def test_who_cancels_and_retries_has_no_more_places_in_line_than_before(start, tmp_path):
    service = start("serve", workers=1)
    ann, bob, carol = (service.user(f"{name}@example.com") for name in ("ann", "bob", "carol"))
    # The only worker is at work, and stands still until all have their places.
    long = Clip("long.m4a", repeated(tmp_path / "long.m4a", 40))
    carol.upload(long, path="/api/v1/uploads?bitrate=320", patience=120)
    assert until(service.workers, 30)
    [worker] = service.workers()
    os.kill(worker, signal.SIGSTOP)
    jobs = [ann.upload(GOOD).job_id for _ in range(20)]
    for verb in ("cancel", "retry"):
        for job in jobs:
            assert ann.act(job, verb).status == 200
    late = bob.upload(GOOD).job_id
    os.kill(worker, signal.SIGCONT)
    assert bob.job(late, 120)["state"] == "done"
    assert until(lambda: not any(True for _ in ann.every_job("queued,running")), 240)
    assert [ann.job(job)["state"] for job in jobs] == ["done"] * len(jobs)
    database = sqlite3.connect(service.folder / "micropy.db")
    times = database.execute("SELECT owner, created, started FROM jobs WHERE started")
    assert ahead(times.fetchall(), bob.email) <= AHEAD


@pytest.fixture(scope="module")
def spread(tmp_path_factory):
    """Gateway and two converters over RabbitMQ and MongoDB."""
    from harness.fleet import Separate
    from harness.servers import Servers
    servers = Servers()
    try:
        servers.start()
    except Missing as e:
        servers.close()
        pytest.skip(str(e))
    fleet = Separate(servers, tmp_path_factory.mktemp("spread"), workers=1)
    fleet.become("auth", "gateway", "converter-1", "converter-2", "notification")
    yield fleet
    fleet.stop(*list(fleet.running))
    fleet.mongo.close()
    servers.close()


@pytest.mark.full
def test_a_hundred_jobs_over_rabbitmq_delay_anothers_by_two_at_most(spread, tmp_path):
    # Longer to convert than to upload: most are still to do when bob comes.
    long = Clip("long.m4a", repeated(tmp_path / "long.m4a", 3))
    ann, bob = (spread.gateway.user(f"{name}.of.fairness@example.com") for name in ("ann", "bob"))
    sent = ann.upload(*[long] * 100, patience=120).json()["files"]
    assert len(sent) == 100
    assert spread.state("video")[0] <= 1, "what is not in line waits in the ledger"
    assert bob.uploaded(GOOD)["state"] == "done"
    times = [(job["owner"], job["created"], job["started"]) for job in spread.jobs.find({"started": {"$exists": True}})]
    assert sum(owner == ann.email for owner, *_ in times) < 100, "they were still to do"
    assert ahead(times, bob.email) <= AHEAD
    assert until(lambda: spread.jobs.count_documents({"owner": ann.email, "state": "done"}) == 100, 300)
    # Two workers had something to do all the time.
    began = sorted(job["started"] for job in spread.jobs.find({"owner": ann.email}))
    gaps = [(after - before).total_seconds() for before, after in zip(began, began[1:])]
    assert statistics.median(gaps) < 1, json.dumps(gaps)
