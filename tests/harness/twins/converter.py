"""The converter as people run it in Python: moviepy, whole files in memory, no prefetch, a nack on any complaint.

What moviepy raises ends the process, as it does for them.
"""

import json
import os
import tempfile

import gridfs
import moviepy.editor
import pika
from bson import ObjectId
from pymongo import MongoClient

mongo = MongoClient(os.environ["MONGODB_URL"])
videos, mp3s = gridfs.GridFS(mongo["videos"]), gridfs.GridFS(mongo["mp3s"])


def mp3_of(video):
    """The bytes of the MP3 that moviepy makes of a video's sound."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(video)
        # Theirs does not: a file of less than 8 KiB is empty when moviepy reads it.
        file.flush()
        clip = moviepy.editor.VideoFileClip(file.name)
        path = f"{file.name}.mp3"
        clip.audio.write_audiofile(path, logger=None)
        clip.close()
    try:
        with open(path, "rb") as mp3:
            return mp3.read()
    finally:
        os.remove(path)


def on_message(channel, method, properties, body):
    # Every key that is not ours stays; headers are lost.
    message = json.loads(body)
    video = videos.get(ObjectId(message["video_fid"])).read()
    mp3 = mp3s.put(mp3_of(video))
    message["mp3_fid"] = str(mp3)
    try:
        channel.basic_publish(
            exchange="", routing_key=os.environ["MP3_QUEUE"], body=json.dumps(message),
            properties=pika.BasicProperties(delivery_mode=pika.spec.PERSISTENT_DELIVERY_MODE))
    except Exception:
        mp3s.delete(mp3)
        channel.basic_nack(delivery_tag=method.delivery_tag)
        return
    channel.basic_ack(delivery_tag=method.delivery_tag)


if __name__ == "__main__":
    channel = pika.BlockingConnection(pika.URLParameters(os.environ["AMQP_URL"])).channel()
    channel.basic_consume(queue=os.environ["VIDEO_QUEUE"], on_message_callback=on_message)
    print("waiting for messages", flush=True)
    channel.start_consuming()
