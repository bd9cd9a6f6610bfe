"""Servers on a bad day: what can be repeated is, from the byte where it stopped, and nothing else."""

import re
import signal
import time
from email.utils import formatdate

import pytest

from harness.clock import until


def convert(micropy, fickle, name="song.mp4", *words):
    return micropy("convert", f"{fickle.url}/{name}", "-o", "out.mp3", "--force", *words)


def assert_whole(micropy, done, expected, name="song.mp4"):
    assert done.returncode == 0, done.stderr
    assert micropy.bytes("out.mp3") == expected[name]


def assert_refused(micropy, done, *words):
    assert done.returncode == 1, (done.returncode, done.stderr)
    for word in words:
        assert word in done.stderr, done.stderr
    assert "panick" not in done.stderr
    assert not list(micropy.folder.glob("*.mp3")), "a part of an MP3 is left"


def test_drops_cost_little(micropy, fickle, www, expected):
    """A response goes on at the byte where it was dropped."""
    fickle.drop_after = 100_000
    done = convert(micropy, fickle, "talk.mp4")
    assert done.returncode == 0, done.stderr
    assert micropy.bytes("out.mp3") == expected["talk.mp4"]
    size = (www / "talk.mp4").stat().st_size
    assert fickle.sent < 1.1 * size, (fickle.sent, size)
    assert len(fickle.requests) > size / 150_000, "nothing was dropped"


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408, 429])
def test_passing_errors_are_tried_again(micropy, fickle, status, expected):
    fickle.instead = [(status, {}), (status, {})]
    assert_whole(micropy, convert(micropy, fickle), expected)
    assert len(fickle.requests) >= 3


def test_retry_after_is_kept(micropy, fickle, expected):
    fickle.instead = [(429, {"Retry-After": "2"})]
    began = time.monotonic()
    assert_whole(micropy, convert(micropy, fickle), expected)
    assert time.monotonic() - began >= 2


def test_retry_after_may_be_a_time(micropy, fickle, expected):
    soon = time.time() + 2.5
    fickle.instead = [(503, {"Retry-After": formatdate(soon, usegmt=True)})]
    assert_whole(micropy, convert(micropy, fickle), expected)
    # It has no fractions of a second.
    assert time.time() >= int(soon)


def test_a_server_that_asks_for_an_hour_is_not_waited_for(micropy, fickle):
    for hour in ("3600", formatdate(time.time() + 3600, usegmt=True)):
        fickle.instead = [(503, {"Retry-After": hour})]
        assert_refused(micropy, convert(micropy, fickle), "503", "try again later")
    assert len(fickle.requests) == 2


@pytest.mark.parametrize("status, advice", [(400, ""), (401, "~/.netrc"), (403, "forbidden"), (404, "check the URL"),
                                            (410, "check the URL"), (501, "501")])
def test_lasting_errors_are_told_at_once(micropy, fickle, status, advice):
    fickle.instead = [(status, {})] * 9
    assert_refused(micropy, convert(micropy, fickle), f"{fickle.url}/song.mp4", str(status), advice)
    assert len(fickle.requests) == 1


def test_errors_without_end_end(micropy, fickle):
    fickle.instead = [(503, {})] * 99
    assert_refused(micropy, convert(micropy, fickle), "503")
    assert len(fickle.requests) == 6, "the first try and five more"


def test_a_file_that_changes_is_an_error(micropy, fickle, talk):
    fickle.headers = lambda number: {"ETag": '"one"' if number < 4 else '"two"'}
    assert_refused(micropy, convert(micropy, fickle, "first.mp4"), "the file changed while it was read")


def test_a_file_that_changes_its_time_is_an_error(micropy, fickle, talk):
    day = "Mon, 01 Jan 2024 00:00"
    fickle.headers = lambda number: {"ETag": None, "Last-Modified": f"{day}:0{min(number // 4, 9)} GMT"}
    assert_refused(micropy, convert(micropy, fickle, "first.mp4"), "the file changed while it was read")


