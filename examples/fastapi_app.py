"""A FastAPI application that answers an uploaded video with its MP3.

    pip install fastapi python-multipart uvicorn
    uvicorn fastapi_app:app --port 8000 --limit-concurrency 50
    curl -F video=@talk.mp4 -F bitrate=128 http://127.0.0.1:8000/mp3 -o talk.mp3

In production:

- One process is enough. micropy releases the GIL and converts on all cores, while the event loop goes on answering.
  With `--workers N` there are N conversions at once: give each `jobs=` of its share of the cores.
- Videos take turns, so that ten uploads do not share the cores, and memory is that of one. `--limit-concurrency` bounds
  how many wait; those beyond it get 503.
- Starlette keeps an upload of more than 1 MB in a temporary file, and the MP3 goes to another: $TMPDIR has to hold both
  for each request. On a disk, that is: where /tmp is in memory, set TMPDIR.
- MAX_UPLOAD bounds the body as it arrives, whatever the client says of its length. Set the same at your proxy
  (`client_max_body_size` in nginx), and a read timeout that lets the longest video be converted.
"""

import asyncio
import os
import tempfile
from pathlib import PurePath
from typing import Annotated
from urllib.parse import quote

import micropy
from fastapi import FastAPI, Form, UploadFile
from fastapi.responses import JSONResponse, StreamingResponse

MAX_UPLOAD = int(os.environ.get("MAX_UPLOAD", 2 << 30))  # bytes

app = FastAPI()
turn = asyncio.Semaphore(1)


@app.exception_handler(micropy.MicropyError)
async def refuse(request, error):
    # It tells what is wrong with the video. What our own files raise, as on a full disk, is answered with 500.
    return JSONResponse({"detail": str(error)}, status_code=422)


@app.post("/mp3", max_body_size=MAX_UPLOAD)
async def mp3(video: UploadFile, bitrate: Annotated[int, Form()] = 128):
    # This file has no name: whatever ends the process, nothing is left of it.
    made = tempfile.TemporaryFile()
    async with turn:
        report = await micropy.convert_async(video.file, made, bitrate=bitrate)
    made.seek(0)
    name = quote(PurePath(video.filename or "audio").stem, safe="")
    headers = {
        "Content-Length": str(report.output_bytes),
        "Content-Disposition": f"attachment; filename*=UTF-8''{name}.mp3",
    }
    return StreamingResponse(pieces(made), media_type="audio/mpeg", headers=headers)


def pieces(file):
    with file:
        while piece := file.read(1 << 16):
            yield piece
