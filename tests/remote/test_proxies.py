"""Proxies, as the environment names them: Apache's, one that takes tunnels, one that speaks SOCKS."""

import socket
import threading

import pytest

from harness.servers import apache, socks
from harness.servers.fickle import Fickle, login


@pytest.fixture(scope="module")
def proxy(start_server):
    server = start_server(apache.Proxy())
    yield server
    server.close()


@pytest.fixture(scope="module")
def closed_proxy(start_server):
    """One that asks for ann:secret."""
    server = start_server(apache.Proxy(login=True))
    yield server
    server.close()


@pytest.mark.parametrize("name", ["song.mp4", "first.mp4"])
def test_plain_http_needs_no_tunnel(micropy, web, proxy, expected, name):
    before = len(proxy.requests())
    done = micropy("convert", f"{web.url}/{name}", "-o", "a.mp3", http_proxy=proxy.url())
    assert done.returncode == 0, done.stderr
    assert micropy.bytes("a.mp3") == expected[name]
    lines = proxy.requests()[before:]
    assert lines and all(line == f"GET {web.url}/{name} HTTP/1.1" for line in lines), lines
    assert len(lines) <= 80, len(lines)


def test_a_proxy_gets_its_login_and_nobody_else_does(micropy, web, closed_proxy, expected):
    done = micropy("convert", f"{web.url}/song.mp4", http_proxy=closed_proxy.url("ann:secret@"))
    assert done.returncode == 0, done.stderr
    assert micropy.bytes("song.mp3") == expected["song.mp4"]
    for wrong in ("ann:sesame@", ""):
        for target in (f"{web.url}/song.mp4", f"{web.tls_url}/song.mp4"):
            done = micropy("probe", target, http_proxy=closed_proxy.url(wrong), https_proxy=closed_proxy.url(wrong))
            assert done.returncode == 1 and "407 (proxy authentication required)" in done.stderr, done.stderr
            assert "sesame" not in done.stderr


def test_the_proxy_finds_the_host_and_keeps_its_login_from_it(micropy, web, expected):
    """A host that is known to the proxy alone."""
    proxy = Fickle(("127.0.0.1", web.port))
    done = micropy("convert", "http://ann:secret@talks.invalid/private/song.mp4?a=%20b",
                   http_proxy=f"http://user:hid%40den@127.0.0.1:{proxy.port}")
    assert done.returncode == 0, done.stderr
    assert micropy.bytes("song.mp3") == expected["song.mp4"]
    for path, headers in proxy.requests:
        headers = {name.lower(): value for name, value in headers.items()}
        assert path == "http://talks.invalid/private/song.mp4?a=%20b" and headers["host"] == "talks.invalid"
        assert login(headers) == "ann:secret"
        assert login({"authorization": headers["proxy-authorization"]}) == "user:hid@den"
    proxy.close()


def test_redirects_and_drops_go_through_the_proxy_as_well(micropy, web, expected):
    proxy = Fickle(("127.0.0.1", web.port))
    proxy.drop_after, proxy.drops = 30_000, 2
    proxy.instead = [(302, {"Location": "http://other.invalid/song.mp4"})]
    done = micropy("convert", "http://talks.invalid/a.mp4", "-o", "a.mp3", http_proxy=proxy.url)
    assert done.returncode == 0, done.stderr
    assert micropy.bytes("a.mp3") == expected["song.mp4"] and proxy.drops == 0
    assert {path for path, _ in proxy.requests[1:]} == {"http://other.invalid/song.mp4"}
    proxy.close()


def test_a_store_is_read_through_the_proxy(micropy, stores, proxy, expected):
    moto = stores("moto")
    before = len(proxy.requests())
    done = micropy("convert", f"s3://{moto.bucket}/shows/song 50%.mp4", "-o", "a.mp3", http_proxy=proxy.url(),
                   **moto.environment())
    assert done.returncode == 0, done.stderr
    assert micropy.bytes("a.mp3") == expected["song.mp4"]
    lines = proxy.requests()[before:]
    assert lines and all(line.startswith(f"GET {moto.url}/") for line in lines), lines


