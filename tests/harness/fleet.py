"""The four services as processes of their own over real servers, each ours or its Flask twin.

Ours are started with the names in the environment that the Flask services read, as far as those have one. Queues,
databases and tables have the names that everybody's have, so one fleet at a time uses a set of servers.
"""

import email
import email.policy
import functools
import hashlib
import json
import re
import socket
import threading
from pathlib import Path
from urllib.parse import unquote, urlsplit

import gridfs
import pika
import pymysql
from bson import ObjectId
from pymongo import MongoClient

from . import SERVER
from .clock import until
from .http import User, ask
from .service import Service
from .tokens import SECRET

SERVICES = ("auth", "gateway", "converter", "notification")
#: Of the users in the table, as it stands there.
PASSWORD = "plain as it stands"
VIDEO, IMPORT, MP3, FAILED = "video", "video.import", "mp3", "mp3.failed"

#: The table as the Python auth service's users have made it.
TABLE = """CREATE TABLE IF NOT EXISTS user (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY,
  email VARCHAR(255) NOT NULL UNIQUE, password VARCHAR(255) NOT NULL)"""


def kind(name):
    """The kind of a service by its name: `converter-2` is a second converter."""
    return name.partition("-")[0]


class Fleet:
    """The services, and other eyes on what they share."""

    def __init__(self, servers, folder, program=SERVER):
        urls = servers.environment
        self.amqp, self.mongodb, mysql, smtp = (
            urls[f"MICROPY_TEST_{name}_URL"] for name in ("AMQP", "MONGODB", "MYSQL", "SMTP"))
        self.folder, self.servers, self.program = Path(folder), servers, program
        self.mysql, self.smtp = urlsplit(mysql), urlsplit(smtp)
        self.mails_folder = Path(urls["MICROPY_TEST_SMTP_DIR"])
        self.services, self.running = {}, {}
        self.mongo = MongoClient(self.mongodb, serverSelectionTimeoutMS=20000)
        self.videos, self.mp3s = gridfs.GridFS(self.mongo["videos"]), gridfs.GridFS(self.mongo["mp3s"])
        self.jobs = self.mongo["micropy"]["jobs"]

    # Processes.

    def service(self, name):
        """The process of that name, which keeps its port whatever runs there."""
        if name not in self.services:
            self.services[name] = Service(kind(name), self.folder / name, program=self.program)
        return self.services[name]

    def __getattr__(self, name):
        if kind(name) in SERVICES:
            return self.service(name)
        raise AttributeError(name)

    def environment(self, name, twin=False):
        """A service's settings: under the names of the Python services, then what those have hard-coded."""
        told = {
            "auth": {"MYSQL_HOST": self.mysql.hostname, "MYSQL_PORT": str(self.mysql.port), "MYSQL_DB": self.mysql.path[1:],
                     "MYSQL_USER": unquote(self.mysql.username), "MYSQL_PASSWORD": unquote(self.mysql.password),
                     "JWT_SECRET": SECRET},
            "gateway": {"AUTH_SVC_ADDRESS": f"127.0.0.1:{self.auth.port}"},
            "converter": {"VIDEO_QUEUE": VIDEO, "MP3_QUEUE": MP3},
            "notification": {"MP3_QUEUE": MP3, "GMAIL_ADDRESS": unquote(self.smtp.username),
                             "GMAIL_PASSWORD": unquote(self.smtp.password)},
        }[kind(name)]
        if twin:
            return told | {
                "HOST": "127.0.0.1", "PORT": str(self.service(name).port), "AMQP_URL": self.amqp, "MONGODB_URL": self.mongodb,
                "SMTP_HOST": self.smtp.hostname, "SMTP_PORT": str(self.smtp.port), "PYTHONDONTWRITEBYTECODE": "1",
            }
        if kind(name) != "auth":
            told |= {"MICROPY_STORAGE_URL": self.mongodb, "MICROPY_QUEUE_URL": self.amqp}
        if kind(name) == "notification":
            told |= {"MICROPY_NOTIFIER_URL": self.smtp.geturl(), "MICROPY_PUBLIC_URL": self.gateway.url}
        return told

    def start(self, name, twin=False, **settings):
        """Starts a service with these settings beside its usual ones."""
        service = self.service(name)
        service.twin, service.settings = twin, {**self.environment(name, twin), **settings}
        self.running[name] = (twin, settings)
        if service not in Service.running:
            Service.running.append(service)
        return service.start()

    def stop(self, *names):
        """Their exit codes."""
        for name in names:
            self.services[name].process.terminate()
            self.running.pop(name, None)
        return [self.services[name].stop() for name in names]

    def become(self, *names, twins=(), **settings):
        """Runs exactly these services, with their usual settings or those given by name:
        `become("auth", gateway={"unowned_downloads": True})`. A service that already runs like that is left alone."""
        every = sorted({*names, *twins, *settings}, key=lambda name: (SERVICES.index(kind(name)), name))
        wanted = {name: (name in twins, settings.get(name, {})) for name in every}
        stop = [name for name, how in self.running.items() if wanted.get(name) != how or not self.services[name].alive]
        assert set(self.stop(*stop)) <= {0, -15} or twins, f"{stop} did not stop well"
        for name in wanted:
            if name not in self.running:
                twin, more = wanted[name]
                self.start(name, twin, **more)
        return self

    def close(self):
        self.stop(*list(self.running))
        for service in self.services.values():
            if service in Service.running:
                Service.running.remove(service)
        for queue in self.servers.rabbitmq.queues():
            self.channel.queue_delete(queue)
        self.rabbit.close()
        for database in ("videos", "mp3s", "micropy"):
            self.mongo.drop_database(database)
        self.mongo.close()
        self.query("DROP TABLE IF EXISTS user, micropy_schema, micropy_standing, micropy_revoked_tokens, micropy_api_tokens")

    # HTTP.

    def login(self, email, password, name="gateway"):
        """A user at the gateway, by the original way to sign in."""
        reply = ask("POST", f"{self.service(name).url}/login", basic=f"{email}:{password}")
        assert reply.status == 200, reply
        return Owner(self, email, reply.text)

    # MySQL.

    def query(self, statement, *values):
        """What a statement of SQL gives."""
        database = pymysql.connect(
            host=self.mysql.hostname, port=self.mysql.port, user=unquote(self.mysql.username),
            password=unquote(self.mysql.password), database=self.mysql.path[1:], charset="utf8mb4", autocommit=True)
        with database, database.cursor() as cursor:
            cursor.execute(statement, values)
            return cursor.fetchall()

    def add_user(self, user, password):
        self.query(TABLE)
        self.query("INSERT INTO user (email, password) VALUES (%s, %s)", user, password)

    def stored_password(self, user):
        return self.query("SELECT password FROM user WHERE email = %s", user)[0][0]

    # RabbitMQ.

    @functools.cached_property
    def rabbit(self):
        return pika.BlockingConnection(pika.URLParameters(self.amqp + "?heartbeat=0"))

    @functools.cached_property
    def channel(self):
        return self.rabbit.channel()

    def ask_broker(self, act):
        """What `act` returns, given a channel of its own: for a broker that comes and goes."""
        connection = pika.BlockingConnection(pika.URLParameters(self.amqp))
        try:
            return act(connection.channel())
        finally:
            connection.close()

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

    def purge(self):
        """Empties the queues, and declares those that services expect."""
        for queue in (VIDEO, IMPORT, MP3, FAILED, f"{VIDEO}.dead", f"{MP3}.dead"):
            if queue in (VIDEO, MP3):
                self.declare(queue)
            if self.state(queue):
                self.channel.queue_purge(queue)

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

    def take_json(self, queue, seconds=30):
        """The body of the next message."""
        message = self.take(queue, seconds)
        return message and json.loads(message[2])

    def put_back(self, method):
        self.channel.basic_nack(method.delivery_tag, requeue=True)

    # MongoDB.

    def put(self, data, user, **more):
        """A video and its message, as the Python gateway leaves them. The video's id."""
        video = str(self.videos.put(data))
        self.publish(VIDEO, {"video_fid": video, "mp3_fid": None, "username": user, **more})
        return video

    def job(self, id):
        """A job as the ledger has it."""
        return self.jobs.find_one({"_id": ObjectId(id)})

    def whole(self, database, id):
        """The SHA-256 of a file and whether its chunks are complete; None where there is no such file."""
        files = self.mongo[database]["fs"]
        file = files["files"].find_one({"_id": id})
        if file is None:
            return None
        digest, length, number = hashlib.sha256(), 0, 0
        for chunk in files["chunks"].find({"files_id": id}).sort("n", 1):
            number += chunk["n"] == number
            length += len(chunk["data"])
            digest.update(chunk["data"])
        expected = -(-file["length"] // file["chunkSize"])
        return digest.hexdigest(), (length, number) == (file["length"], expected)

    # Mail.

    def mails(self, to):
        """The mails to an address, each with its envelope."""
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


class Separate(Fleet):
    """Our services alone, told by their own names for settings."""

    def __init__(self, servers, folder, **settings):
        super().__init__(servers, folder)
        self.settings = settings

    def environment(self, name, twin=False):
        urls = {"storage_url": self.mongodb, "queue_url": self.amqp, "users_url": self.mysql.geturl(), "notifier_url": self.smtp.geturl()}
        own = {"gateway": {"auth_url": self.auth.url}, "notification": {"public_url": self.gateway.url}}.get(kind(name), {})
        # Users of the tests have no mailbox.
        return {"JWT_SECRET": SECRET, "confirmation": False, **urls, **own, **self.settings}


class Owner(User):
    """A user of the fleet's gateway, who keeps to the original routes."""

    def __init__(self, fleet, email, token):
        super().__init__(fleet.gateway.url, email, token)
        self.fleet = fleet

    def upload(self, *parts, path="/upload", **headers):
        return super().upload(*parts, path=path, **headers)

    def download(self, fid, method="GET", **headers):
        return self.ask(method, f"/download?fid={fid}", **headers)

    def mp3(self, reply):
        """The id of an upload's MP3, as the ledger has it when the job is done."""
        self.job(reply.job_id)
        return str(self.fleet.job(reply.job_id)["mp3"])


def text_of(mail):
    """The text of a mail, its lines ending as ours do."""
    return mail.get_body(("plain",)).get_content().replace("\r\n", "\n")


class Mailbox:
    """What the mail server was given, by the job that it is about."""

    def __init__(self, folder):
        self.folder, self.seen, self.of_job = Path(folder), set(), {}

    def read(self):
        """{(job, subject): Message-ID of each mail}."""
        for file in sorted(self.folder.glob("*.eml")):
            if file.name not in self.seen:
                self.seen.add(file.name)
                mail = email.message_from_bytes(file.read_bytes(), policy=email.policy.default)
                if job := re.search(r"#job-([0-9a-f]{24})", text_of(mail)):
                    self.of_job.setdefault((job[1], mail["Subject"]), []).append(mail["Message-ID"])
        return self.of_job


class Proxy:
    """A proxy before a server, which can cut or hold connections; with a context, one that ends TLS."""

    def __init__(self, url, context=None):
        parts = urlsplit(url)
        self.server, self.target, self.open, self.pairs = parts, (parts.hostname, parts.port), True, set()
        self.context = context
        self.flows = threading.Event()
        self.flows.set()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        login, at, _ = parts.netloc.rpartition("@")
        #: The same server, this way.
        self.url = parts._replace(netloc=f"{login}{at}127.0.0.1:{self.port}").geturl()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            client, _ = self.listener.accept()
            try:
                if not self.open:
                    raise ConnectionError
                if self.context:
                    client = self.context.wrap_socket(client, server_side=True)
                server = socket.create_connection(self.target)
            except OSError:
                client.close()
                continue
            pair = client, server
            self.pairs.add(pair)
            for way in (pair, pair[::-1]):
                threading.Thread(target=self._carry, args=(*way, pair), daemon=True).start()

    def _carry(self, source, sink, pair):
        try:
            while data := source.recv(65536):
                self.flows.wait()
                sink.sendall(data)
        except OSError:
            pass
        shut(source, sink)
        # Clients of a bucket make hundreds.
        source.close()
        if sink.fileno() < 0:
            self.pairs.discard(pair)

    def cut(self):
        """Cuts all connections and accepts no more."""
        self.open = False
        for pair in list(self.pairs):
            shut(*pair)

    def hold(self):
        """Holds back everything that is sent, without closing a connection."""
        self.flows.clear()

    def mend(self):
        self.open = True
        self.flows.set()


def shut(*ends):
    for end in ends:
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
