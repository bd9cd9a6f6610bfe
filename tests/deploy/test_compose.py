"""The compose file, and the secrets that are made for it."""

import http.server
import json
import re
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from harness.deployment import DEPLOY, program, run
from harness.fleet import SERVICES
from harness.settings import Container, seconds


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of secrets."""
    folder = tmp_path_factory.mktemp("compose") / "secrets"
    assert run(DEPLOY / "make-secrets", folder).returncode == 0
    return folder


def texts(folder):
    return {file.name: file.read_text().strip() for file in folder.iterdir()}


@pytest.fixture(scope="module")
def whole():
    """The compose file as docker compose reads it."""
    done = run(program("docker-compose"), "-f", DEPLOY / "compose.yaml", "config", "--format", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def services(whole):
    return whole["services"]


def test_secrets_are_made_once_and_for_nobody_else(made):
    before = texts(made)
    assert run(DEPLOY / "make-secrets", made).stdout == ""
    assert texts(made) == before
    assert made.stat().st_mode & 0o77 == 0


def test_secrets_fit_each_other(made):
    secrets = texts(made)
    assert len(secrets["jwt_secret"]) >= 32
    passwords = [text for name, text in secrets.items() if name.endswith("_password")]
    assert len(set(passwords)) == len(passwords)
    for url, server in (("queue_url", "rabbitmq"), ("mongodb_url", "mongodb"), ("users_url", "mariadb")):
        assert urlsplit(secrets[url]).password == secrets[f"{server}_password"]
    assert secrets["rabbitmq.conf"].split()[-1] == secrets["rabbitmq_password"]


def test_the_services_trust_the_servers_certificates_and_no_others(made, services):
    secrets = texts(made)
    for host, url in (("rabbitmq", "queue_url"), ("mariadb", "users_url")):
        certificate = made / f"{host}.pem"
        assert run("openssl", "verify", "-CAfile", made / "ca.pem", "-verify_hostname", host, certificate).returncode == 0
        public = [run("openssl", *words, made / f"{host}.{kind}").stdout for kind, words in (
            ("pem", ["x509", "-noout", "-pubkey", "-in"]), ("key", ["pkey", "-pubout", "-in"]))]
        assert public[0] == public[1] != ""
        assert urlsplit(secrets[url]).hostname == host and secrets[url].endswith("=/run/secrets/ca.pem")
        assert {f"{host}.pem", f"{host}.key"} <= {secret["source"] for secret in services[host]["secrets"]}
    # Whoever has the authority's key can pass for any of them.
    assert not any(secret["source"] == "ca.key" for service in services.values() for secret in service.get("secrets", []))
    assert "ssl-mode=VERIFY_IDENTITY" in secrets["users_url"] and secrets["queue_url"].startswith("amqps://")


def test_no_service_is_root_in_mongodb(services):
    assert [name for name in services["mongodb"].get("environment") or {} if "ROOT" in name] == []
    assert "--auth" in services["mongodb"]["command"]


def test_the_services_are_there_with_two_converters(services):
    assert set(SERVICES) <= set(services)
    assert services["converter"]["deploy"]["replicas"] == 2


def test_each_secret_is_one_that_is_made(whole, made):
    assert [name for name, secret in whole["secrets"].items() if Path(secret["file"]).name not in texts(made)] == []


def test_all_are_checked_restarted_published_to_this_machine_alone_and_in_reach(services):
    for name, service in services.items():
        assert service.get("healthcheck", {}).get("test"), name
        assert service.get("restart") == "unless-stopped", name
        assert {port.get("host_ip") for port in service.get("ports", [])} <= {"127.0.0.1"}, name
        for other in service.get("depends_on", {}):
            assert set(service["networks"]) & set(services[other]["networks"]), f"{name} shares no network with {other}"


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_runs_read_only_with_settings_and_secrets_that_the_program_reads(services, made, image, tmp_path, name):
    service, secrets = services[name], texts(made)
    assert (service["command"], service.get("read_only"), service.get("cap_drop")) == ([name], True, ["ALL"])
    variables = service.get("environment", {})
    held = {f"/run/secrets/{s['source']}": secrets.get(s["source"], "") for s in service["secrets"]}
    named = {value for variable, value in variables.items() if variable.endswith("_FILE")}
    # URLs among the secrets name the authority.
    assert set(held) == named | set(re.findall(r"/run/secrets/ca\.pem", " ".join(held[path] for path in named)))
    for variable, value in variables.items():
        if value.startswith("http://") and "127.0.0.1" not in value:
            host = services.get(urlsplit(value).hostname, {})
            assert set(host.get("networks", {})) & set(service["networks"]), f"{variable} names no service in reach"
    settings = Container(name, image | variables, held, tmp_path).check({"health": health_port(service)})
    stop = re.fullmatch(r"(?:(\d+)m)?(?:(\d+)s)?", service["stop_grace_period"])
    assert 60 * int(stop[1] or 0) + int(stop[2] or 0) > seconds(settings.get("grace", ("0s",))[0])


def health_port(service):
    return int(re.search(r"/dev/tcp/127\.0\.0\.1/(\d+)", " ".join(service["healthcheck"]["test"]))[1])


@pytest.mark.parametrize("name", SERVICES)
def test_a_health_check_without_an_http_client_tells_ready_from_not_ready(services, name):
    asked = []

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(self.server.status)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    service = services[name]
    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        # Compose gives `$$` back as it is written; the container gets `$`.
        command = [word.replace("$$", "$").replace(f"/{health_port(service)} ", f"/{server.server_port} ")
                   for word in service["healthcheck"]["test"][1:]]
        for server.status, healthy in ((200, True), (503, False)):
            assert (run(*command).returncode == 0) == healthy
        server.shutdown()
    assert run(*command).returncode != 0
    assert asked and set(asked) <= {"/healthz", "/readyz"}


def test_with_a_bucket_the_jobs_stay_in_mongodb(services):
    done = run(program("docker-compose"), "-f", DEPLOY / "compose.yaml", "-f", DEPLOY / "compose.s3.yaml",
               "config", "--format", "json")
    assert done.returncode == 0, done.stderr
    with_bucket = json.loads(done.stdout)["services"]
    assert {name for name in services if with_bucket[name] != services[name]} == {"gateway", "converter"}
    for name in ("gateway", "converter"):
        environment = with_bucket[name]["environment"]
        assert environment["MICROPY_STORAGE_URL_FILE"] == "/run/secrets/storage_url"
        assert environment["MICROPY_JOBS_URL_FILE"] == services[name]["environment"]["MICROPY_STORAGE_URL_FILE"]
        mounted = {secret["source"] for secret in with_bucket[name]["secrets"]}
        assert mounted == {secret["source"] for secret in services[name]["secrets"]} | {"storage_url"}
        assert "outside" in with_bucket[name]["networks"]
