"""What crosses the wire of a large file: little more than its audio, in few requests."""

import json

import pytest

from harness.servers.fickle import Fickle

NAMES = ["first.mp4", "last.mp4"]


def converted(micropy, url, name, expected, **environment):
    done = micropy("convert", url, "--json", **environment)
    assert done.returncode == 0, done.stderr
    assert micropy.bytes(name.replace(".mp4", ".mp3")) == expected[name], "the MP3 is not that of the file itself"
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", NAMES)
def test_at_most_a_tenth_more_than_the_audio_crosses_the_wire(micropy, fickle, name, talk, expected):
    converted(micropy, f"{fickle.url}/{name}", name, expected)
    on_the_wire = fickle.sent + fickle.received
    print(f"{name}: {on_the_wire} bytes for {talk[name]} of audio, {len(fickle.requests)} requests")
    assert on_the_wire <= 1.1 * talk[name], f"{on_the_wire / talk[name]:.3f} times the audio"
    assert len(fickle.requests) <= 80, len(fickle.requests)
    assert fickle.most_at_once > 1, "one request after the other"


@pytest.mark.parametrize("name", NAMES)
def test_a_server_of_one_range_at_a_time_is_asked_for_several_in_parallel(micropy, fickle, name, talk, expected):
    # Long enough to see them side by side, and not before each of 1200.
    fickle.no_several, fickle.delay, fickle.delayed = True, 0.1, 60
    converted(micropy, f"{fickle.url}/{name}", name, expected)
    assert fickle.most_at_once >= 4, fickle.most_at_once
    assert fickle.sent + fickle.received <= 1.1 * talk[name]


def test_a_server_that_sends_the_first_range_only_is_asked_for_the_others(micropy, fickle, expected):
    fickle.first_range_only = True
    converted(micropy, f"{fickle.url}/first.mp4", "first.mp4", expected)


def test_measuring_the_loudness_fetches_nothing_twice(micropy, fickle, www):
    url = f"{fickle.url}/song.mp4"
    assert micropy("convert", url, "-o", "a.mp3").returncode == 0
    once = fickle.sent
    fickle.reset()
    done = micropy("convert", url, "--normalize=-16", "-o", "b.mp3")
    assert done.returncode == 0, done.stderr
    assert fickle.sent <= 1.02 * once, (fickle.sent, once)
    local = micropy("convert", www / "song.mp4", "--normalize=-16", "-o", "c.mp3")
    assert local.returncode == 0 and micropy.bytes("b.mp3") == micropy.bytes("c.mp3")


def test_a_probe_reads_tables_and_no_media(micropy, fickle, www):
    done = micropy("probe", f"{fickle.url}/last.mp4", "--json")
    assert done.returncode == 0, done.stderr
    local = micropy("probe", www / "last.mp4", "--json")
    told, here = json.loads(done.stdout), json.loads(local.stdout)
    assert told.pop("file") == f"{fickle.url}/last.mp4" and here.pop("file")
    assert told == here
    assert fickle.sent < 600_000, fickle.sent
    assert len(fickle.requests) <= 8, fickle.ranges()


def test_a_part_is_read_without_the_rest(micropy, fickle, talk):
    done = micropy("convert", f"{fickle.url}/first.mp4", "--start", "300", "--duration", "10", "-o", "part.mp3")
    assert done.returncode == 0, done.stderr
    # 160 KB of it, and what is read ahead.
    assert fickle.sent < talk["first.mp4"] / 4, fickle.sent


@pytest.mark.parametrize("name", ["first.mp4", "last.mp4", "song.mp4"])
def test_apache_serves_the_same(micropy, apache_web, name, expected):
    converted(micropy, f"{apache_web.url}/{name}", name, expected)


def test_apaches_limit_of_ranges_is_kept(micropy, apache_web, talk, expected):
    fickle = Fickle(("127.0.0.1", apache_web.port))
    converted(micropy, f"{fickle.url}/first.mp4", "first.mp4", expected)
    assert fickle.sent + fickle.received <= 1.1 * talk["first.mp4"]
    assert len(fickle.requests) <= 80
    fickle.close()
