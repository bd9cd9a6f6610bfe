"""A talk of ten minutes, spread over 700 MB, behind real servers and behind a fickle one."""

import os
import subprocess
from pathlib import Path

import pytest

from harness import MICROPY, SONG
from harness.servers import Missing, apache, azurite, gcs, nginx, s3, s3rver
from harness.servers.fickle import Fickle
from harness.spread import spread

#: Bytes of the file; the audio is 9.6 MB of it.
SIZE = 700_000_000


class Program:
    """`micropy` in a folder of its own, with nothing of this machine's user in its environment."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.home = self.folder / "home"
        self.home.mkdir()
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(self.home), "AWS_EC2_METADATA_DISABLED": "true"}

    def __call__(self, *words, timeout=120, **environment):
        return subprocess.run([MICROPY, *map(str, words)], cwd=self.folder, env={**self.environment, **environment},
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, check=False)

    def start(self, *words, **environment):
        return subprocess.Popen([MICROPY, *map(str, words)], cwd=self.folder, env={**self.environment, **environment},
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def bytes(self, name):
        return (self.folder / name).read_bytes()


@pytest.fixture
def micropy(tmp_path):
    return Program(tmp_path)


def started(server):
    try:
        return server.start()
    except Missing as e:
        server.close()
        pytest.skip(str(e))


@pytest.fixture(scope="session")
def start_server():
    """Starts a server, or skips the test that cannot have it."""
    return started


@pytest.fixture(scope="session")
def media(tmp_path_factory):
    """The folder of the files, made once."""
    folder = tmp_path_factory.mktemp("media")
    for words in (["-i", SONG, "-map", "0:a", "-map_chapters", "-1", "-c:a", "libmp3lame", "-b:a", "128k", "one.mp4"],
                  ["-stream_loop", "49", "-i", "one.mp4", "-c", "copy", "-t", "600", "talk.mp4"]):
        made = subprocess.run(["ffmpeg", "-nostdin", "-v", "error", *words], cwd=folder, check=False)
        assert made.returncode == 0
    return folder


@pytest.fixture(scope="session")
def talk(media):
    """{name: bytes of audio} of the large files. Their audio is MP3, which is copied: it is the reading that is tested."""
    return {name: spread(media / "talk.mp4", media / name, SIZE, moov_first)
            for name, moov_first in {"first.mp4": True, "last.mp4": False}.items()}


@pytest.fixture(scope="session")
def www(media, talk):
    """Files to serve."""
    (media / "song.mp4").write_bytes(SONG.read_bytes())
    return media


@pytest.fixture(scope="session")
def expected(www, tmp_path_factory):
    """What becomes of the files where they are at hand: {name: MP3}."""
    folder = tmp_path_factory.mktemp("expected")
    program = Program(folder)
    for name in ("first", "last", "song", "talk"):
        done = program("convert", www / f"{name}.mp4", "-o", f"{name}.mp3")
        assert done.returncode == 0, done.stderr
    return {f"{name}.mp4": (folder / f"{name}.mp3").read_bytes() for name in ("first", "last", "song", "talk")}


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    from harness.servers.smtp import certify
    folder = tmp_path_factory.mktemp("certificates")
    certify(folder)
    return folder


@pytest.fixture(scope="session")
def away():
    """A server of somebody else, that redirects lead to."""
    server = Fickle(("127.0.0.1", 1))
    yield server
    server.close()


@pytest.fixture(scope="session")
def web(www, certificates, away):
    """nginx."""
    server = nginx.Nginx(certificate=str(certificates / "server.pem"), away=away.url)
    server = started(server)
    for name in os.listdir(www):
        os.symlink(www / name, os.path.join(server.www, name))
        os.symlink(www / name, os.path.join(server.www, "private", name))
    yield server
    server.close()


@pytest.fixture(scope="session")
def apache_web(www):
    server = started(apache.Apache())
    for name in os.listdir(www):
        os.symlink(www / name, os.path.join(server.www, name))
    yield server
    server.close()


STORES = {"moto": s3.S3, "s3rver": s3rver.S3rver, "azurite": azurite.Azurite, "fake-gcs-server": gcs.Gcs}


@pytest.fixture(scope="session")
def stores(www):
    """The store of a name, started when it is first asked for."""
    running = {}

    def get(name):
        if name not in running:
            server = running[name] = started(STORES[name]())
            server.put([("shows/song 50%.mp4", www / "song.mp4", None), ("talk.mp4", www / "talk.mp4", None),
                        ("packed.mp4", www / "song.mp4", "gzip")])
        return running[name]

    yield get
    for server in running.values():
        server.close()


@pytest.fixture(params=STORES)
def any_store(request, stores):
    """Each of them."""
    return stores(request.param)


@pytest.fixture
def moto(stores):
    """The one of S3 that knows users and profiles."""
    return stores("moto")


@pytest.fixture
def fickle(web):
    server = Fickle(("127.0.0.1", web.port))
    yield server
    server.close()
