"""Connections to other services are encrypted where their URL says so, and go to nobody who cannot prove to be the one."""

from urllib.parse import urlsplit

import pytest
from pymongo import MongoClient

from harness.certificates import Authority
from harness.clips import GOOD
from harness.fleet import Proxy
from harness.http import User
from harness.servers.mariadb import MariaDb
from harness.servers.rabbitmq import Rabbitmq
from harness.servers.server import Missing
from harness.tokens import SECRET


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    """An authority that has signed nothing here."""
    return Authority(tmp_path_factory.mktemp("stranger"))


def started(server):
    try:
        return server.start()
    except Missing as e:
        pytest.skip(str(e))


def at_localhost(url, scheme):
    """The same server, by the name that stands in its certificate."""
    parts = urlsplit(url)
    return parts._replace(scheme=scheme, netloc=parts.netloc.replace("127.0.0.1", "localhost")).geturl()


def test_the_auth_service_is_asked_by_https(start, authority, stranger):
    auth = start("auth", JWT_SECRET=SECRET, registration=True)
    proxy = Proxy(auth.url, authority.context())
    url = f"https://localhost:{proxy.port}"
    gateway = start("gateway", auth_url=f"{url}?ca={authority.pem}", JWT_SECRET=SECRET, registration=True)
    ann = gateway.user("ann@example.com")
    assert (ann.login().status, ann.get("/api/v1/auth/me").status, ann.login("wrong").status) == (200, 200, 401)
    # Neither an authority that others trust, nor one that has not signed the certificate, nor another name is enough.
    for other in (f"{url}?ca={stranger.pem}", url, f"https://127.0.0.1:{proxy.port}?ca={authority.pem}"):
        gateway.restart(auth_url=other)
        assert User(gateway.url, ann.email).login().status == 503
    assert auth.alive and ann.login().status == 503


def test_mysql_is_asked_by_tls(start, authority, stranger):
    server = started(MariaDb(authority.issue()))
    try:
        url = at_localhost(server.environment()["MICROPY_TEST_MYSQL_URL"], "mysql")
        auth = start("auth", JWT_SECRET=SECRET, registration=True, users_url=f"{url}?ssl-mode=VERIFY_IDENTITY&ssl-ca={authority.pem}")
        gateway = start("gateway", auth_url=auth.url, JWT_SECRET=SECRET, registration=True)
        gateway.user("ann@example.com")
        assert gateway.stop() == 0
        assert auth.ask("POST", "/login", basic="ann@example.com:correct horse").status == 200
        for wrong in (f"ssl-mode=VERIFY_IDENTITY&ssl-ca={stranger.pem}", "ssl-mode=VERIFY_IDENTITY", "ssl-mode=DISABLED"):
            auth.restart(users_url=f"{url}?{wrong}")
            assert auth.ask("POST", "/login", basic="ann@example.com:correct horse").status in (500, 503), wrong
    finally:
        server.close()


def test_rabbitmq_is_asked_by_tls(start, servers, authority, stranger):
    try:
        servers.start("mongodb")
    except Missing as e:
        pytest.skip(str(e))
    broker = started(Rabbitmq(authority.issue()))
    try:
        url = at_localhost(broker.url, "amqps")
        service = start("serve", jobs_url=servers.environment["MICROPY_TEST_MONGODB_URL"], queue_url=f"{url}?cacertfile={authority.pem}")
        ann = service.user("ann@example.com")
        assert ann.uploaded(GOOD)["state"] == "done"
        for wrong in (f"{url}?cacertfile={stranger.pem}", url):
            service.restart(queue_url=wrong)
            assert ann.upload(GOOD).status == 503
        service.stop()
    finally:
        broker.close()
        MongoClient(servers.environment["MICROPY_TEST_MONGODB_URL"]).drop_database("micropy")
