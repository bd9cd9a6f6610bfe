"""Takes videos off a queue, makes MP3s of them, and says so on the next queue.

A video goes from GridFS through micropy into GridFS: no temporary file, and memory does not grow with its length.
"""

import json
import logging
import signal
import sys

import gridfs
import micropy
import pika
from bson import ObjectId
from bson.errors import InvalidId
from pymongo import MongoClient
from pymongo.errors import PyMongoError

import settings

log = logging.getLogger("converter")

#: Seconds before what failed for a passing reason is tried again.
PAUSE = 5


def convert(videos, mp3s, video_id, progress):
    """The id of the MP3 of a video."""
    # A message that comes twice makes one MP3.
    made = mp3s.find_one({"metadata.video_fid": str(video_id)})
    if made is not None:
        return made._id
    video = videos.get(video_id)
    mp3 = mp3s.new_file(metadata={"video_fid": str(video_id)})
    try:
        # moviepy: VideoFileClip(file).audio.write_audiofile(other_file), between two temporary files.
        report = micropy.convert(video, mp3, preset="moviepy", progress=progress)
        mp3.close()
    except BaseException:
        mp3.abort()
        raise
    log.info("%s: %.1f s of %s", video_id, report.duration, report.codec)
    return mp3._id


def main():
    logging.basicConfig(format="%(name)s %(levelname)s %(message)s", level=logging.INFO)
    logging.getLogger("pika").setLevel(logging.WARNING)
    # An exception, so that a conversion is given up in order; its message comes back to the queue.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))

    mongo = MongoClient(settings.MONGODB_URL)
    videos = gridfs.GridFS(mongo[settings.VIDEOS])
    mp3s = gridfs.GridFS(mongo[settings.MP3S])
    connection = pika.BlockingConnection(pika.URLParameters(settings.AMQP_URL))
    channel = connection.channel()
    for queue in (settings.VIDEO_QUEUE, settings.MP3_QUEUE):
        channel.queue_declare(queue, durable=True)
    channel.confirm_delivery()
    # One at a time: the others are for the other converters.
    channel.basic_qos(prefetch_count=1)

    def keep_alive(_):
        # Called several times a second while converting: the broker's heartbeats are answered.
        connection.process_data_events(time_limit=0)

    def handle(channel, method, _, body):
        try:
            message = json.loads(body)
            video_id = ObjectId(message["video_fid"])
            message["mp3_fid"] = str(convert(videos, mp3s, video_id, keep_alive))
        except (ValueError, KeyError, TypeError, InvalidId) as error:
            log.error("no message of ours: %r: %s", body[:200], error)
            channel.basic_reject(method.delivery_tag, requeue=False)
        except (micropy.MicropyError, gridfs.NoFile) as error:
            # Source and destination are MongoDB's, whose errors come through as they are:
            # these tell of the video, which will not get better.
            log.error("%s: %s: %s", video_id, type(error).__name__, error)
            channel.basic_reject(method.delivery_tag, requeue=False)
        except PyMongoError as error:
            log.warning("%s: %s: again in %d s", video_id, error, PAUSE)
            connection.sleep(PAUSE)
            channel.basic_nack(method.delivery_tag)
        else:
            # Confirmed before the video's message is let go: a crash between the two makes no second MP3.
            channel.basic_publish(
                "", settings.MP3_QUEUE, json.dumps(message),
                pika.BasicProperties(delivery_mode=2), mandatory=True)
            channel.basic_ack(method.delivery_tag)

    channel.basic_consume(settings.VIDEO_QUEUE, handle)
    log.info("waiting for videos")
    channel.start_consuming()


if __name__ == "__main__":
    main()
