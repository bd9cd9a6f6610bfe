"""What goes through RabbitMQ."""

import datetime
import json
import time

import pytest
from bson import ObjectId

from harness.clips import FIRST, GOOD, repeated
from harness.clock import until
from harness.fleet import MP3, VIDEO

BOB = "bob.of.messages@example.com"


def properties_of(message):
    """Exchange, key, and the properties that are set."""
    method, properties, _ = message
    return method.exchange, method.routing_key, {name: value for name, value in vars(properties).items() if value not in (None, {})}


def age(fleet, job):
    """Makes a job look as if nothing had happened to it for hours."""
    old = datetime.datetime.now(tz=datetime.timezone.utc) - datetime.timedelta(hours=3)
    fleet.jobs.update_one({"_id": ObjectId(job)}, {"$set": {"updated": old, "requested": old}})


def test_the_gateways_message_has_the_original_keys_with_job_and_name(fleet, ann):
    fleet.become("auth", "gateway")
    reply = ann.upload(GOOD)
    message = fleet.take(VIDEO)
    assert properties_of(message) == ("", VIDEO, {"delivery_mode": 2})
    body, job = json.loads(message[2]), fleet.job(reply.job_id)
    assert {key: body.get(key, "absent") for key in ("video_fid", "mp3_fid", "username")} == {
        "video_fid": str(job["source"]), "mp3_fid": None, "username": ann.email}
    assert (body["job_id"], body["file_name"]) == (reply.job_id, GOOD.name)
    # The converter's is the same, with the id of the MP3.
    fleet.publish(VIDEO, message[2])
    fleet.become("auth", "gateway", "converter")
    message = fleet.take(MP3)
    assert properties_of(message) == ("", MP3, {"delivery_mode": 2})
    told = json.loads(message[2])
    assert fleet.mp3s.exists(ObjectId(told["mp3_fid"]))
    assert told | {"mp3_fid": None} == body


def test_the_converter_keeps_keys_that_are_not_ours(fleet):
    fleet.become("auth", "gateway", "converter")
    others = {"traceparent": "00-ü", "options": {"a": [1, 2.5, None, True]}, "big": 2**53 + 1}
    video = fleet.put(FIRST.data, BOB, **others)
    told = fleet.take_json(MP3)
    assert (told["video_fid"], {key: told.get(key) for key in others}) == (video, others)
    assert fleet.mp3s.exists(ObjectId(told["mp3_fid"]))


def test_the_gateway_does_not_consume_mp3s(fleet):
    fleet.become("auth", "gateway")
    assert fleet.state(MP3) == (0, 0)
    fleet.publish(MP3, {"video_fid": str(ObjectId()), "mp3_fid": str(ObjectId()), "username": BOB})
    time.sleep(1)
    assert fleet.state(MP3) == (1, 0)


def test_the_same_message_twice_makes_one_mp3_and_is_told_once(fleet):
    fleet.become("auth", "gateway", "converter")
    video = fleet.put(GOOD.data, BOB)
    assert fleet.take_json(MP3)["video_fid"] == video
    made = fleet.mongo["mp3s"]["fs.files"].count_documents({})
    fleet.publish(VIDEO, {"video_fid": video, "mp3_fid": None, "username": BOB})
    until(lambda: fleet.state(VIDEO)[0] == 0)
    assert fleet.take(MP3, 1.5) is None
    assert fleet.mongo["mp3s"]["fs.files"].count_documents({}) == made


@pytest.mark.parametrize("body", [
    "no JSON", "{}", "[]", '{"video_fid": "x", "mp3_fid": null, "username": "a"}', b"\xff",
    json.dumps({"video_fid": str(ObjectId()), "mp3_fid": None, "username": ""})],
    ids=["no JSON", "an empty object", "a list", "no id", "no UTF-8", "no user"])