@pytest.mark.parametrize("tags", [['W/"one"'], ['W/"one"', '"one"']])
def test_a_weak_tag_guards_and_is_not_sent(micropy, fickle, talk, expected, tags):
    """It fits no If-Range, and may become strong once the file is a second old."""
    fickle.headers = lambda number: {"ETag": tags[min(number // 4, len(tags) - 1)]}
    assert_whole(micropy, convert(micropy, fickle, "first.mp4"), expected, "first.mp4")
    assert len(fickle.requests) > 4
    assert all("if-range" not in map(str.lower, headers) for _, headers in fickle.requests)


def test_a_weak_tag_that_changes_is_an_error(micropy, fickle, talk):
    fickle.headers = lambda number: {"ETag": 'W/"one"' if number < 4 else 'W/"two"'}
    assert_refused(micropy, convert(micropy, fickle, "first.mp4"), "the file changed while it was read")


@pytest.mark.parametrize("how", ["closes", "closes_silently"])
def test_a_server_that_closes_after_each_response_is_read(micropy, fickle, talk, expected, how):
    setattr(fickle, how, True)
    assert_whole(micropy, convert(micropy, fickle, "first.mp4"), expected, "first.mp4")
    assert fickle.sent + fickle.received <= 1.1 * talk["first.mp4"]
    assert len(fickle.requests) <= 80, len(fickle.requests)


def test_a_server_that_stops_serving_ranges_is_an_error(micropy, fickle, talk):
    """It would send 700 MB where a few were asked for: it is told at once, and no more than the head is taken."""
    fickle.whole_from = 4
    assert_refused(micropy, convert(micropy, fickle, "first.mp4"), "no longer serves ranges")
    assert fickle.sent < 50_000_000, fickle.sent


def test_the_tag_of_the_first_response_is_sent_with_all_others(micropy, fickle, talk, expected):
    done = convert(micropy, fickle, "first.mp4")
    assert_whole(micropy, done, expected, "first.mp4")
    tags = [{k.lower(): v for k, v in headers.items()}.get("if-range") for _, headers in fickle.requests]
    assert tags[0] is None and len(set(tags[1:])) == 1 and tags[1].startswith('"')


def test_a_file_without_tag_and_time_is_read_as_well(micropy, fickle, talk, expected):
    fickle.headers = {"ETag": None, "Last-Modified": None}
    assert_whole(micropy, convert(micropy, fickle, "first.mp4"), expected, "first.mp4")


def test_a_server_that_replaces_the_file_says_so_by_its_status(micropy, web, www, tmp_path):
    """nginx itself, whose file is replaced while it is read."""
    from harness.servers.fickle import Fickle
    import os
    fickle = Fickle(("127.0.0.1", web.port))
    fickle.delay = 0.3
    name = "changing.mp4"
    path = os.path.join(web.www, name)
    os.symlink(www / "first.mp4", path)
    child = micropy.start("convert", f"{fickle.url}/{name}", "-o", "out.mp3")
    assert until(lambda: len(fickle.requests) >= 2)
    os.symlink(www / "last.mp4", f"{path}.new")
    os.rename(f"{path}.new", path)
    _, said = child.communicate(timeout=60)
    os.remove(path)
    fickle.close()
    assert child.returncode == 1 and "the file changed while it was read" in said, said


@pytest.mark.parametrize("name", ["first.mp4", "song.mp4"])
def test_a_body_that_is_shorter_than_told_is_an_error(micropy, fickle, name, talk):
    fickle.shorter = 10**9
    done = convert(micropy, fickle, name)
    assert_refused(micropy, done, fickle.url)


def test_what_is_compressed_is_refused(micropy, fickle):
    fickle.headers = {"Content-Encoding": "gzip"}
    assert_refused(micropy, convert(micropy, fickle), "compressed (gzip)")
    sent = {k.lower(): v for k, v in fickle.requests[0][1].items()}
    assert sent["accept-encoding"] == "identity"


@pytest.mark.parametrize("content_range", [
    "", "bytes", "bytes 5-1/3", "bytes 0-99/*", "bytes 100-200/300",
    "bytes 0-18446744073709551615/18446744073709551615"])
def test_ranges_that_make_no_sense_are_refused(micropy, fickle, content_range):
    fickle.headers = {"Content-Range": content_range or None}
    assert_refused(micropy, convert(micropy, fickle), "the server's response is wrong")


def test_a_server_without_ranges_is_streamed(micropy, fickle, expected):
    fickle.ignore_ranges = True
    assert_whole(micropy, convert(micropy, fickle), expected)
    assert len(fickle.requests) == 1


def test_nginx_without_ranges_is_streamed(micropy, web, expected):
    done = micropy("convert", f"{web.url}/whole/song.mp4", "-o", "out.mp3")
    assert_whole(micropy, done, expected)


def test_a_stream_without_length_is_read_to_its_end(micropy, fickle, expected):
    fickle.ignore_ranges, fickle.headers = True, {"Content-Length": None}
    assert_whole(micropy, convert(micropy, fickle), expected)


def test_a_stream_that_breaks_is_read_again(micropy, fickle, expected):
    fickle.ignore_ranges, fickle.drop_after, fickle.drops = True, 100_000, 2
    assert_whole(micropy, convert(micropy, fickle), expected)
    assert len(fickle.requests) == 3


def test_a_stream_that_breaks_and_is_another_is_an_error(micropy, fickle):
    fickle.ignore_ranges, fickle.drop_after, fickle.drops = True, 100_000, 1
    fickle.headers = lambda number: {"ETag": f'"{number}"'}
    assert_refused(micropy, convert(micropy, fickle), "the file changed while it was read")


def test_an_empty_file_is_no_mp4(micropy, web):
    open(f"{web.www}/empty.mp4", "w").close()
    done = micropy("convert", f"{web.url}/empty.mp4")
    assert_refused(micropy, done, "it is empty")


def test_a_host_that_is_not_there_and_a_port_that_is_closed_are_told_at_once(micropy):
    began = time.monotonic()
    assert_refused(micropy, micropy("convert", "http://127.0.0.1:1/a.mp4"), "refuses the connection")
    assert_refused(micropy, micropy("convert", "http://nobody.invalid/a.mp4"), "http://nobody.invalid/a.mp4")
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("when", ["open", "silent", "stream"])
def test_an_interrupt_ends_it_within_a_second(micropy, fickle, talk, when):
    if when == "open":
        fickle.silent = True
    else:
        fickle.ignore_ranges = when == "stream"
        fickle.slow = fickle.delay = 0.2
    child = micropy.start("convert", f"{fickle.url}/first.mp4", "-o", "out.mp3")
    assert until(lambda: len(fickle.requests) >= (1 if when != "silent" else 3))
    fickle.silent = True
    time.sleep(0.5)
    began = time.monotonic()
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=30)
    assert time.monotonic() - began < 1.0
    assert child.returncode == 130 and "cancelled" in said, (child.returncode, said)
    assert not re.findall(r"cannot open|panick", said)
    assert not list(micropy.folder.glob("*.mp3*"))
    fickle.silent = False
