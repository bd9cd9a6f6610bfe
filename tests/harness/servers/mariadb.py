"""A MariaDB of its own: what people run as MySQL beside the original services."""

import os
import shutil
import socket
import subprocess
import urllib.parse

from .server import Missing, Server

USER = "micropy"
#: With characters that a URL has to escape.
PASSWORD = "word of/the:day@home"
#: Debian keeps the daemon here, which is not on everybody's PATH.
SBIN = "/usr/sbin"

#: Run at every start, before the first connection. The user may make databases and users: tests do.
INIT = f"""
CREATE DATABASE IF NOT EXISTS auth;
CREATE USER IF NOT EXISTS '{USER}'@'%' IDENTIFIED BY '{PASSWORD}';
GRANT ALL PRIVILEGES ON *.* TO '{USER}'@'%' WITH GRANT OPTION;
"""


def find(*names):
    path = os.environ.get("PATH", os.defpath) + os.pathsep + SBIN
    for name in names:
        found = shutil.which(name, path=path)
        if found:
            return found
    raise Missing(f"no {names[0]} on the PATH: install mariadb-server")


class MariaDb(Server):
    """mariadbd with its data, its socket and its port apart from any other on this machine."""

    name = "mariadb"

    def __init__(self, certificate=None):
        """With the paths of a certificate and its key, it is reached by TLS alone."""
        super().__init__()
        self.certificate = certificate

    def environment(self):
        password = urllib.parse.quote(PASSWORD, safe="")
        return {"MICROPY_TEST_MYSQL_URL": f"mysql://{USER}:{password}@127.0.0.1:{self.port}/auth"}

    def prepare(self):
        install = find("mariadb-install-db", "mysql_install_db")
        find("mariadbd", "mysqld")
        made = subprocess.run(
            [install, "--no-defaults", f"--datadir={self.path('data')}", "--skip-test-db",
             "--auth-root-authentication-method=normal", "--innodb-log-file-size=8M", *self._user()],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            cwd=self.folder, text=True, env={**os.environ, **self._temporary()})
        if made.returncode != 0:
            raise RuntimeError(f"{install} failed:\n{made.stdout[-3000:]}")
        with open(self.path("init.sql"), "w") as init:
            init.write(INIT)

    def command(self):
        return [
            find("mariadbd", "mysqld"), "--no-defaults", f"--datadir={self.path('data')}",
            f"--socket={self.path('socket')}", f"--pid-file={self.path('pid')}",
            f"--port={self.port}", "--bind-address=127.0.0.1", "--skip-name-resolve",
            f"--init-file={self.path('init.sql')}", "--innodb-log-file-size=8M",
            "--innodb-buffer-pool-size=32M", "--skip-performance-schema",
            # answers() hangs up after the greeting, which counts as an error.
            "--max-connect-errors=1000000", *self._tls(), *self._user(),
        ], self._temporary()

    def _temporary(self):
        """A daemon that starts removes the temporary tables of any other in the same folder."""
        return {"TMPDIR": str(self.folder)}

    def _tls(self):
        if self.certificate is None:
            return []
        certificate, key = self.certificate
        return [f"--ssl-cert={certificate}", f"--ssl-key={key}", "--require-secure-transport=ON"]

    def answers(self):
        # A handshake packet: three bytes of length, a sequence number, then the protocol's version, 10.
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as s:
                return s.makefile("rb").read(5)[4:] == b"\x0a"
        except OSError:
            return False

    @staticmethod
    def _user():
        # mariadbd refuses to run as root unless it is told to.
        return ["--user=root"] if os.geteuid() == 0 else []


def server():
    return MariaDb()
