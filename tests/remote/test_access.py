"""Who may read: logins, redirects, TLS. Secrets go nowhere else, and are shown nowhere."""

import pytest

from harness.servers.fickle import Fickle, login


def private(web, login="ann:secret@"):
    return f"http://{login}127.0.0.1:{web.port}/private/song.mp4"


def test_the_login_of_the_url_is_sent_and_never_shown(micropy, web, expected):
    done = micropy("convert", private(web), "--json")
    assert done.returncode == 0, done.stderr
    assert micropy.bytes("song.mp3") == expected["song.mp4"]
    assert "secret" not in done.stdout + done.stderr and "ann:" not in done.stdout + done.stderr
    for wrong in (private(web, "ann:sesame@"), private(web, "")):
        done = micropy("convert", wrong, "-o", "x.mp3")
        assert done.returncode == 1 and "401" in done.stderr and "netrc" in done.stderr
        assert "sesame" not in done.stderr and "ann:" not in done.stderr, done.stderr


def test_netrc_has_the_login(micropy, web):
    netrc = micropy.home / ".netrc"
    netrc.write_text("machine other login x password y\nmachine 127.0.0.1 login ann password secret\n")
    assert micropy("convert", private(web, ""), "-o", "a.mp3").returncode == 0
    netrc.rename(micropy.folder / "elsewhere")
    assert micropy("convert", private(web, ""), "-o", "b.mp3").returncode == 1
    assert micropy("convert", private(web, ""), "-o", "b.mp3", NETRC=str(micropy.folder / "elsewhere")).returncode == 0


def test_a_query_is_a_secret(micropy, fickle):
    fickle.instead = [(403, {})]
    done = micropy("convert", f"{fickle.url}/song.mp4?signature=topsecret#t=1", "-o", "a.mp3")
    assert done.returncode == 1 and "topsecret" not in done.stderr and "song.mp4?…" in done.stderr
    assert fickle.requests[0][0] == "/song.mp4?signature=topsecret"
    for words in (["convert", "--json", "-o", "b.mp3"], ["probe"], ["probe", "--json"]):
        done = micropy(*words, f"{fickle.url}/song.mp4?signature=topsecret")
        assert done.returncode == 0 and "topsecret" not in done.stdout + done.stderr, done


def test_redirects_are_followed_once(micropy, web, expected):
    fickle = Fickle(("127.0.0.1", web.port))
    fickle.headers = lambda number: {"Location": f"{fickle.url}/first.mp4"} if number == 1 else {}
    done = micropy("convert", f"{fickle.url}/moved/first.mp4")
    assert done.returncode == 0, done.stderr
    assert micropy.bytes("first.mp3") == expected["first.mp4"]
    assert [path for path, _ in fickle.requests].count("/moved/first.mp4") == 1
    fickle.close()


def test_a_login_stays_with_its_host(micropy, web, away, www):
    away.upstream = ("127.0.0.1", web.port)
    away.reset()
    done = micropy("convert", f"http://ann:secret@localhost:{web.port}/away/song.mp4", "-o", "a.mp3")
    assert done.returncode == 0, done.stderr
    assert len(away.requests) > 0 and all(login(headers) is None for _, headers in away.requests)


def test_a_login_of_netrc_stays_with_its_host(micropy, web, away):
    (micropy.home / ".netrc").write_text("default login ann password secret\n")
    away.upstream = ("127.0.0.1", web.port)
    away.reset()
    done = micropy("convert", f"http://localhost:{web.port}/away/song.mp4", "-o", "a.mp3")
    assert done.returncode == 0, done.stderr
    assert len(away.requests) > 0 and all(login(headers) is None for _, headers in away.requests)


def test_a_place_that_expires_is_asked_for_again(micropy, fickle, expected):
    """As links that are signed for some minutes: the redirect leads to another one then."""
    fickle.headers = lambda number: {"Location": f"{fickle.url}/first.mp4?signature={number}"}
    fickle.status = {4: 403}.get
    done = micropy("convert", f"{fickle.url}/moved/first.mp4", "-o", "a.mp3")
    assert done.returncode == 0, done.stderr
    assert micropy.bytes("a.mp3") == expected["first.mp4"]
    asked = [path for path, _ in fickle.requests]
    assert asked[0] == "/moved/first.mp4" and asked.count("/moved/first.mp4") == 2
    assert len({path for path in asked if path.startswith("/first.mp4?signature=")}) == 2


def test_a_login_stays_over_redirects_of_its_host(micropy, web):
    done = micropy("convert", f"http://ann:secret@127.0.0.1:{web.port}/moved/private/song.mp4", "-o", "a.mp3")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("location, why", [
    ("ftp://x/a", "ftp:"), ("file:///etc/passwd", "file:"), ("", "no URL"), ("http://[", "no URL")])
def test_redirects_to_elsewhere_are_refused(micropy, fickle, location, why):
    fickle.instead = [(302, {"Location": location} if location else {})]
    done = micropy("convert", f"{fickle.url}/song.mp4")
    assert done.returncode == 1 and "redirect is not followed" in done.stderr, done.stderr
    assert why in done.stderr or not location


def test_a_redirect_may_be_written_in_utf_8(micropy, fickle):
    fickle.instead = [(302, {"Location": "/später.mp4"})]
    done = micropy("convert", f"{fickle.url}/song.mp4")
    assert done.returncode == 1 and "redirect" not in done.stderr, done.stderr
    assert [path for path, _ in fickle.requests] == ["/song.mp4", "/sp%C3%A4ter.mp4"]


def test_redirects_in_a_circle_end(micropy, fickle):
    fickle.instead = [(302, {"Location": "/song.mp4"})] * 99
    done = micropy("convert", f"{fickle.url}/song.mp4")
    assert done.returncode == 1 and "more than 10" in done.stderr
    assert len(fickle.requests) == 11


def test_tls_is_checked(micropy, web, certificates, expected):
    url = f"{web.tls_url}/song.mp4"
    done = micropy("convert", url)
    assert done.returncode == 1 and "no secure connection" in done.stderr, done.stderr
    done = micropy("convert", url, SSL_CERT_FILE=str(certificates / "ca.pem"))
    assert done.returncode == 0, done.stderr
    assert micropy.bytes("song.mp3") == expected["song.mp4"]
    missing = micropy("convert", url, "-o", "x.mp3", SSL_CERT_FILE="/nowhere.pem")
    assert missing.returncode == 1 and "SSL_CERT_FILE" in missing.stderr


def test_a_redirect_from_https_to_http_is_refused(micropy, web, certificates, away):
    away.reset()
    done = micropy("convert", f"{web.tls_url}/away/song.mp4", SSL_CERT_FILE=str(certificates / "ca.pem"))
    assert done.returncode == 1 and "from https to http://" in done.stderr, done.stderr
    assert not away.requests
