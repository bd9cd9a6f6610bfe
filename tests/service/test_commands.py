"""The program's commands for those who run the service."""

import json
import sqlite3
import subprocess

import pytest

from harness import SERVER
from harness.clips import GOOD
from harness.clock import until
from harness.hooks import Receiver
from harness.http import User
from harness.servers import Missing
from harness.service import inherited


def micropy(*words, env=None, **more):
    return subprocess.run([SERVER, *words], capture_output=True, text=True, timeout=30, env={**inherited(), **(env or {})}, **more)


def test_users_are_added_listed_and_get_new_passwords(start, tmp_path):
    folder = tmp_path / "serve"
    add = ["user", "add", "ann@example.com", "--password-stdin", "--data-dir", folder]
    assert micropy(*add, input="correct horse\n").returncode == 0
    assert micropy(*add, input="correct horse\n").returncode == 1
    for odd in ("ann", "ann @example.com", "ann\n@example.com", f"{'a' * 300}@example.com", "@example.com", "ann@a@example.com"):
        assert micropy("user", "add", odd, "--password-stdin", "--data-dir", folder, input="correct horse\n").returncode == 1, odd
    change = ["user", "passwd", "ann@example.com", "--password-stdin", "--data-dir", folder]
    for short in ([*add[:2], "bob@example.com", *add[3:]], change):
        refused = micropy(*short, input="short\n")
        assert (refused.returncode, "8 to" in refused.stderr) == (1, True), refused
    assert micropy(*change, input="new horse\n").returncode == 0
    assert micropy("user", "list", "--data-dir", folder).stdout == "ann@example.com\n"
    ann = User(start("serve").url, "ann@example.com")
    assert (ann.login("new horse").status, ann.login("correct horse").status) == (200, 401)


@pytest.fixture(params=["SQLite", "MongoDB"])
def with_webhooks(request, start):
    """A service whose jobs and webhooks are there, and the settings that a command needs."""
    settings = {}
    if request.param == "MongoDB":
        try:
            settings = {"jobs_url": request.getfixturevalue("servers").mongodb.environment()["MICROPY_TEST_MONGODB_URL"]}
        except Missing as e:
            pytest.skip(str(e))
    service = start("serve", allowed_networks="127.0.0.0/8", **settings)
    return service, {f"MICROPY_{name.upper()}": value for name, value in settings.items()}


@pytest.mark.parametrize("more, jobs_left", [([], 0), (["--keep-jobs"], 1)], ids=["with all jobs", "jobs are kept"])
def test_the_webhooks_of_a_removed_user_go_too_and_those_of_others_stay(with_webhooks, more, jobs_left):
    (service, env), kept = with_webhooks, "--keep-jobs" in more
    name = "kept" if kept else "gone"
    ann, bob = (service.user(f"{who}.{name}@example.com") for who in ("ann", "bob"))
    with Receiver() as receiver:
        for user in (ann, bob):
            assert user.ask("POST", "/api/v1/auth/webhooks", {"url": receiver.url}).status == 201
        assert ann.ask("POST", "/api/v1/auth/webhooks", {}).status == 201
        for user in (ann, bob):
            user.uploaded(GOOD)
            receiver.next()
    shown = lambda user: (len(user.get("/api/v1/auth/webhooks").json()["webhooks"]), len(user.get("/api/v1/deliveries").json()["deliveries"]))
    assert (shown(ann), shown(bob)) == ((2, 1), (1, 1))
    remove = ["user", "remove", ann.email, *more, "--data-dir", service.folder]
    removed = micropy(*remove, env=env)
    assert removed.returncode == 0, removed
    wanted = [f"removed {ann.email}", f"removed 2 webhooks of {ann.email}", f"removed 1 jobs of {ann.email}"]
    assert removed.stdout.splitlines() == wanted[:2 if kept else 3]
    # Whoever has the address next has none of it.
    added = micropy("user", "add", ann.email, "--password-stdin", "--with-jobs", "--data-dir", service.folder, input="correct horse\n", env=env)
    assert added.returncode == 0, added
    ann.token = ann.login().json()["token"]
    assert (shown(ann), shown(bob)) == ((0, 0), (1, 1))
    assert len(ann.jobs()) == jobs_left
    # What was left by a version that left them goes as well.
    assert ann.ask("POST", "/api/v1/auth/webhooks", {}).status == 201
    assert micropy(*remove, env=env).returncode == 0
    assert micropy("user", "remove", ann.email, "--data-dir", service.folder, env=env).returncode == (0 if kept else 1)


