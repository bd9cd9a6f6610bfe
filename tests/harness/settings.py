"""What the program makes of its settings, asked from outside."""

import os
import re
import subprocess
import tempfile

from . import ROOT, SERVER
from .clock import until
from .http import BROKEN, ask
from .servers.server import free_port

#: The setting that says where each service listens.
LISTENS = {"auth": "auth_listen", "gateway": "listen", "converter": "health_listen", "notification": "health_listen"}


def source():
    """The page that names every variable the server reads, in backquotes: a test of the server compares the two."""
    return (ROOT / "docs" / "settings.md").read_text()


def seconds(text):
    """A length of time as the settings have it."""
    return int(text[:-1]) * {"s": 1, "m": 60}[text[-1]]


class Container:
    """A container without the container: the variables that it sets, and the secrets that are mounted in it."""

    def __init__(self, service, variables, secrets, folder):
        self.service, self.variables, self.secrets, self.folder = service, variables, secrets, folder

    def environment(self, secrets, **more):
        """Its variables, each `…_FILE` naming a file here that holds its secret."""
        env = {"PATH": os.environ["PATH"], "TMPDIR": str(self.folder)}
        for name, value in {**self.variables, **more}.items():
            if name.endswith("_FILE"):
                with tempfile.NamedTemporaryFile("w", dir=self.folder, delete=False) as secret:
                    secret.write(secrets.get(value, "") + "\n")
                value = secret.name
            env[name] = value
        return env

    def run(self, *words, secrets=None, timeout=60):
        return subprocess.run([SERVER, self.service, *words], env=self.environment(self.secrets if secrets is None else secrets),
                              capture_output=True, text=True, timeout=timeout)

    def settings(self):
        """Each setting's value and where it comes from."""
        printed = self.run("--print-config")
        assert printed.returncode == 0, printed.stderr
        found = re.findall(r"\[([^\]]*)\]\n(\w+) = (.*)", printed.stdout)
        return {name: (value.strip("\"'"), origin) for origin, name, value in found}

    def check(self, ports):
        """The program reads every variable that the container sets, and listens where it is expected: at these ports, by name."""
        settings = self.settings()
        origins, text = " ".join(origin for _, origin in settings.values()), source()
        # MYSQL_HOST and its like are parts of one setting, which some other may have told.
        assert [name for name in self.variables
                if not re.search(rf"\b{name}\b", origins) and f"`{name.removesuffix('_FILE')}`" not in text] == []
        assert settings["health_listen"][0] == f"0.0.0.0:{ports['health']}"
        if "http" in ports:
            assert settings[LISTENS[self.service]][0] == f"0.0.0.0:{ports['http']}"
        return settings

    def is_refused(self, secrets):
        """The service does not start with these: it says which setting is wrong, and no password."""
        ended = self.run(secrets=secrets, timeout=20)
        assert ended.returncode in (1, 2)
        assert re.search(r"\b\w+_(url|secret|password)\b", ended.stderr), ended.stderr
        assert "hunter2" not in ended.stderr

    def starts(self, secrets):
        """The service starts, though nothing is there yet that it uses; it stops when told to, and has written nothing but
        temporary files."""
        port, data = free_port(), self.folder / f"data-{self.service}"
        listens = {f"MICROPY_{name.upper()}": f"0.0.0.0:{port if name == LISTENS[self.service] else free_port()}" for name in {*LISTENS.values(), "health_listen"}}
        env = self.environment(secrets, MYSQL_HOST="127.0.0.1", MYSQL_PORT="1", MICROPY_DATA_DIR=str(data), **listens)
        log = self.folder / "log"
        with log.open("w") as file:
            process = subprocess.Popen([SERVER, self.service], env=env, stdout=file, stderr=file, cwd=self.folder)

        def answers():
            try:
                return process.poll() is not None or ask("GET", f"http://127.0.0.1:{port}/healthz", patience=5).status == 200
            except BROKEN:
                return False

        try:
            assert until(answers, 20) and process.poll() is None, log.read_text()[-500:]
            process.terminate()
            assert process.wait(timeout=70) == 0
        finally:
            process.kill()
            process.wait()
        assert not data.exists()
