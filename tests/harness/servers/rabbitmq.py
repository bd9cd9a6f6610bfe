"""RabbitMQ, as the Debian package rabbitmq-server installs it: as any user, beside any other broker."""

import json
import os
import secrets
import shutil
import socket
import ssl
import subprocess

from .server import Missing, Server, free_port, listening

#: The wrapper in /usr/sbin changes to the user rabbitmq; this one runs as whoever asks.
SCRIPTS = "/usr/lib/rabbitmq/bin"


class Rabbitmq(Server):
    name = "rabbitmq"
    patience = 120

    def __init__(self, certificate=None):
        """With the paths of a certificate and its key, it is reached by TLS alone."""
        super().__init__()
        self.certificate = certificate
        self.node = f"micropy{self.port}@localhost"
        self.epmd_port, self.distribution_port = free_port(), free_port()
        self.epmd = None

    @property
    def url(self):
        return f"amqp://guest:guest@127.0.0.1:{self.port}/%2f"

    def environment(self):
        return {"MICROPY_TEST_AMQP_URL": self.url}

    def prepare(self):
        if not os.path.exists(f"{SCRIPTS}/rabbitmq-server") or not shutil.which("epmd"):
            raise Missing("apt-get install rabbitmq-server")
        for folder in ("data", "logs"):
            os.mkdir(self.path(folder))
        for file, text in {
            # Both ends of Erlang's distribution read it from their home.
            ".erlang.cookie": secrets.token_hex(16),
            "plugins": "[].\n",
            "environment.conf": "",
            "rabbitmq.conf": (
                f"{self._listeners()}"
                "loopback_users = none\n"
                "vm_memory_high_watermark.absolute = 512MB\n"
                "disk_free_limit.absolute = 50MB\n"
                "log.console = true\n"
                "log.console.level = info\n"
                "log.file = false\n"),
        }.items():
            with open(self.path(file), "w") as f:
                f.write(text)
        os.chmod(self.path(".erlang.cookie"), 0o400)

    def _listeners(self):
        if self.certificate is None:
            return f"listeners.tcp.1 = 127.0.0.1:{self.port}\n"
        certificate, key = self.certificate
        return (f"listeners.tcp = none\nlisteners.ssl.1 = 127.0.0.1:{self.port}\n"
                f"ssl_options.certfile = {certificate}\nssl_options.keyfile = {key}\nssl_options.verify = verify_none\n")

    def command(self):
        return [f"{SCRIPTS}/rabbitmq-server"], self._erlang()

    def _erlang(self):
        return {
            "HOME": self.folder,
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self.epmd_port),
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self.distribution_port),
            "RABBITMQ_MNESIA_BASE": self.path("data"),
            "RABBITMQ_LOG_BASE": self.path("logs"),
            "RABBITMQ_CONFIG_FILE": self.path("rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": self.path("environment.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": self.path("plugins"),
            # Two schedulers that do not spin: the machine belongs to what is tested.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none",
        }

    def start(self):
        # Erlang would leave one behind that nobody stops.
        if self.epmd is None and shutil.which("epmd"):
            self.epmd = subprocess.Popen(
                ["epmd", "-address", "127.0.0.1", "-port", str(self.epmd_port)],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                start_new_session=True)
        return super().start()

    def close(self):
        super().close()
        if self.epmd is not None:
            self.epmd.kill()
            self.epmd.wait()
            self.epmd = None

    def answers(self):
        if not listening(self.port):
            return False
        if self.certificate:
            return self._greets_by_tls()
        with socket.socket() as s:
            s.settimeout(5)
            try:
                s.connect(("127.0.0.1", self.port))
                s.sendall(b"AMQP\0\0\x09\x01")
                # A method frame on channel 0: connection.start.
                return s.recv(3) == b"\x01\0\0"
            except OSError:
                return False

    def _greets_by_tls(self):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            with socket.create_connection(("127.0.0.1", self.port), 5) as s, context.wrap_socket(s) as tls:
                tls.sendall(b"AMQP\0\0\x09\x01")
                return tls.recv(3) == b"\x01\0\0"
        except OSError:
            return False

    def control(self, *arguments):
        """What `rabbitmqctl` says."""
        return subprocess.run(
            [f"{SCRIPTS}/rabbitmqctl", "-n", self.node, *arguments], check=True, text=True, timeout=60,
            capture_output=True, env={**os.environ, **self._erlang()}).stdout

    def queues(self):
        """{name: how many messages it has, held by consumers or not}."""
        found = self.control("list_queues", "name", "messages", "--quiet", "--formatter", "json")
        return {queue["name"]: queue["messages"] for queue in json.loads(found)}

    def drop_connections(self):
        """Closes every connection from the broker's side."""
        self.control("close_all_connections", "tested")


def server():
    return Rabbitmq()