def test_a_tunnel_that_is_refused_is_told_at_once(micropy, web, proxy):
    done = micropy("probe", f"{web.tls_url}/song.mp4", https_proxy=proxy.url(), timeout=20)
    assert done.returncode == 1 and "the proxy refuses" in done.stderr and "403" in done.stderr, done.stderr


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_is_gone_is_told_without_its_login(micropy, web, scheme):
    gone = {f"{scheme}_proxy": "http://user:hidden@127.0.0.1:1"}
    target = web.url if scheme == "http" else web.tls_url
    done = micropy("probe", f"{target}/song.mp4", **gone)
    assert done.returncode == 1 and "the proxy of the environment refuses the connection" in done.stderr, done.stderr
    assert "hidden" not in done.stderr


@pytest.mark.parametrize("value", ["ftp://user:hidden@127.0.0.1", "http://", "http://user:hidden@ho st"])
def test_what_is_no_proxy_is_told_without_its_login(micropy, web, value):
    done = micropy("probe", f"{web.url}/song.mp4", all_proxy=value)
    assert done.returncode == 1 and "http_proxy, all_proxy" in done.stderr, done.stderr
    assert "hidden" not in done.stderr


def test_socks_proxies_serve_both(micropy, start_server, web, certificates, expected):
    server = start_server(socks.Socks())
    trusted = {"SSL_CERT_FILE": str(certificates / "ca.pem")}
    for number, (target, scheme) in enumerate([(web.url, "socks5"), (web.tls_url, "socks5h")]):
        done = micropy("convert", f"{target}/song.mp4", "-o", f"{number}.mp3", all_proxy=server.url(scheme), **trusted)
        assert done.returncode == 0, done.stderr
        assert micropy.bytes(f"{number}.mp3") == expected["song.mp4"]
    done = micropy("probe", f"{web.url}/song.mp4", all_proxy=server.url(login="ann:sesame@"))
    assert done.returncode == 1 and "sesame" not in done.stderr and "panick" not in done.stderr, done.stderr
    server.close()


class Tunnel(Fickle):
    """A proxy that takes CONNECT, as most do."""

    def __init__(self):
        super().__init__(("127.0.0.1", 1))
        self.tunnels = []

    def _handler(self):
        tunnel = self

        class Handler(super()._handler()):
            def do_CONNECT(self):
                tunnel.tunnels.append((self.path, dict(self.headers)))
                host, port = self.path.rsplit(":", 1)
                with socket.create_connection((host, int(port))) as there:
                    self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
                    self.wfile.flush()
                    back = threading.Thread(target=copy, args=(there, self.connection), daemon=True)
                    back.start()
                    copy(self.connection, there)
                    back.join()
                self.close_connection = True

        def copy(source, target):
            try:
                while piece := source.recv(1 << 16):
                    target.sendall(piece)
                target.shutdown(socket.SHUT_WR)
            except OSError:
                pass

        return Handler


def test_https_goes_through_a_tunnel(micropy, web, certificates, expected):
    proxy = Tunnel()
    trusted = {"SSL_CERT_FILE": str(certificates / "ca.pem")}
    url = f"http://user:hidden@127.0.0.1:{proxy.port}"
    done = micropy("convert", f"{web.tls_url}/song.mp4", https_proxy=url, **trusted)
    assert done.returncode == 0, done.stderr
    assert micropy.bytes("song.mp3") == expected["song.mp4"]
    assert proxy.tunnels[0][0] == f"localhost:{web.tls_port}"
    assert login({"authorization": proxy.tunnels[0][1]["Proxy-Authorization"]}) == "user:hidden"
    before = len(proxy.tunnels)
    done = micropy("convert", f"{web.tls_url}/song.mp4", "--force", https_proxy=url, no_proxy="localhost", **trusted)
    assert done.returncode == 0 and len(proxy.tunnels) == before
    proxy.close()
