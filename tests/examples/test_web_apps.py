"""fastapi_app.py under uvicorn and django_app.py under its own server: a video is uploaded, and its MP3 comes back."""

import threading
from urllib.parse import quote

import pytest
import requests

from harness.clips import FIRST, GOOD, SILENT, SONG, clip, repeated
from harness.clock import until
from harness.servers.server import free_port, listening

DASH = clip("fragmented-dash.mp4")
COMMANDS = {"fastapi": ["-m", "uvicorn", "fastapi_app:app", "--port"], "django": ["django_app.py", "runserver", "--noreload"]}


@pytest.fixture(params=COMMANDS)
def app(request, start, tmp_path):
    """Starts one of the two; what is returned has its `url` and the folder of its temporary files."""
    def app(**settings):
        port, temporary = free_port(), tmp_path / "temporary"
        temporary.mkdir()
        process = start(*COMMANDS[request.param], port, TMPDIR=temporary, **settings)
        assert until(lambda: listening(port) or process.poll() is not None, 60) and process.poll() is None, process.log.read_text()
        process.url, process.temporary = f"http://127.0.0.1:{port}/mp3", temporary
        return process
    app.name = request.param
    return app


def upload(app, video, **fields):
    return requests.post(app.url, files={"video": (video.name, video.data)}, data=fields, timeout=120)


@pytest.mark.parametrize("video", [FIRST, GOOD, DASH], ids=lambda video: video.name)
def test_an_upload_comes_back_as_an_mp3(app, expected, video):
    app = app()
    # Over what either framework keeps in memory, and not.
    for padding in 0, 3_000_000:
        free = (8 + padding).to_bytes(4, "big") + b"free" + bytes(padding)
        reply = upload(app, video._replace(name="Größe 1.mp4", data=video.data + free))
        assert reply.status_code == 200, reply.text
        assert reply.headers["Content-Type"] == "audio/mpeg"
        assert reply.headers["Content-Length"] == str(len(reply.content))
        assert f"filename*=utf-8''{quote('Größe 1.mp3')}".lower() in reply.headers["Content-Disposition"].lower()
        assert reply.content == expected(video.name, "file")
    # The last of them goes when the answer is out.
    assert until(lambda: list(app.temporary.iterdir()) == [], 10)


def test_fields_of_the_form_choose_the_mp3(app):
    app = app()
    sizes = [len(upload(app, FIRST, bitrate=bitrate).content) for bitrate in (64, 320)]
    assert sizes[0] * 4 < sizes[1]


def test_what_cannot_be_converted_is_refused_with_a_reason(app):
    app = app()
    reply = upload(app, SILENT)
    assert reply.status_code == 422 and "no audio" in reply.text, reply.text
    reply = upload(app, SILENT._replace(data=b"no video" * 100))
    assert reply.status_code == 422 and "MP4" in reply.text, reply.text
    assert upload(app, FIRST, bitrate="loud").status_code in (400, 422)
    assert upload(app, FIRST, bitrate=7).status_code in (400, 422)
    assert requests.post(app.url, data={"bitrate": 128}, timeout=30).status_code in (400, 422)
    # The last of them goes when the answer is out.
    assert until(lambda: list(app.temporary.iterdir()) == [], 10)


def test_a_body_that_is_too_large_is_refused(app):
    name, app = app.name, app(MAX_UPLOAD=100_000)
    assert upload(app, FIRST._replace(data=FIRST.data[:90_000])).status_code in (200, 422)
    assert upload(app, FIRST._replace(data=FIRST.data + bytes(100_000))).status_code == 413
    if name == "fastapi":
        # Nothing says beforehand how long it is; WSGI takes such a body for an empty one.
        head = b'--x\r\nContent-Disposition: form-data; name="video"; filename="a.mp4"\r\n\r\n'
        reply = requests.post(app.url, data=iter([head, *[bytes(10_000)] * 20, b"\r\n--x--\r\n"]), timeout=30,
                              headers={"Content-Type": "multipart/form-data; boundary=x"})
        assert reply.status_code == 413


def test_a_full_disk_is_the_servers_fault(app):
    app = app(LIMIT_FILE_SIZE=20_000)
    reply = upload(app, FIRST)
    assert reply.status_code == 500 and "MP3" not in reply.text
    assert until(lambda: "OSError: [Errno 27]" in app.log.read_text(), 30), app.log.read_text()
    assert app.poll() is None


def test_others_are_answered_meanwhile(app, tmp_path):
    long = SONG._replace(data=repeated(tmp_path / "long.m4a", 25))
    app, replies = app(), []
    thread = threading.Thread(target=lambda: replies.append(upload(app, long)))
    thread.start()
    answered = 0
    while thread.is_alive():
        assert requests.get(app.url, timeout=30).status_code == 405
        answered += 1
    assert replies[0].status_code == 200 and len(replies[0].content) > 299 * 16_000
    # The upload alone would let a few through.
    assert answered > 50
