"""What both services are told by their environment."""

import os

AMQP_URL = os.environ.get("AMQP_URL", "amqp://guest:guest@rabbitmq:5672/%2f")
MONGODB_URL = os.environ.get("MONGODB_URL", "mongodb://mongodb:27017")
AUTH_SVC_ADDRESS = os.environ.get("AUTH_SVC_ADDRESS", "auth:5000")
VIDEO_QUEUE = os.environ.get("VIDEO_QUEUE", "video")
MP3_QUEUE = os.environ.get("MP3_QUEUE", "mp3")
VIDEOS = os.environ.get("VIDEOS_DB", "videos")
MP3S = os.environ.get("MP3S_DB", "mp3s")
