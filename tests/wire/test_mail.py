"""The mails of the notification service."""

import email.utils
import time

from bson import ObjectId

from harness.clips import GOOD
from harness.clock import until
from harness.fleet import MP3, text_of


def test_a_mail_has_the_originals_line_with_a_link_in_text_and_html(fleet, ann):
    fid = ann.mp3(ann.upload(GOOD))
    [(mail, envelope)] = fleet.next_mails(ann.email)
    sender = fleet.environment("notification")["GMAIL_ADDRESS"]
    assert (envelope["from"], envelope["to"], envelope["tls"], bool(envelope["user"])) == (sender, [ann.email], True, True)
    assert mail["From"].addresses[0].addr_spec == sender
    assert (str(mail["To"]), mail["Subject"]) == (ann.email, "MP3 Download")
    text = text_of(mail)
    assert text.splitlines()[0] == f"mp3 file_id: {fid} is now ready!"
    assert abs(time.time() - email.utils.parsedate_to_datetime(mail["Date"]).timestamp()) < 120
    assert mail["Message-ID"].startswith("<") and "@" in mail["Message-ID"]
    assert fleet.gateway.url in text
    assert f'href="{fleet.gateway.url}' in mail.get_body(("html",)).get_content()
    # A job that was told of is not told of again.
    job = fleet.jobs.find_one({"mp3": ObjectId(fid)})
    fleet.publish(MP3, {"video_fid": str(job["source"]), "mp3_fid": fid, "username": ann.email, "job_id": str(job["_id"])})
    until(lambda: fleet.state(MP3)[0] == 0)
    time.sleep(0.5)
    assert len(fleet.mails(ann.email)) == 1


def test_a_message_of_the_python_converter_is_mailed_with_one_message_id_however_often(fleet, name):
    fid = str(ObjectId())
    for _ in range(2):
        fleet.publish(MP3, {"video_fid": str(ObjectId()), "mp3_fid": fid, "username": name})
    mails = [mail for mail, _ in fleet.next_mails(name, 2)]
    assert (len(mails), len({mail["Message-ID"] for mail in mails})) == (2, 1)
    assert f"{fleet.gateway.url}/download?fid={fid}" in text_of(mails[0])
    assert text_of(mails[0]).splitlines()[0] == f"mp3 file_id: {fid} is now ready!"


def test_a_5xx_is_an_end_a_4xx_comes_again_and_others_do_not_wait(fleet, name):
    after, once = f"after.{name}", "once-450@example.com"
    before = len(fleet.mails(once))
    for to in ("550@example.com", once, after, "not an address"):
        fleet.publish(MP3, {"video_fid": str(ObjectId()), "mp3_fid": str(ObjectId()), "username": to})
    assert len(fleet.next_mails(after, 1, 3)) == 1
    assert len(fleet.next_mails(once, before + 1, 20)) == before + 1
    assert until(lambda: (fleet.state(f"{MP3}.dead") or (0, 0))[0] == 2)
    reasons = [fleet.take(f"{MP3}.dead")[1].headers["x-micropy-reason"] for _ in range(2)]
    assert all(len(reason) > 3 for reason in reasons) and any("550" in reason for reason in reasons)
    assert fleet.notification.alive
