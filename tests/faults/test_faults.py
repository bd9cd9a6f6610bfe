"""See conftest.py. Longer by the environment, and where MICROPY_FULL is set as long as what is promised:

    MICROPY_KILLS, MICROPY_JOBS   workers killed, over at least so many jobs (10, 20; 200, 300)
    MICROPY_UPLOADS               uploads during which the gateway is killed (15; 100)
    MICROPY_OUTAGES               how often RabbitMQ and MongoDB are stopped, and how often killed (1; 10)
    MICROPY_MYSQL_DOWN            seconds without MySQL (5; 60)
    MICROPY_UPLOAD_MB             size of the large video (100; 500)
    MICROPY_SEED                  another order of events (1)
    MICROPY_FAULTS_JSON           a file for the table of figures
"""

import contextlib
import datetime
import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter

import pika
import pytest
from bson import ObjectId

from harness import SEED, SERVER, SONG, number
from harness.clients import Client, Load
from harness.clips import GOOD, SILENT, clip, ffmpeg, variant
from harness.clock import until
from harness.fleet import Proxy
from harness.service import inherited
from harness.servers.server import listening

from .conftest import CONVERTERS

pytestmark = pytest.mark.timeout(3000)
KILLS, JOBS = number("KILLS", 10, full=200), number("JOBS", 20, full=300)
#: After a server's port opens, so many seconds until its users work again.
RECOVERY = 10
#: A killed worker's job is begun by another after so many: its lease, and the pause that fits it.
TAKEN_UP = 45
GRACE = 20
#: Seconds after which a job whose converter is away may be begun by another.
LEASE = 30


