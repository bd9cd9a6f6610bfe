"""The separate services while they or their servers fail: each test kills, stops or hangs some of them under load.

Gateway, auth service, two converters and two notification services run over servers of their own. Of every upload that
was answered with a 2xx the clients keep a log: at the end of a test each must be in MongoDB as it was sent, its job must
have come to the one right end, with exactly one MP3 that a user sees and one mail.
"""

import json
import os
import shutil
import time

import pika
import pytest

from harness import SEED
from harness.clips import repeated
from harness.fleet import Mailbox, Separate
from harness.servers import Missing, Servers

#: The subject of the mail about a job that ended so.
MAIL = {"done": "MP3 Download", "failed": "MP3 conversion failed"}
CONVERTERS, NOTIFICATIONS = ("converter-1", "converter-2"), ("notification-1", "notification-2")


class Fallible(Separate):
    """The services and their servers, all of which may fail."""

    def __init__(self, servers, folder):
        super().__init__(servers, folder, workers=1)
        self.become("auth", "gateway", *CONVERTERS, *NOTIFICATIONS)
        self.mailbox, self.rows = Mailbox(self.mails_folder), []
        self.converters = [self.service(name) for name in CONVERTERS]
        self.notifications = [self.service(name) for name in NOTIFICATIONS]

    def orphans(self, database):
        """What a sweeper has still to remove: (files that no job has, files begun, chunks of neither)."""
        files = self.mongo[database]["fs"]
        stored, begun = set(files["files"].distinct("_id")), set(files["uploads"].distinct("_id"))
        owned = set(self.jobs.distinct({"videos": "source", "mp3s": "mp3"}[database]))
        return stored - owned, begun - owned, set(files["chunks"].distinct("files_id")) - stored - begun

    def settle(self, client, patience=60, excused=()):
        """Waits until nothing is left to do for a user, as long as something goes on."""
        last, since = None, time.monotonic()
        while time.monotonic() - since < patience:
            mails = self.mailbox.read()
            left = [(str(job["_id"]), job["state"], len(job.get("owed", [])), job["attempts"])
                    for job in self.jobs.find({"owner": client.email})
                    if job["state"] in ("queued", "running") or job.get("owed")
                    or (job["state"] in MAIL and (str(job["_id"]), MAIL[job["state"]]) not in mails)]
            left = [job for job in left if job[0] not in excused]
            if not left:
                return
            if left != last:
                last, since = left, time.monotonic()
            time.sleep(0.25)
        assert last[:5] == [], "still to do"

    def verify(self, client, orphans, crashes=0, mail_crashes=0, excused=()):
        """Holds what was accepted against what is there. What there is to tell of it."""
        mails = self.mailbox.read()
        jobs = {str(job["_id"]): job for job in self.jobs.find({"owner": client.email})}
        lost, wrong = [], []
        for entry in client.accepted:
            job = jobs.get(entry.job)
            if job is None or self.whole("videos", job["source"]) != (entry.sha256, True):
                lost.append(entry)
            elif job["state"] != ("done" if entry.good else "failed") and entry.job not in excused:
                wrong.append((entry.job, job["state"], job.get("failure"), job["attempts"]))
            elif entry.good and job["state"] == "done" and not (self.whole("mp3s", job["mp3"]) or (0, False))[1]:
                lost.append(entry)
        assert client.accepted
        assert (lost, wrong) == ([], []), "accepted, and lost or not ended as it should"
        assert client.lost_bytes == [], "acknowledged bytes of resumable uploads"
        assert len(client.accepted) == len({entry.job for entry in client.accepted}), "one job for two uploads"
        # Also those that were taken in without an answer: the client cannot know, the owner sees them.
        told = {id: mails.get((id, MAIL.get(job["state"])), []) for id, job in jobs.items()}
        assert [id for id, ids in told.items() if len(set(ids)) > 1] == [], "jobs whose mails differ in their Message-ID"
        assert [id for id, ids in told.items() if not ids and jobs[id]["state"] in MAIL] == [], "finished jobs without a mail"
        more = sum(max(0, len(ids) - 1) for ids in told.values())
        assert more <= mail_crashes, "mails beyond one for a job are no more than crashes"
        owned = sum(job["state"] == "done" for job in jobs.values())
        stored = self.mongo["mp3s"]["fs"]["files"].count_documents({"metadata.owner": client.email})
        files, begun, chunks = (now - before for now, before in zip(self.orphans("mp3s"), orphans))
        assert stored - len(files) == owned, "MP3s that a job has, beside those of killed workers"
        assert len(files) + len(begun) <= crashes, "MP3s of killed workers are no more than crashes"
        assert chunks == set(), "chunks that neither a file nor an upload has"
        assert client.without_retry_after == 0
        assert set(client.answers) <= {200, 201, 204, 409, 503, "none"}
        return {"accepted": len(client.accepted), "lost": 0, "doubled": 0, "more_mails": more, "orphans": len(files) + len(begun),
                "jobs": len(jobs), "answers": {str(status): n for status, n in sorted(client.answers.items(), key=str)}}

    def row(self, fault, often, result, recovery=None, **more):
        """Enters a line into the table of what was found."""
        self.rows.append({"fault": fault, "often": often, **result, "recovery_s": recovery and round(recovery, 1), **more})
        print(json.dumps(self.rows[-1]))

    def retry_unlucky(self, client):
        """Chance may kill a job at each of its three attempts: it says so, and can be tried again."""
        unlucky = [job["_id"] for job in self.jobs.find({"owner": client.email, "state": "failed"}) if "unexpectedly" in job["failure"]]
        assert {client.act(id, "retry").status for id in unlucky} <= {200}
        if unlucky:
            self.settle(client)
        return len(unlucky)

    def depth(self, queue):
        """How many messages of a queue wait for a consumer; 0 where there is no such queue."""
        def count(channel):
            try:
                return channel.queue_declare(queue, passive=True).method.message_count
            except pika.exceptions.ChannelClosedByBroker:
                return 0
        return self.ask_broker(count)

    def dead(self, queue):
        """(reason, body) of each dead letter of a queue, which stay there."""
        def look(channel):
            found = []
            while (letter := channel.basic_get(f"{queue}.dead"))[0]:
                found.append((str(letter[1].headers.get("x-micropy-reason")), letter[2]))
            return found
        return self.ask_broker(look) if self.depth(f"{queue}.dead") else []

    def close(self):
        self.stop(*list(self.running))
        self.mongo.close()


@pytest.fixture(scope="package")
def fleet(tmp_path_factory):
    if not shutil.which("ffmpeg"):
        pytest.skip("ffmpeg is not installed")
    servers = Servers()
    try:
        servers.start()
    except Missing as e:
        servers.close()
        pytest.skip(str(e))
    fleet = Fallible(servers, tmp_path_factory.mktemp("faults"))
    yield fleet
    fleet.close()
    servers.close()
    if path := os.environ.get("MICROPY_FAULTS_JSON"):
        with open(path, "w") as file:
            json.dump({"seed": SEED, "rows": fleet.rows}, file, indent=1)


@pytest.fixture(scope="package")
def long_audio(tmp_path_factory):
    """A file whose conversion takes a while: 60 s of AAC, or about a second of work."""
    return repeated(tmp_path_factory.mktemp("long") / "long.m4a", 5)
