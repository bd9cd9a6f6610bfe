"""The gateway as people run it in Python: Flask, GridFS through PyMongo, one pika connection made at the start.

It declares no queue, waits for no confirm and owns no job: whoever has a token may read any MP3.
"""

import json
import os

import gridfs
import pika
import requests
from bson import ObjectId
from flask import Flask, request, send_file
from pymongo import MongoClient

app = Flask(__name__)
AUTH = f"http://{os.environ['AUTH_SVC_ADDRESS']}"
mongo = MongoClient(os.environ["MONGODB_URL"])
videos, mp3s = gridfs.GridFS(mongo["videos"]), gridfs.GridFS(mongo["mp3s"])
channel = pika.BlockingConnection(pika.URLParameters(os.environ["AMQP_URL"])).channel()


def validated():
    """The claims of the request's token, and what to answer where there are none."""
    header = request.headers.get("Authorization")
    if not header:
        return None, ("missing credentials", 401)
    answer = requests.post(f"{AUTH}/validate", headers={"Authorization": header}, timeout=30)
    if answer.status_code != 200:
        return None, (answer.text, answer.status_code)
    # As a client that looks at no charset: what is not ASCII has to be escaped.
    return json.loads(answer.text), None


@app.post("/login")
def login():
    given = request.authorization
    if not given:
        return "missing credentials", 401
    answer = requests.post(f"{AUTH}/login", auth=(given.username, given.password), timeout=30)
    return answer.text, answer.status_code


@app.post("/upload")
def upload():
    claims, refusal = validated()
    if refusal:
        return refusal
    if not claims["admin"]:
        return "not authorized", 401
    if len(request.files) != 1:
        return "exactly 1 file required", 400
    for file in request.files.values():
        try:
            video = videos.put(file)
        except Exception:
            return "internal server error", 500
        message = {"video_fid": str(video), "mp3_fid": None, "username": claims["username"]}
        try:
            channel.basic_publish(
                exchange="", routing_key="video", body=json.dumps(message),
                properties=pika.BasicProperties(delivery_mode=pika.spec.PERSISTENT_DELIVERY_MODE))
        except Exception:
            videos.delete(video)
            return "internal server error", 500
    return "success!", 200


@app.get("/download")
def download():
    claims, refusal = validated()
    if refusal:
        return refusal
    if not claims["admin"]:
        return "not authorized", 401
    wanted = request.args.get("fid")
    if not wanted:
        return "fid is required", 400
    try:
        return send_file(mp3s.get(ObjectId(wanted)), download_name=f"{wanted}.mp3")
    except Exception:
        return "internal server error", 500


if __name__ == "__main__":
    # Flask's own server, as theirs, which gives each request a thread. A pika connection belongs to one thread, so
    # unless that is wanted here it is one request after the other.
    app.run(host=os.environ["HOST"], port=int(os.environ["PORT"]), threaded=os.environ.get("THREADED") == "1")