def test_a_malformed_message_becomes_a_dead_letter_with_the_reason(fleet, body):
    fleet.publish(VIDEO, body)
    assert until(lambda: fleet.state(f"{VIDEO}.dead"))
    _, properties, dead = fleet.take(f"{VIDEO}.dead")
    assert dead == (body if isinstance(body, bytes) else body.encode())
    assert (len(properties.headers["x-micropy-reason"]) > 5, properties.delivery_mode) == (True, 2)


def test_a_queue_that_lost_its_messages_gets_them_again_but_not_what_a_python_converter_may_have(fleet, ann):
    fleet.become("auth", "gateway")
    fleet.jobs.delete_many({})
    job = ann.upload(GOOD).job_id
    assert fleet.take(VIDEO)
    age(fleet, job)
    # The gateway sweeps as it starts. With this setting a Python converter may have made the MP3.
    fleet.become("auth", gateway={"unowned_downloads": "true"})
    assert fleet.take(VIDEO, 2) is None
    # A converter of ours has begun one that was asked for later.
    fleet.become("auth", "converter", gateway={"unowned_downloads": "true"})
    later = ann.upload(GOOD).job_id
    assert until(lambda: fleet.job(later)["state"] == "done")
    fleet.become("auth")
    age(fleet, job)
    fleet.become("auth", gateway={"unowned_downloads": "true"})
    assert json.loads(fleet.take(VIDEO, 10)[2])["job_id"] == job
    age(fleet, job)
    fleet.become("auth", "gateway")
    message = fleet.take(VIDEO, 10)
    assert message and json.loads(message[2])["job_id"] == job
    fleet.publish(VIDEO, message[2])
    fleet.become("auth", "gateway", "converter")
    assert until(lambda: fleet.job(job)["state"] == "done")


def test_queues_made_by_hand_under_other_names_are_used_as_they_are(fleet):
    fleet.declare("odd video", **{"x-max-priority": 5, "x-max-length": 1000})
    fleet.declare("odd mp3", **{"x-queue-mode": "lazy"})
    fleet.become("auth", "gateway", converter={"VIDEO_QUEUE": "odd video", "MP3_QUEUE": "odd mp3"})
    video = str(fleet.videos.put(GOOD.data))
    fleet.publish("odd video", {"video_fid": video, "mp3_fid": None, "username": BOB})
    assert fleet.take_json("odd mp3")["video_fid"] == video
    fleet.declare("odd video", **{"x-max-priority": 5, "x-max-length": 1000})
    assert fleet.state("odd video") == (0, 1)


@pytest.mark.parametrize("workers", [1, 3])
def test_a_converter_takes_as_many_messages_as_it_has_workers(fleet, workers):
    fleet.become("auth", "gateway", converter={"workers": workers})
    until(lambda: fleet.state(VIDEO)[1] == 1)
    fleet.converter.pause()
    videos = [fleet.put(GOOD.data, BOB) for _ in range(6)]
    until(lambda: fleet.state(VIDEO)[0] <= 6 - workers, 3)
    time.sleep(0.5)
    assert fleet.state(VIDEO) == (6 - workers, 1)
    fleet.converter.resume()
    assert sorted(fleet.take_json(MP3)["video_fid"] for _ in videos) == sorted(videos)


def test_heartbeats_go_on_during_a_long_conversion(fleet, tmp_path):
    fleet.become("auth", "gateway", converter={"queue_url": f"{fleet.amqp}?heartbeat=1", "workers": 1})
    started = time.monotonic()
    video = fleet.put(repeated(tmp_path / "long.m4a", 400), BOB)
    assert fleet.take_json(MP3, 120)["video_fid"] == video
    # A broker hangs up after two intervals without a word.
    assert time.monotonic() - started > 4
    assert fleet.jobs.find_one({"source": ObjectId(video)})["attempts"] == 1
    assert fleet.converter.complaints() == []
    fleet.converter.pause()
    assert until(lambda: fleet.state(VIDEO)[1] == 0, 15), "a converter that gives no sign is dropped"
    fleet.converter.resume()
    assert until(lambda: fleet.state(VIDEO)[1] == 1, 10), "and comes back"
