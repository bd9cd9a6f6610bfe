"""The Python services' names in the environment, and promises that Rust tests hold."""

import re
import subprocess

import pytest

from harness import ROOT, SERVER
from harness.fleet import SERVICES
from harness.service import inherited


def ends(fleet, name, *flags, **environment):
    return subprocess.run([SERVER, name, *flags, "--data-dir", fleet.folder / "none"], env={**inherited(), **environment},
                          capture_output=True, text=True, timeout=30)


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_reads_the_names_of_its_twin_and_prints_no_secret(fleet, name):
    told = fleet.environment(name)
    printed = ends(fleet, name, "--print-config", **told).stdout
    assert [key for key in told if not key.startswith(("MICROPY_", "MYSQL_")) and f"[{key}]" not in printed] == []
    if name == "auth":
        assert "[MYSQL_HOST …]" in printed and str(fleet.mysql.port) in printed
    for secret in ("JWT_SECRET", "GMAIL_PASSWORD", "MYSQL_PASSWORD"):
        assert secret not in told or told[secret] not in printed


def test_a_mysql_port_that_is_no_number_is_refused_and_the_password_not_shown(fleet):
    told = fleet.environment("auth") | {"MYSQL_PORT": "many"}
    reply = ends(fleet, "auth", "--auth-listen", "127.0.0.1:0", **told)
    assert (reply.returncode != 0, told["MYSQL_PASSWORD"] in reply.stderr) == (True, False)


def test_a_secret_of_seven_bytes_is_refused_and_not_shown(fleet):
    told = fleet.environment("auth") | {"JWT_SECRET": "sarcasm"}
    reply = ends(fleet, "auth", "--auth-listen", "127.0.0.1:0", **told)
    assert (reply.returncode, "sarcasm" in reply.stderr, "jwt_secret" in reply.stderr) == (2, False, True)


def test_all_services_end_without_a_complaint_when_they_are_told_to(fleet):
    began = {name: fleet.service(name).log.stat().st_size for name in SERVICES}
    assert fleet.stop(*SERVICES) == [0, 0, 0, 0]
    assert {name: fleet.service(name).complaints(began[name]) for name in SERVICES} == dict.fromkeys(SERVICES, [])


@pytest.mark.parametrize("crate, name", [
    ("micropy-adapters", "the_time_does_not_tell_who_is_registered"),
    ("micropy-adapters", "an_outage_loses_nothing"),
    ("micropy-adapters", "the_broker_may_start_last"),
    ("micropy-adapters", "consuming_outlives_its_queue"),
    ("micropy-adapters", "a_queue_made_by_hand_is_used_as_it_is"),
    ("micropy-adapters", "retries_are_counted_and_change_nothing_else"),
    ("micropy-adapters", "a_range_reads_no_more_chunks_than_it_needs"),
    ("micropy-adapters", "bytes_that_are_counted_survive_a_kill"),
    ("micropy-adapters", "pymongo_and_we_read_each_other"),
    ("micropy-server", "database_and_mail_become_urls"),
])
def test_the_rust_test_that_holds_this_promise_exists(crate, name):
    assert any(re.search(rf"\bfn {name}\b", file.read_text()) for file in ROOT.glob(f"{crate}/**/*.rs"))
