"""The four services as processes of their own over real servers, each ours or its Python twin.

Ours are started with the names that the Python services read, as far as those have one. The servers are those of
`scripts/with-servers`; their queues, databases and tables have the names that everybody's have.
"""

import base64
import email
import email.policy
import json
import os
import socket
import subprocess
import sys
import threading
import urllib.parse
from pathlib import Path

import gridfs
import pika
import pymysql
import requests
from pymongo import MongoClient

from servers.server import free_port, listening
from tally import until

TWINS = Path(__file__).resolve().parent / "twins"
SERVICES = ("auth", "gateway", "converter", "notification")
SERVERS = ("AMQP_URL", "MONGODB_URL", "MYSQL_URL", "SMTP_URL")
SECRET = "a secret of the tests, of more than 32 bytes"
VIDEO, MP3, FAILED = "video", "mp3", "mp3.failed"

#: The table as the Python auth service's users have made it.
TABLE = """CREATE TABLE IF NOT EXISTS user (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY,
  email VARCHAR(255) NOT NULL UNIQUE, password VARCHAR(255) NOT NULL)"""


def missing():
    """The servers that are not there."""
    return [name for name in SERVERS if not os.environ.get(f"MICROPY_TEST_{name}")]


class Fleet:
    """The services, and other eyes on what they share."""

    def __init__(self, program, folder):
        self.program, self.folder = program, Path(folder)
        self.amqp, self.mongodb, mysql, smtp = (os.environ[f"MICROPY_TEST_{name}"] for name in SERVERS)
        self.mysql, self.smtp = urllib.parse.urlsplit(mysql), urllib.parse.urlsplit(smtp)
        self.mails_folder = Path(os.environ["MICROPY_TEST_SMTP_DIR"])
        self.ports = {name: free_port() for name in SERVICES}
        self.processes = {}
        self.mongo = MongoClient(self.mongodb)
        self.videos, self.mp3s = gridfs.GridFS(self.mongo["videos"]), gridfs.GridFS(self.mongo["mp3s"])
        self.http = requests.Session()
        self.http.trust_env = False
        self.rabbit = pika.BlockingConnection(pika.URLParameters(self.amqp + "?heartbeat=0"))
        self.channel = self.rabbit.channel()

    # Processes. What is named `converter-2` is another converter.

    def environment(self, name, twin):
        """What a service is told: the Python services' own names, then what those have hard-coded."""
        kind, _, _ = name.partition("-")
        unquote = urllib.parse.unquote
        mysql = {
            "MYSQL_HOST": self.mysql.hostname, "MYSQL_PORT": str(self.mysql.port), "MYSQL_DB": self.mysql.path[1:],
            "MYSQL_USER": unquote(self.mysql.username), "MYSQL_PASSWORD": unquote(self.mysql.password),
        }
        told = {
            "auth": {**mysql, "JWT_SECRET": SECRET},
            "gateway": {"AUTH_SVC_ADDRESS": f"127.0.0.1:{self.ports['auth']}"},
            "converter": {"VIDEO_QUEUE": VIDEO, "MP3_QUEUE": MP3},
            "notification": {"MP3_QUEUE": MP3, "GMAIL_ADDRESS": unquote(self.smtp.username),
                             "GMAIL_PASSWORD": unquote(self.smtp.password)},
        }[kind]
        if twin:
            return told | {
                "HOST": "127.0.0.1", "PORT": str(self.ports[name]), "AMQP_URL": self.amqp, "MONGODB_URL": self.mongodb,
                "SMTP_HOST": self.smtp.hostname, "SMTP_PORT": str(self.smtp.port), "PYTHONDONTWRITEBYTECODE": "1",
            }
        if kind != "auth":
            told |= {"MICROPY_STORAGE_URL": self.mongodb, "MICROPY_QUEUE_URL": self.amqp}
        if kind == "notification":
            told |= {"MICROPY_NOTIFIER_URL": self.smtp.geturl(), "MICROPY_PUBLIC_URL": self.url("gateway")}
        return told

    def command(self, name, twin):
        kind, _, _ = name.partition("-")
        if twin:
            return [sys.executable, TWINS / f"{kind}.py"]
        listen = {"auth": "--auth-listen", "gateway": "--listen"}.get(kind, "--health-listen")
        return [self.program, kind, listen, f"127.0.0.1:{self.ports[name]}", "--data-dir", self.folder / name]

    def launch(self, name, twin=False, **more):
        """Starts a service, without waiting for it."""
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("MICROPY_")}
        self.ports.setdefault(name, free_port())
        with open(self.log(name), "ab") as log:
            self.processes[name] = subprocess.Popen(
                list(map(str, self.command(name, twin))), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**inherited, **self.environment(name, twin), **more}, cwd=self.folder)
        return self.processes[name]

    def start(self, name, twin=False, **more):
        """A service that works."""
        began = self.log(name).stat().st_size if self.log(name).exists() else 0
        process = self.launch(name, twin, **more)
        waits = twin and name.startswith(("converter", "notification"))
        ready = (lambda: "waiting for messages" in self.said(name)[began:]) if waits else (
            lambda: listening(self.ports[name]))
        if not until(lambda: ready() or process.poll() is not None) or process.poll() is not None:
            raise RuntimeError(f"{name} does not start:\n{self.said(name)[began:][-2000:]}")
        return process

    def stop(self, *names):
        """Tells services to end, and waits for it. Their exit codes."""
        for name in names:
            self.processes[name].terminate()
        codes = []
        for name in names:
            process = self.processes.pop(name)
            try:
                codes.append(process.wait(25))
            except subprocess.TimeoutExpired:
                process.kill()
                codes.append(process.wait())
        return codes

    def kill(self, name):
        """At once, without a goodbye."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def close(self):
        self.stop(*self.processes)
        self.rabbit.close()

    def log(self, name):
        return self.folder / f"{name}.log"

    def said(self, name):
        return self.log(name).read_text(errors="replace")

    # HTTP.

    def url(self, name, path=""):
        return f"http://127.0.0.1:{self.ports[name]}{path}"

    def ask(self, method, name, path, token=None, basic=None, **more):
        headers = dict(more.pop("headers", {}))
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        if basic is not None:
            headers["Authorization"] = "Basic " + base64.b64encode(basic).decode()
        return self.http.request(method, self.url(name, path), headers=headers, timeout=60, **more)

    def login(self, user, password, name="gateway"):
        """A token."""
        answer = self.ask("POST", name, "/login", basic=f"{user}:{password}".encode())
        if answer.status_code != 200:
            raise RuntimeError(f"{user} cannot sign in: {answer.status_code} {answer.text}")
        return answer.text

    def upload(self, token, *paths, **more):
        files = [("file", (path.name, path.read_bytes(), "video/mp4")) for path in paths]
        return self.ask("POST", "gateway", "/upload", token, files=files, **more)

    def download(self, token, fid, method="GET", **headers):
        return self.ask(method, "gateway", "/download", token, params={"fid": fid}, headers=headers)

    # MySQL.

    def query(self, statement, *values):
        """What a statement of SQL gives."""
        database = pymysql.connect(
            host=self.mysql.hostname, port=self.mysql.port, user=urllib.parse.unquote(self.mysql.username),
            password=urllib.parse.unquote(self.mysql.password), database=self.mysql.path[1:], charset="utf8mb4",
            autocommit=True)
        try:
            with database.cursor() as cursor:
                cursor.execute(statement, values)
                return cursor.fetchall()
        finally:
            database.close()

    def make_table(self):
        """The table of users, as made by hand."""
        self.query(TABLE)

    def add_user(self, user, password):
        self.query("INSERT INTO user (email, password) VALUES (%s, %s)", user, password)

    def stored_password(self, user):
        return self.query("SELECT password FROM user WHERE email = %s", user)[0][0]

    # RabbitMQ.

    def declare(self, queue, **arguments):
        """A durable classic queue, as made by hand."""
        self.channel.queue_declare(queue, durable=True, arguments=arguments or None)

    def state(self, queue):
        """Messages that wait in a queue, and consumers of it; None where there is no such queue."""
        channel = self.rabbit.channel()
        try:
            found = channel.queue_declare(queue, passive=True).method
            channel.close()
            return found.message_count, found.consumer_count
        except pika.exceptions.ChannelClosedByBroker:
            return None

    def publish(self, queue, body):
        """As the Python services publish."""
        text = body if isinstance(body, (str, bytes)) else json.dumps(body)
        self.channel.basic_publish("", queue, text, pika.BasicProperties(delivery_mode=2))

    def take(self, queue, seconds=30, ack=True):
        """The next message of a queue: method, properties and body; None where none comes."""
        def get():
            method, properties, body = self.channel.basic_get(queue, auto_ack=ack)
            return (method, properties, body) if method else None
        return until(get, seconds)

    def put_back(self, method):
        self.channel.basic_nack(method.delivery_tag, requeue=True)

    def put(self, path, user, **more):
        """A video and its message, as the Python gateway leaves them. The video's id."""
        video = self.videos.put(path.read_bytes())
        self.publish(VIDEO, {"video_fid": str(video), "mp3_fid": None, "username": user, **more})
        return str(video)

    # Mail.

    def mails(self, to):
        """Who got what: the mails to an address, each with its envelope."""
        found = []
        for path in sorted(self.mails_folder.glob("*.eml")):
            envelope = json.loads(path.with_suffix(".json").read_text())
            if to in envelope["to"]:
                found.append((email.message_from_bytes(path.read_bytes(), policy=email.policy.default), envelope))
        return found

    def next_mails(self, to, count=1, seconds=30):
        """The mails to an address, when there are so many."""
        until(lambda: len(self.mails(to)) >= count, seconds)
        return self.mails(to)


