"""An authority of our own, and the certificates that it signs for servers on this machine."""

import ssl
import subprocess
from pathlib import Path

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30")


def openssl(*words):
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)


class Authority:
    """Trusted by whoever is given `pem`, the path of its certificate."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.pem, self._key = self.folder / "ca.pem", self.folder / "ca.key"
        openssl("req", "-x509", *_KEY, "-keyout", self._key, "-out", self.pem, "-subj", "/CN=Authority of the tests",
                "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign")

    def issue(self, name="localhost"):
        """The paths of a certificate for this name and of its key."""
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        openssl("req", "-x509", "-CA", self.pem, "-CAkey", self._key, *_KEY, "-keyout", key, "-out", certificate,
                "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-addext", "basicConstraints=critical,CA:FALSE",
                "-addext", "extendedKeyUsage=serverAuth")
        for file in (certificate, key, self.pem):
            file.chmod(0o644)
        return certificate, key

    def context(self):
        """For a server of ours on this machine."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.issue())
        return context