@pytest.fixture(scope="module")
def killed_workers(fleet, long_audio):
    """kill -9 of converters, in turn at any moment and at work: the client, and when each job in hand was hit."""
    rng, pauses = random.Random(SEED), random.Random(SEED + 1)
    client, before = Client(fleet, "workers@example.com"), fleet.orphans("mp3s")
    fresh, over = {"owner": client.email, "state": "queued", "attempts": 0}, threading.Event()

    def send():
        sent = 0
        while sent < JOBS or not over.is_set():
            # Always some to do, but no long queue: how long a killed job waits is to be seen.
            until(lambda: fleet.jobs.count_documents(fresh) < 4, 600)
            client.send("long.m4a", variant(rng, long_audio, 1000))
            sent += 1

    sender = threading.Thread(target=send)
    sender.start()
    killed = {}
    for n in range(KILLS):
        time.sleep(pauses.uniform(0.2, 2.5))
        worker = fleet.converters[n // 2 % len(fleet.converters)]
        if n % 2:
            # A machine that converts fast leaves little to meet.
            until(lambda: worker.in_hand().items() - killed.keys(), 10)
            time.sleep(pauses.uniform(0, 0.2))
        worker.kill()
        now = time.time()
        for held in worker.in_hand().items():
            killed.setdefault(held, now)
        worker.start()
    over.set()
    sender.join()
    return client, before, killed


@pytest.fixture(scope="module")
def killed_gateway(fleet):
    """kill -9 of the gateway at any moment of uploads: also between what it stores and what it publishes."""
    rng, uploads = random.Random(SEED), number("UPLOADS", 15, full=100)
    client, before = Client(fleet, "gateway@example.com"), (fleet.orphans("mp3s"), fleet.orphans("videos"))
    left, lock, longest, kills = list(range(uploads)), threading.Lock(), 0, 0

    def send(n):
        local = random.Random(SEED * 1000 + n)
        while True:
            with lock:
                if not left:
                    return
                left.pop()
            data = variant(local, most=600_000)
            if local.random() < 0.5:
                # A client that is not answered sends again: that may be a second job, and none is lost.
                while client.send("form.mp4", data) is None:
                    time.sleep(0.05)
            else:
                client.send_resumable("pieces.mp4", data, local.randrange(10_000, 60_000), pause=0.05)

    senders = [threading.Thread(target=send, args=[n], daemon=True) for n in range(3)]
    for one in senders:
        one.start()
    while any(one.is_alive() for one in senders) and kills < uploads * 10:
        time.sleep(rng.uniform(0.02, 0.4))
        fleet.gateway.kill()
        kills += 1
        began = time.monotonic()
        fleet.gateway.start()
        longest = max(longest, time.monotonic() - began)
    for one in senders:
        one.join(120)
    assert not any(one.is_alive() for one in senders)
    return client, before, kills, longest


# Both wait for leases to run out, which the kills of the other do not disturb: so these come first.
def test_killed_workers_lose_and_double_nothing_and_their_jobs_are_taken_up_soon(fleet, killed_workers, killed_gateway):
    client, before, killed = killed_workers
    fleet.settle(client)
    unlucky = fleet.retry_unlucky(client)
    starts = [(at, entry["job_id"]) for worker in fleet.converters for at, entry in worker.entries("conversion started")]
    waits, late = [], []
    for (job, _), at in killed.items():
        again = [start for start, id in starts if id == job and start > at]
        if again:
            waits.append(min(again) - at)
            if waits[-1] > TAKEN_UP and idle(fleet.converters, at + TAKEN_UP, min(again)) > 2:
                late.append((job, waits[-1]))
    assert len(waits) > KILLS // 5, "some were killed at work"
    assert late == [], f"jobs that nobody began within {TAKEN_UP} s though somebody was free"
    result = fleet.verify(client, before, crashes=KILLS)
    fleet.row("workers killed", KILLS, result, max(waits), at_work=len(waits), tried_again=unlucky)


def idle(workers, begin, end):
    """For how long, of this time, the first worker to be free was free: jobs may wait behind others."""
    free = []
    for worker in workers:
        busy, at = 0.0, None
        for when, entry in worker.entries('"job_id"'):
            # Killed, it begins another job after a moment.
            if at is not None:
                busy += max(0.0, min(when, end) - max(at, begin))
            at = when if entry["message"] == "conversion started" else None
        free.append(end - begin - busy)
    return max(free)


def test_a_killed_gateway_loses_no_upload_and_no_acknowledged_byte(fleet, killed_gateway):
    client, (mp3s, videos), kills, longest = killed_gateway
    fleet.settle(client)
    result = fleet.verify(client, mp3s)
    # Whoever died between storing and entering left a file that no job has; the sweeper's hour is not over.
    files, begun, chunks = (now - then for now, then in zip(fleet.orphans("videos"), videos))
    assert chunks == set()
    assert len(files) + len(begun) <= 3 * kills
    assert fleet.jobs.count_documents({"owner": client.email, "state": {"$nin": ["done", "receiving"]}}) == 0, "half jobs"
    fleet.row("gateway killed", kills, result, longest, videos_left=len(files) + len(begun))


def opened(server):
    """Starts a server; the time at which it listens."""
    times = []
    watch = threading.Thread(target=lambda: times.append(until(lambda: listening(server.port) and time.time(), 120, 0.02)))
    watch.start()
    server.start()
    watch.join()
    return times[0]


def outages(fleet, server, name, email, recovered, crashes=0):
    """Stops and kills a server under load, and starts it again."""
    times = number("OUTAGES", 1, full=10)
    client, before, waits = Client(fleet, email), fleet.orphans("mp3s"), []
    with Load(client):
        for n in range(2 * times):
            time.sleep(1)
            (server.kill if n % 2 else server.stop)()
            # RabbitMQ's first process ends before the one that listens.
            until(lambda: not listening(server.port), 60)
            down, refused = time.time(), client.answers[503]
            if n < 2:
                # Whoever asks now is told to come again, though not at once. Who has a job in line is not: what comes after
                # it waits in the ledger, where that is there.
                stranger = Client(fleet, f"refused.{n}.{email}") if name == "RabbitMQ" else client
                stranger.send("refused.mp4", GOOD.data)
                assert stranger.answers[503] > (refused if stranger is client else 0)
                assert stranger.without_retry_after == 0
            waits.append(recovered(client, down, opened(server)))
    assert max(waits) <= RECOVERY
    fleet.settle(client)
    result = fleet.verify(client, before, crashes=crashes * 2 * times, mail_crashes=2 * times)
    fleet.row(f"{name} stopped, killed", f"{times}+{times}", result, max(waits))


def test_rabbitmq_goes_away_and_comes_back(fleet):
    consumers = [(service, 1) for service in fleet.converters] + [(service, 2) for service in fleet.notifications]

    def recovered(_client, down, opened):
        latest = opened
        for service, queues in consumers:
            again = until(lambda: [at for at, _ in service.entries("consuming again") if at >= down][queues - 1:], 60)
            latest = max(latest, again[-1] if again else opened + 60)
        return latest - opened

    outages(fleet, fleet.servers.rabbitmq, "RabbitMQ", "broker@example.com", recovered)


def test_mongodb_goes_away_and_comes_back_and_no_reader_sees_half_a_file(fleet):
    over, half, seen = threading.Event(), [], Counter()

    def read():
        rng = random.Random(SEED)
        while not over.is_set():
            for database in ("videos", "mp3s"):
                try:
                    ids = fleet.mongo[database]["fs"]["files"].find({}, {"_id": 1}).sort("uploadDate", -1).limit(5)
                    id = rng.choice([file["_id"] for file in ids] or [ObjectId()])
                    found = fleet.whole(database, id)
                    # A removal takes the name first: what is half and still has its name is wrong.
                    if found and not found[1] and fleet.whole(database, id):
                        half.append((database, id))
                    seen[database] += found is not None
                except Exception as e:  # the driver's, while there is no server
                    seen[type(e).__name__] += 1
            time.sleep(0.02)

    reader = threading.Thread(target=read)
    reader.start()

    def recovered(client, _down, opened):
        first = until(lambda: [entry.at for entry in client.accepted[-50:] if entry.at > opened], 60)
        return min(first, default=opened + 60) - opened

    try:
        outages(fleet, fleet.servers.mongodb, "MongoDB", "mongod@example.com", recovered, crashes=len(fleet.converters))
    finally:
        over.set()
        reader.join()
    assert half == []
    assert seen["videos"] > 20 and seen["mp3s"] > 20
    fleet.rows[-1]["read"] = seen["videos"] + seen["mp3s"]


def test_without_mysql_nobody_logs_in_and_whoever_has_goes_on(fleet):
    client, before, seconds = Client(fleet, "mysql@example.com"), fleet.orphans("mp3s"), number("MYSQL_DOWN", 5, full=60)
    assert client.sign_in().status == 200
    with Load(client, clients=1):
        fleet.servers.mariadb.stop()
        end = time.monotonic() + seconds
        logins, others = set(), set()
        while True:
            for service in (fleet.gateway, fleet.auth):
                reply = client.sign_in(service)
                logins.add((reply.status, "retry-after" in reply.headers))
            others.add(client.get("/api/v1/jobs").status)
            others.add(fleet.auth.ask("POST", "/validate", token=client.token).status)
            others.add(201 if client.send("meanwhile.mp4", variant(random.Random())) else "refused")
            if time.monotonic() > end:
                break
        assert logins == {(503, True)}
        assert others == {200, 201}
        began = opened(fleet.servers.mariadb)
        until(lambda: client.sign_in().status == 200, 60)
        recovery = time.time() - began
    assert recovery <= RECOVERY
    fleet.settle(client)
    fleet.row(f"MySQL away for {seconds} s", 1, fleet.verify(client, before), recovery)


def test_killed_notification_services_send_every_mail(fleet):
    client, before = Client(fleet, "mail@example.com"), fleet.orphans("mp3s")
    rng, kills = random.Random(SEED), KILLS // 4
    with Load(client, clients=1):
        for n in range(kills):
            time.sleep(rng.uniform(0.1, 1.0))
            service = fleet.notifications[n % len(fleet.notifications)]
            service.kill()
            service.start()
    fleet.settle(client)
    fleet.row("notification killed", kills, fleet.verify(client, before, mail_crashes=kills))


def alone(fleet, *names):
    """Stops all but the first of these services, as long as a test lasts."""
    @contextlib.contextmanager
    def manage():
        for name in names[1:]:
            assert fleet.service(name).stop() == 0
        try:
            yield fleet.service(names[0])
        finally:
            for name in names[1:]:
                fleet.service(name).start()
    return manage()


@pytest.mark.full
def test_a_job_outlasts_three_outages_of_the_ledger(fleet, long_audio):
    client, before = Client(fleet, "ledger@example.com"), fleet.orphans("mp3s")
    proxy = Proxy(fleet.mongodb)
    with alone(fleet, *CONVERTERS) as converter:
        converter.restart(jobs_url=proxy.url)
        try:
            job = client.send("long.m4a", variant(random.Random(SEED), long_audio, 1000)).job
            assert until(lambda: fleet.job(job)["state"] == "running")
            [worker] = until(converter.workers)
            for _ in range(3):
                # The work is as long as that: longer than the lease.
                os.kill(worker, signal.SIGSTOP)
                proxy.cut()
                time.sleep(LEASE + 2)
                proxy.mend()
                assert until(lambda: fleet.job(job)["leased_until"] > datetime.datetime.now(tz=datetime.timezone.utc).replace(tzinfo=None))
                # And not so long that it ends before the next outage.
                os.kill(worker, signal.SIGCONT)
            fleet.settle(client)
            ended = fleet.job(job)
            assert (ended["state"], ended["attempts"], ended["deliveries"]) == ("done", 1, 1), ended.get("failure")
            # An attempt that is given up for an outage is none, either.
            job = client.send("long.m4a", variant(random.Random(SEED + 1), long_audio, 1000)).job
            for outages in range(1, 4):
                assert until(lambda: fleet.job(job)["state"] == "running", 60)
                [worker] = until(converter.workers)
                os.kill(worker, signal.SIGSTOP)
                proxy.cut()
                fleet.servers.mongodb.stop()
                os.kill(worker, signal.SIGCONT)
                time.sleep(2)
                fleet.servers.mongodb.start()
                proxy.mend()
                assert until(lambda: fleet.job(job).get("outages") == outages or fleet.job(job)["state"] == "done", 60)
                if fleet.job(job)["state"] == "done":
                    break
            fleet.settle(client)
            ended = fleet.job(job)
            assert (ended["state"], ended["attempts"]) == ("done", 1), ended.get("failure")
        finally:
            converter.restart(jobs_url=None)
    fleet.row("ledger away three times during one job", 2, fleet.verify(client, before, crashes=6, mail_crashes=6))


def test_a_doubled_message_is_one_mail_of_two_services(fleet):
    client, before = Client(fleet, "doubled@example.com"), fleet.orphans("mp3s")
    assert {service.stop() for service in fleet.notifications} == {0}
    for n in range(10):
        client.send("mail.mp4", variant(random.Random(n)))
    assert until(lambda: fleet.depth("mp3") == 10, 60)

    def double(channel):
        bodies = [channel.basic_get("mp3", auto_ack=True)[2] for _ in range(10)]
        for body in bodies:
            for _ in range(3):
                channel.basic_publish("", "mp3", body, pika.BasicProperties(delivery_mode=2))
    fleet.ask_broker(double)
    for service in fleet.notifications:
        service.start()
    fleet.settle(client)
    assert until(lambda: fleet.depth("mp3") == 0)
    time.sleep(2)
    result = fleet.verify(client, before)
    assert result["more_mails"] == 0
    fleet.row("each message published three times, two notifiers", 10, result)


def test_mails_that_died_with_their_server_are_replayed_and_come_once(fleet):
    client, before = Client(fleet, "replayed@example.com"), fleet.orphans("mp3s")
    assert {service.stop() for service in fleet.notifications} == {0}
    job = client.send("mail.mp4", variant(random.Random(SEED))).job
    # As a server that was away for days leaves it.
    def bury(channel):
        body = until(lambda: channel.basic_get("mp3", auto_ack=True)[2], 60)
        channel.queue_declare("mp3.dead", durable=True)
        for _ in range(2):
            headers = {"x-micropy-attempt": 110, "x-micropy-reason": "no server", "x-kept": "yes"}
            channel.basic_publish("", "mp3.dead", body, pika.BasicProperties(delivery_mode=2, headers=headers))
    fleet.ask_broker(bury)

    def queue(*words):
        done = subprocess.run([SERVER, "queue", *words], env=inherited() | {"MICROPY_QUEUE_URL": fleet.amqp}, capture_output=True,
                              text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout
    for service in fleet.notifications:
        service.start()
    listed = [line for line in queue("list", "mp3").splitlines() if job in line]
    assert [line.split("\t")[0:4:2] for line in listed] == [["mp3", "110"]] * 2
    assert " of mp3" in queue("replay", "mp3")
    fleet.settle(client)
    assert until(lambda: fleet.depth("mp3") == 0)
    assert [line for line in queue("list", "mp3").splitlines() if job in line] == []
    result = fleet.verify(client, before)
    assert result["more_mails"] == 0
    fleet.row("dead letters replayed", 2, result)


def test_a_swapped_or_restored_ledger_and_a_leap_of_the_clock_remove_nothing(fleet):
    client, before = Client(fleet, "swapped@example.com"), fleet.orphans("mp3s")
    for n in range(3):
        client.send("kept.mp4", variant(random.Random(n)))
    fleet.settle(client)
    files = lambda: [fleet.mongo[name]["fs"]["files"].count_documents({}) for name in ("videos", "mp3s")]
    kept, admin, own = files(), fleet.mongo.admin, fleet.mongo["micropy"]["micropy"]
    services = [fleet.gateway, *fleet.converters, *fleet.notifications]
    assert {service.stop() for service in services} == {0}

    def move(source, target):
        for name in ("jobs", "micropy"):
            admin.command("renameCollection", f"{source}.{name}", to=f"{target}.{name}")

    def is_refused(why):
        with pytest.raises(RuntimeError, match=f"{why}.*micropy-server adopt"):
            fleet.gateway.start()
        assert files() == kept

    # A new ledger, then another service's, then one that was restored from a backup.
    move("micropy", "aside")
    is_refused("this ledger is new")
    identity = {"_id": "identity", "ledger": ObjectId(), "generation": 1000}
    own.replace_one({"_id": "identity"}, identity, upsert=True)
    is_refused("but this is")
    fleet.mongo.drop_database("micropy")
    # A new ledger beside stores from before bindings.
    bound = {name: fleet.mongo[name]["micropy"].find_one_and_delete({"_id": "binding"}) for name in ("videos", "mp3s")}
    is_refused("knows none of them")
    for name, binding in bound.items():
        fleet.mongo[name]["micropy"].replace_one({"_id": "binding"}, binding, upsert=True)
    fleet.mongo.drop_database("micropy")
    move("aside", "micropy")
    generation = own.find_one({"_id": "identity"})["generation"]
    # Every start of a service moves it on once for each store.
    own.update_one({"_id": "identity"}, {"$set": {"generation": generation - 2}})
    is_refused("this one is older")
    own.update_one({"_id": "identity"}, {"$set": {"generation": generation}})

    # The clock is forty days ahead: all is as old, and nobody has swept since.
    days = datetime.timedelta(days=40)
    old = datetime.datetime.now(tz=datetime.timezone.utc) - days
    fleet.jobs.update_many({"owner": client.email}, {"$set": {"updated": old, "finished": old}})
    own.update_one({"_id": "sweeper"}, {"$set": {"until": int(old.timestamp() * 1000)}, "$unset": {"note": ""}})
    for service in services:
        service.start()
    assert until(lambda: any("clock" in entry["message"] for entry in fleet.gateway.complaints()))
    time.sleep(3)
    assert files() == kept
    now = datetime.datetime.now(tz=datetime.timezone.utc)
    fleet.jobs.update_many({"owner": client.email}, {"$set": {"updated": now, "finished": now}})
    fleet.row("ledger new, foreign, unbound, restored; clock 40 days ahead", 5, fleet.verify(client, before))


#: What a mail server does, and how many mails it then has of a job: what it kept without saying so comes again.
WISHES = {"once-421": 1, "once-data421": 1, "550": 0, "data554": 0, "once-dropdata": 1, "once-dropcontent": 1,
          "once-drop250": 2, "after250": 1, "once-hang": 1}


@pytest.fixture(scope="module")
def wishes(fleet):
    """A video for each of them, sent once: the mail server hangs meanwhile."""
    clients = {wish: Client(fleet, f"{wish}@example.com") for wish in WISHES}
    for client in clients.values():
        client.send("mail.mp4", variant(random.Random(client.email)))
    return clients


def test_corrupt_files_fail_at_once_with_a_reason_and_good_ones_do_not_notice(fleet, wishes):
    rng, client, before = random.Random(SEED), Client(fleet, "corrupt@example.com"), fleet.orphans("mp3s")
    data, moov = GOOD.data, GOOD.data.index(b"moov")
    bad = [
        data[:moov - 4],  # its end is missing, and with it the index
        data[:moov] + b"moo?" + data[moov + 4:],
        data[:32] + rng.randbytes(50_000),
        SILENT.data,
        clip("encrypted-cenc.mp4").data,
    ]
    processes = [worker.process.pid for worker in fleet.converters]
    for n in range(20):
        client.send(f"bad{n}.mp4", variant(rng, bad[n % len(bad)], 1000), good=False)
        client.send(f"good{n}.mp4", variant(rng))
    fleet.settle(client)
    assert len(client.accepted) == 40
    reasons = {job["failure"] for job in fleet.jobs.find({"owner": client.email, "state": "failed"})}
    assert len(reasons) >= 4 and not any("several times" in reason for reason in reasons)
    assert fleet.jobs.distinct("attempts", {"owner": client.email}) == [1]
    assert [worker.process.pid for worker in fleet.converters if worker.alive] == processes
    # A mail server that closes a connection after its 250 may cut off the next mail on it, whose 250 is then lost.
    hang_ups = sum("after250" in wish for wish in WISHES)
    fleet.row("corrupt files among good ones", 20, fleet.verify(client, before, mail_crashes=hang_ups))


def test_jobs_are_not_lost_with_a_queue_that_is_deleted(fleet):
    client, before, rounds = Client(fleet, "queue@example.com"), fleet.orphans("mp3s"), 5
    rng, deleted = random.Random(SEED), []

    def delete():
        fleet.ask_broker(lambda channel: channel.queue_delete("video"))
        deleted.append(time.time())

    assert {worker.stop() for worker in fleet.converters} == {0}
    for _ in range(rounds):
        delete()
        entry = client.send("form.mp4", variant(rng))
        assert fleet.depth("video") == (1 if entry else 0), "messages after an upload was accepted"
        for worker in fleet.converters:
            worker.start()
        fleet.settle(client)
        for worker in fleet.converters:
            worker.stop()
    for worker in fleet.converters:
        worker.start()
    with Load(client, clients=1):
        for _ in range(rounds):
            time.sleep(1)
            delete()
        time.sleep(1)

    def hit(entry):
        """Whether a queue was deleted while an upload's message may have been in it."""
        return any(entry.at - 1 < at < entry.at + 3 for at in deleted)

    # What was in the queue, or with a converter, went with it, and keeps its owner's later jobs waiting in the ledger.
    def waiting(**which):
        return {str(job["_id"]) for job in fleet.jobs.find({"owner": client.email, "state": "queued", **which})}

    lost = lambda: waiting(line={"$ne": "waiting"})
    until(lambda: all(hit(entry) for entry in client.accepted if entry.job in lost()), 20)
    left = lost()
    assert [entry.job for entry in client.accepted if entry.job in left and not hit(entry)] == []
    # The sweeper asks again after ten minutes, or an hour.
    assert fleet.gateway.stop() == 0
    old = datetime.datetime.now(tz=datetime.timezone.utc) - datetime.timedelta(hours=2)
    fleet.jobs.update_many({"_id": {"$in": [ObjectId(job) for job in left]}}, {"$set": {"updated": old, "requested": old}})
    fleet.gateway.start()
    fleet.settle(client, patience=90)
    result = fleet.verify(client, before)
    fleet.row("queue deleted during uploads", len(deleted), result, left_to_sweeper=len(left))


def test_a_mail_server_that_refuses_hangs_and_hangs_up_gets_each_mail(fleet, wishes):
    more = 0
    for wish, client in wishes.items():
        expected, [entry] = WISHES[wish], client.accepted
        job = lambda: fleet.job(entry.job)
        if expected:
            assert until(lambda: "notified" in job(), 120), wish
        else:
            letters = lambda: [reason for reason, body in fleet.dead("mp3") if entry.job.encode() in body]
            assert ["5" + wish[-2:] in reason for reason in until(letters)] == [True], wish
        ids = fleet.mailbox.read().get((entry.job, "MP3 Download"), [])
        assert (wish, job()["state"], len(ids), len(set(ids))) == (wish, "done", expected, min(1, expected))
        more += max(0, len(ids) - 1)
    fleet.row("SMTP refuses, hangs, hangs up", len(WISHES), {"accepted": len(WISHES), "lost": 0, "doubled": 0, "more_mails": more})


def test_each_service_stops_in_time_under_load(fleet, long_audio):
    client, before, slowest = Client(fleet, "sigterm@example.com"), fleet.orphans("mp3s"), 0
    rng, names = random.Random(SEED), list(fleet.services)
    with Load(client):
        for service in map(fleet.service, names):
            client.send("long.m4a", variant(rng, long_audio, 1000))
            client.send("long.m4a", variant(rng, long_audio, 1000))
            time.sleep(0.5)
            began = time.monotonic()
            assert service.stop(60) == 0
            slowest = max(slowest, time.monotonic() - began)
            assert slowest <= GRACE + 1
            service.start()
    fleet.settle(client)
    # What a converter was about to store when it had to stop is an orphan, too.
    result = fleet.verify(client, before, crashes=len(fleet.converters))
    fleet.row("SIGTERM to each service", len(names), result, slowest)


# Half a frame of 1.84 MB/s and a second of audio a time, as a camera writes it; then as ffmpeg does. MongoDB gives a chunk
# of 255 KiB or nothing of it: that of a frame has audio each time.
@pytest.mark.parametrize("name, interleaved, most", [
    ("audio every second", ["-chunk_duration", "1000000"], 0.25), ("audio every frame", [], 1.05)], ids=["second", "frame"])
def test_memory_does_not_grow_with_a_video_of_which_the_converter_reads_little_more_than_the_audio(fleet, tmp_path, name, interleaved, most):
    size, client, before = number("UPLOAD_MB", 100, full=500), Client(fleet, f"memory{most}@example.com"), fleet.orphans("mp3s")
    path = tmp_path / "large.mov"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=320x240:rate=12", "-stream_loop", -1, "-i", SONG, "-map", "0:v", "-map", "1:a",
           "-c:v", "rawvideo", "-pix_fmt", "uyvy422", "-c:a", "copy", "-t", size / (320 * 240 * 2 * 12 / (1 << 20)), *interleaved, path)
    probe = ["ffprobe", "-v", "error", "-select_streams", "a", "-show_entries", "packet=size", "-of", "csv=p=0", path]
    audio = subprocess.run(probe, capture_output=True, text=True, check=True).stdout
    audio, length = sum(int(line.strip(",")) for line in audio.split()), path.stat().st_size
    client.send("warm.mp4", GOOD.data)
    fleet.settle(client)
    services = [fleet.gateway, *fleet.converters]
    start = [service.peak_memory(forget=True) for service in services]
    sent_by = lambda: fleet.mongo.admin.command("serverStatus")["network"]["bytesOut"]
    sent, began = sent_by(), time.monotonic()
    assert client.send_file(path)
    os.remove(path)
    fleet.settle(client, 120)
    took, read = time.monotonic() - began, sent_by() - sent
    grown = {service.log.stem: service.peak_memory() - at for service, at in zip(services, start)}
    assert max(grown.values()) < 50 << 20, grown
    assert read / length <= most
    fleet.verify(client, before)
    fleet.row(f"{length >> 20} MB of video, {name}", 1, {"accepted": 1, "lost": 0, "doubled": 0}, audio_share=round(audio / length, 4),
              read_share=round(read / length, 4), grown_mb={kind: round(n / (1 << 20), 1) for kind, n in grown.items()}, seconds=round(took, 1))
