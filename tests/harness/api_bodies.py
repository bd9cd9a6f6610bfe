"""How Schemathesis makes and reads what no schema describes: videos, forms with them, MP3s. See tests/api."""

import zipfile
from io import BytesIO

import schemathesis
from hypothesis import strategies

from .clips import GOOD, SILENT

FORM = "multipart/form-data"
VIDEOS = strategies.sampled_from([GOOD.data, SILENT.data])
PARTS = strategies.one_of(VIDEOS, strategies.binary(max_size=100))

schemathesis.openapi.media_type("video/mp4", VIDEOS)
schemathesis.openapi.media_type("application/offset+octet-stream", PARTS)


@schemathesis.hook
def before_load_schema(ctx, raw_schema):
    """A form has files under any names, and before them options, as text: nothing in a schema tells the one from the
    other. So that there are files in it, forms are made with one of a certain name and nothing else."""
    form = raw_schema["paths"]["/api/v1/uploads"]["post"]["requestBody"]["content"][FORM]
    form["schema"] = {"type": "object", "properties": {"file": {"type": "string", "format": "binary"}}, "required": ["file"],
                      "additionalProperties": False}
    form["encoding"] = {"file": {"contentType": "video/mp4"}}


@schemathesis.deserializer("audio/mpeg")
def mp3(ctx, response):
    """An MP3, which begins with a tag or with a frame."""
    if response.content[:3] != b"ID3" and response.content[:2] not in (b"\xff\xfb", b"\xff\xf3", b"\xff\xe3"):
        raise ValueError(f"this is no MP3: {response.content[:20]}")
    return "an MP3"


@schemathesis.deserializer("application/zip")
def archive(ctx, response):
    """The names in a ZIP file that is sound."""
    with zipfile.ZipFile(BytesIO(response.content)) as entries:
        if broken := entries.testzip():
            raise ValueError(f"{broken} is broken")
        return entries.namelist()