def text_of(mail):
    """The text of a mail, its lines ending as ours do."""
    return mail.get_body(("plain",)).get_content().replace("\r\n", "\n")


class Proxy:
    """A way to a server that can be cut, or held up."""

    def __init__(self, host, port):
        self.target, self.open, self.pairs = (host, port), True, []
        self.flows = threading.Event()
        self.flows.set()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            client, _ = self.listener.accept()
            if not self.open:
                client.close()
                continue
            try:
                server = socket.create_connection(self.target)
            except OSError:
                client.close()
                continue
            self.pairs.append((client, server))
            for way in ((client, server), (server, client)):
                threading.Thread(target=self.carry, args=way, daemon=True).start()

    def carry(self, source, sink):
        try:
            while data := source.recv(65536):
                self.flows.wait()
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut(self):
        """Ends what goes through, and lets nothing through."""
        self.open = False
        for pair in self.pairs:
            for end in pair:
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
        self.pairs = []

    def hold(self):
        """Keeps what is sent to itself; nobody is told."""
        self.flows.clear()

    def mend(self):
        self.open = True
        self.flows.set()

    def url(self, url):
        """The same server, this way."""
        parts = urllib.parse.urlsplit(url)
        login, _, _ = parts.netloc.rpartition("@")
        return parts._replace(netloc=f"{login}@127.0.0.1:{self.port}" if login else f"127.0.0.1:{self.port}").geturl()
