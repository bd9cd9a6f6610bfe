"""Each of the four services stands in for its Flask twin while the others stay, and the other way round."""

import datetime
import re
import shutil
import subprocess
import time

import pytest

from harness import twins
from harness.clips import SONG
from harness.clock import until
from harness.fleet import MP3, PASSWORD, SERVICES, VIDEO, Fleet, text_of

SECONDS = 12.0
READY = re.compile(r"^mp3 file_id: ([0-9a-f]{24}) is now ready!$", re.MULTILINE)
CONSTELLATIONS = [(), *((name,) for name in SERVICES), *(tuple(other for other in SERVICES if other != name) for name in SERVICES)]


@pytest.fixture(scope="module")
def fleet(all_servers, tmp_path_factory):
    try:
        twins.python()
    except twins.Missing as e:
        pytest.skip(str(e))
    fleet = Fleet(all_servers, tmp_path_factory.mktemp("mixed"))
    fleet.add_user("mallory@example.com", PASSWORD)
    yield fleet
    fleet.close()


def become(fleet, services):
    """These are Python, and the others ours."""
    fleet.purge()
    # Where neither its converter nor its notification is ours, nobody tells our gateway what is done.
    unowned = {"converter", "notification"} <= set(services) and "gateway" not in services
    fleet.become(*SERVICES, twins=services, **({"gateway": {"unowned_downloads": "true"}} if unowned else {}))


@pytest.mark.parametrize("python", CONSTELLATIONS, ids=lambda names: ", ".join(names) or "none")
def test_a_video_becomes_a_mail_and_an_mp3_with_these_services_in_python(fleet, python):
    user = f"{'.'.join(python) or 'none'}@example.com"
    fleet.add_user(user, PASSWORD)
    become(fleet, python)
    owner = fleet.login(user, PASSWORD)
    assert owner.upload(SONG).answer == (200, "success!")
    [(mail, envelope)] = fleet.next_mails(user, 1, 60)
    assert (mail["Subject"], envelope["to"], envelope["tls"]) == ("MP3 Download", [user], True)
    text = text_of(mail)
    fid = READY.search(text)[1]
    mp3 = owner.download(fid)
    assert (mp3.status, mp3.kind) == (200, "audio/mpeg")
    untold = {"converter", "notification"} <= set(python)
    if "gateway" not in python and not untold:
        assert until(lambda: owner.jobs()[0]["state"] == "done", 5)
        assert [job["attempts"] for job in owner.jobs()] == [1]
        assert fleet.login("mallory@example.com", PASSWORD).download(fid).status == 404
    if "notification" not in python:
        assert re.search(r"http://\S+", text)[0].startswith(fleet.gateway.url)
    assert [fleet.state(queue)[0] for queue in (VIDEO, MP3)] == [0, 0]
    if untold and "gateway" not in python:
        is_not_asked_for_again(fleet, user, python)
    if not shutil.which("ffmpeg"):
        pytest.skip("ffmpeg is not installed")
    decoded(mp3.body)


def decoded(mp3):
    """A decoder that is not ours finds nothing wrong, and as many seconds as the video has."""
    command = ["ffmpeg", "-v", "error", "-xerror", "-f", "mp3", "-i", "-", "-f", "s16le", "-ar", "44100", "-ac", "2", "-"]
    made = subprocess.run(command, input=mp3, capture_output=True)
    assert (made.returncode, made.stderr) == (0, b"")
    # moviepy works in pieces, and its encoder pads.
    assert abs(len(made.stdout) / 4 / 44100 - SECONDS) < 0.2


def is_not_asked_for_again(fleet, user, python):
    """Behind our gateway, with nobody who tells it: a job stays queued, and must not be made again and again."""
    [job] = fleet.jobs.find({"owner": user})
    assert job["state"] == "queued"
    fleet.jobs.update_many({"owner": user}, {"$set": {"updated": job["updated"] - datetime.timedelta(hours=3)}})
    # Our gateway sweeps as it starts.
    fleet.stop("gateway")
    become(fleet, python)
    time.sleep(6)
    assert len(fleet.mails(user)) == 1
    fleet.jobs.delete_many({"owner": user})


def test_a_token_of_either_auth_service_is_good_at_the_other(fleet):
    become(fleet, ())
    ours = fleet.login("mallory@example.com", PASSWORD, "auth").token
    become(fleet, ("auth",))
    reply = fleet.auth.ask("POST", "/validate", token=ours)
    claims = reply.json()
    assert (reply.status, claims["username"]) == (200, "mallory@example.com")
    python = fleet.login("mallory@example.com", PASSWORD, "auth").token
    become(fleet, ())
    reply = fleet.auth.ask("POST", "/validate", token=python)
    others = reply.json()
    assert (reply.status, others["username"]) == (200, "mallory@example.com")
    assert (sorted(others), others["admin"]) == (sorted(claims), True)
    assert others["exp"] - others["iat"] == claims["exp"] - claims["iat"]


def test_all_of_ours_end_when_they_are_told_to(fleet):
    become(fleet, ())
    assert fleet.stop(*SERVICES) == [0, 0, 0, 0]
