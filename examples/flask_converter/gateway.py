"""Where users log in, upload videos and download MP3s.

    FLASK_APP=gateway flask run --port 8080
"""

import json

import gridfs
import pika
import requests
from bson import ObjectId
from bson.errors import InvalidId
from flask import Flask, request, send_file
from pymongo import MongoClient

import settings

server = Flask(__name__)
mongo = MongoClient(settings.MONGODB_URL)
videos = gridfs.GridFS(mongo[settings.VIDEOS])
mp3s = gridfs.GridFS(mongo[settings.MP3S])


def publish(message):
    """Give a video to the converters; returns when the broker keeps it."""
    # A connection for each upload: they are not for several threads, and idle ones are closed.
    with pika.BlockingConnection(pika.URLParameters(settings.AMQP_URL)) as connection:
        channel = connection.channel()
        channel.queue_declare(settings.VIDEO_QUEUE, durable=True)
        channel.confirm_delivery()
        channel.basic_publish(
            "", settings.VIDEO_QUEUE, json.dumps(message),
            pika.BasicProperties(delivery_mode=2), mandatory=True)


def user():
    """Who asks: (claims, None), or (None, the answer that refuses)."""
    token = request.headers.get("Authorization")
    if not token:
        return None, ("missing credentials", 401)
    answer = requests.post(
        f"http://{settings.AUTH_SVC_ADDRESS}/validate", headers={"Authorization": token}, timeout=10)
    if answer.status_code != 200:
        return None, (answer.text, answer.status_code)
    claims = answer.json()
    return (claims, None) if claims["admin"] else (None, ("not authorized", 401))


@server.route("/login", methods=["POST"])
def login():
    auth = request.authorization
    if not auth:
        return "missing credentials", 401
    answer = requests.post(
        f"http://{settings.AUTH_SVC_ADDRESS}/login", auth=(auth.username, auth.password), timeout=10)
    return answer.text, answer.status_code


@server.route("/upload", methods=["POST"])
def upload():
    claims, refused = user()
    if refused:
        return refused
    if len(request.files) != 1:
        return "exactly 1 file required", 400
    [file] = request.files.values()
    video_id = videos.put(file)
    try:
        publish({"video_fid": str(video_id), "mp3_fid": None, "username": claims["username"]})
    except Exception:
        # Nobody would convert it.
        videos.delete(video_id)
        server.logger.exception("cannot publish")
        return "internal server error", 500
    return "success!", 200


@server.route("/download", methods=["GET"])
def download():
    _, refused = user()
    if refused:
        return refused
    name = request.args.get("fid")
    if not name:
        return "fid is required", 400
    try:
        mp3 = mp3s.get(ObjectId(name))
    except (InvalidId, gridfs.NoFile):
        return "not found", 404
    return send_file(mp3, mimetype="audio/mpeg", download_name=f"{name}.mp3")
