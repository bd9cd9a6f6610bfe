"""The program's commands for those who run the service."""

import subprocess

import pytest

from harness import SERVER
from harness.http import User
from harness.service import inherited


def micropy(*words, env=None, **more):
    return subprocess.run([SERVER, *words], capture_output=True, text=True, timeout=30, env={**inherited(), **(env or {})}, **more)


def test_users_are_added_listed_and_get_new_passwords(start, tmp_path):
    folder = tmp_path / "serve"
    add = ["user", "add", "ann@example.com", "--password-stdin", "--data-dir", folder]
    assert micropy(*add, input="correct horse\n").returncode == 0
    assert micropy(*add, input="correct horse\n").returncode == 1
    change = ["user", "passwd", "ann@example.com", "--password-stdin", "--data-dir", folder]
    assert micropy(*change, input="new horse\n").returncode == 0
    assert micropy("user", "list", "--data-dir", folder).stdout == "ann@example.com\n"
    ann = User(start("serve").url, "ann@example.com")
    assert (ann.login("new horse").status, ann.login("correct horse").status) == (200, 401)


def test_a_folder_has_one_service_at_a_time(start):
    service = start("serve")
    second = micropy("serve", "--listen", "127.0.0.1:0", "--auth-listen", "127.0.0.1:0", "--data-dir", service.folder)
    assert second.returncode == 1


def test_a_weak_secret_is_refused_and_not_shown(tmp_path):
    weak = micropy("serve", "--data-dir", tmp_path, env={"JWT_SECRET": "sarcasm"})
    assert (weak.returncode, "sarcasm" in weak.stderr, "7 bytes" in weak.stderr) == (2, False, True)


@pytest.mark.parametrize("secret", ["0123456789abcdef0123456789abcdef"])
def test_print_config_tells_where_a_secret_comes_from_and_not_what_it_is(tmp_path, secret):
    file = tmp_path / "secret"
    file.write_text(f"{secret}\n")
    printed = micropy("serve", "--print-config", env={"JWT_SECRET_FILE": str(file)})
    assert (printed.returncode, "JWT_SECRET_FILE" in printed.stdout, secret[:10] in printed.stdout) == (0, True, False)
