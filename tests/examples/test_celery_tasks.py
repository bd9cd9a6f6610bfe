"""celery_tasks.py: a worker with prefork over RabbitMQ, and the program that gives it videos."""

import json
import os
import signal

import pytest

from harness import MEDIA
from harness.clips import FIRST, SILENT, repeated
from harness.clock import until
from harness.servers import Missing


@pytest.fixture
def broker(servers):
    try:
        return servers.rabbitmq.url
    except Missing as e:
        pytest.skip(str(e))


@pytest.fixture
def worker(broker, start):
    """Starts a worker of two processes."""
    def worker(**settings):
        process = start("-m", "celery", "--app", "celery_tasks", "worker", "--loglevel", "INFO",
                        "--pool", "prefork", "--concurrency", 2, "--hostname", "tested@localhost", BROKER_URL=broker, **settings)
        assert until(lambda: "ready." in process.log.read_text() or process.poll() is not None, 60), process.log.read_text()
        assert process.poll() is None, process.log.read_text()
        return process
    return worker


@pytest.fixture
def inspect(broker, run):
    """What a worker tells of itself."""
    def inspect(what):
        told = run("-m", "celery", "--app", "celery_tasks", "inspect", what, "--json", BROKER_URL=broker)
        return json.loads(told.stdout)["tested@localhost"] if told.returncode == 0 else None
    return inspect


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    path = tmp_path_factory.mktemp("long") / "long.m4a"
    repeated(path, 50)
    return path


def test_a_video_becomes_an_mp3_in_a_process_of_the_pool(worker, inspect, run, broker, expected, tmp_path):
    worker = worker()
    pool = inspect("stats")["pool"]
    assert "prefork" in pool["implementation"] and len(set(pool["processes"]) - {worker.pid}) == 2
    for name in "one", "two":
        done = run("celery_tasks.py", MEDIA / FIRST.name, tmp_path / f"{name}.mp3", BROKER_URL=broker)
        assert done.returncode == 0, done.stderr
        assert done.stdout == "2.0 s of AAC-LC\n"
        assert (tmp_path / f"{name}.mp3").read_bytes() == expected(FIRST.name, "file")


def test_a_video_that_is_none_fails_once_and_with_a_reason(worker, run, broker, tmp_path):
    worker = worker()
    done = run("celery_tasks.py", MEDIA / SILENT.name, tmp_path / "a.mp3", BROKER_URL=broker)
    assert done.returncode == 1 and "NoAudioTrack" in done.stderr, done.stderr
    assert not (tmp_path / "a.mp3").exists() and "Retry in" not in worker.log.read_text()


def test_what_cannot_be_written_is_tried_again(worker, run, broker, tmp_path):
    worker, folder = worker(), tmp_path / "later"
    program = "import sys, celery_tasks; celery_tasks.convert.delay(*sys.argv[1:])"
    assert run("-c", program, MEDIA / FIRST.name, folder / "a.mp3", BROKER_URL=broker).returncode == 0
    assert until(lambda: "Retry in" in worker.log.read_text(), 30), worker.log.read_text()
    folder.mkdir()
    assert until((folder / "a.mp3").exists, 60), worker.log.read_text()


def test_the_video_of_a_killed_process_is_taken_by_another(worker, inspect, start, broker, long, tmp_path):
    folder = tmp_path / "made"
    folder.mkdir()
    worker = worker()
    asked = start("celery_tasks.py", long, folder / "a.mp3", BROKER_URL=broker)
    # It is within the conversion.
    assert until(lambda: "PROGRESS" in asked.log.read_text(), 60), asked.log.read_text()
    busy, = inspect("active")
    os.kill(busy["worker_pid"], signal.SIGKILL)
    assert asked.wait(120) == 0, asked.log.read_text()
    assert "600.2 s" in asked.log.read_text() and "WorkerLostError" in worker.log.read_text()
    # And what the killed one had written, as the program says.
    assert sorted(path.suffix for path in folder.iterdir()) == [".mp3", ".part"]
    assert (folder / "a.mp3").stat().st_size > 599 * 16_000


def test_a_time_limit_ends_a_conversion_and_leaves_nothing(worker, run, broker, long, tmp_path):
    folder = tmp_path / "made"
    folder.mkdir()
    worker = worker()
    done = run("celery_tasks.py", long, folder / "a.mp3", BROKER_URL=broker, SOFT_TIME_LIMIT=1)
    assert done.returncode == 1 and "SoftTimeLimitExceeded" in done.stderr, done.stderr
    assert list(folder.iterdir()) == []
    # The process that it ended in takes the next.
    assert run("celery_tasks.py", MEDIA / FIRST.name, folder / "b.mp3", BROKER_URL=broker).returncode == 0
    assert "WorkerLostError" not in worker.log.read_text()