def test_a_user_who_is_added_has_no_webhooks_of_an_earlier_one(with_webhooks):
    service, env = with_webhooks
    ann = service.user("ann.again@example.com")
    assert ann.ask("POST", "/api/v1/auth/webhooks", {"url": "https://example.com"}).status == 201
    # As the command leaves it that has the settings of an auth service alone.
    database = sqlite3.connect(service.folder / "micropy.db")
    with database:
        assert database.execute("DELETE FROM users WHERE email = ?", [ann.email]).rowcount == 1
    added = micropy("user", "add", ann.email, "--password-stdin", "--data-dir", service.folder, input="correct horse\n", env=env)
    assert added.returncode == 0, added
    ann.token = ann.login().json()["token"]
    assert ann.get("/api/v1/auth/webhooks").json()["webhooks"] == []


def test_a_folder_has_one_service_at_a_time(start):
    service = start("serve")
    second = micropy("serve", "--listen", "127.0.0.1:0", "--auth-listen", "127.0.0.1:0", "--data-dir", service.folder)
    assert second.returncode == 1


def test_dead_letters_are_listed_and_replayed_while_the_service_runs(start):
    service = start("serve")
    ann = service.user("ann@example.com")
    id, where = ann.uploaded(GOOD)["id"], ["--data-dir", service.folder]
    mails = lambda: sorted((service.folder / "outbox").glob(f"{id}*.eml"))
    assert until(mails)
    database = sqlite3.connect(service.folder / "micropy.db")
    told = lambda: database.execute("SELECT notified FROM jobs").fetchone()[0]
    assert until(told)
    assert micropy("queue", "list", *where).stdout == ""
    # As a mail server that was away for too long leaves it.
    [(source, mp3)] = database.execute("SELECT source, mp3 FROM jobs")
    body = json.dumps({"video_fid": source.hex(), "mp3_fid": mp3.hex(), "username": ann.email, "job_id": id})
    with database:
        database.execute("UPDATE jobs SET notified = NULL")
        database.execute("INSERT INTO dead_letters (queue, payload, deliveries, reason, died) VALUES ('mp3', ?, 110, 'no\tserver', 0)",
                         [body.encode()])
        database.execute("INSERT INTO dead_letters (queue, payload, deliveries, reason, died) VALUES ('video', CAST('odd' AS BLOB), 1, 'not JSON', 1)")
    for mail in mails():
        mail.unlink()
    listed = micropy("queue", "list", *where)
    assert [line.split("\t")[:4] for line in listed.stdout.splitlines()] == [
        ["video", "1970-01-01T00:00:00Z", "1", "not JSON"], ["mp3", "1970-01-01T00:00:00Z", "110", "no server"]]
    assert micropy("queue", "list", "mp3", *where).stdout.count("\n") == 1
    assert micropy("queue", "replay", "mp3", *where).stdout == "1 of mp3\n"
    assert until(mails) and until(told)
    # Told once: another message leads to no other mail.
    with database:
        database.execute("INSERT INTO dead_letters (queue, payload, deliveries, reason, died) VALUES ('mp3', ?, 1, 'x', 0)", [body.encode()])
    for mail in mails():
        mail.unlink()
    assert micropy("queue", "replay", *where).stdout == "1 of video\n0 of import\n1 of mp3\n0 of failed\n"
    # What is no message dies again.
    assert until(lambda: micropy("queue", "list", *where).stdout.startswith("video\t"))
    assert until(lambda: database.execute("SELECT count(*) FROM messages").fetchone()[0] == 0)
    assert mails() == []
    assert micropy("queue", "drop", "mp3", *where).stdout == "0 of mp3\n"
    assert micropy("queue", "drop", *where).stdout == "1 of video\n0 of import\n0 of mp3\n0 of failed\n"
    assert micropy("queue", "list", *where).stdout == ""


def test_a_weak_secret_is_refused_and_not_shown(tmp_path):
    weak = micropy("serve", "--data-dir", tmp_path, env={"JWT_SECRET": "sarcasm"})
    assert (weak.returncode, "sarcasm" in weak.stderr, "7 bytes" in weak.stderr) == (2, False, True)


@pytest.mark.parametrize("secret", ["0123456789abcdef0123456789abcdef"])
def test_print_config_tells_where_a_secret_comes_from_and_not_what_it_is(tmp_path, secret):
    file = tmp_path / "secret"
    file.write_text(f"{secret}\n")
    printed = micropy("serve", "--print-config", env={"JWT_SECRET_FILE": str(file)})
    assert (printed.returncode, "JWT_SECRET_FILE" in printed.stdout, secret[:10] in printed.stdout) == (0, True, False)
