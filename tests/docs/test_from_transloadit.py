"""docs/from-transloadit.md: its request is accepted, and what it names is there."""

import json
import re

import pytest

from harness import ROOT
from harness.pages import blocks, run

PAGE = ROOT / "docs" / "from-transloadit.md"


@pytest.fixture(scope="module")
def document(service):
    return service.ask("GET", "/api/v1/openapi.json").json()


def test_the_request_is_accepted(service, ann, tmp_path):
    made = ann.ask("POST", "/api/v1/auth/webhooks", {})
    assert made.status == 201, made
    [request] = blocks(PAGE)
    job = json.loads(run(f"TOKEN={ann.token} URL={service.url}\n{request}", tmp_path))
    assert job["origin"] == "https://example.com/lecture.mp4", job


def test_every_route_is_there(document):
    named = re.findall(r"`(GET|POST|DELETE) (/api/v1/[a-zA-Z0-9/]+)", PAGE.read_text())
    assert len(named) > 8
    there = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert [one for one in named if (one[0], one[1].replace("/ID", "/{id}")) not in there] == []


def test_every_option_is_there(document):
    here = [line.rpartition(" | ")[2] for line in PAGE.read_text().splitlines() if line.startswith("|") and "ffmpeg" in line]
    names = re.findall(r"`([a-z_]+)(?:=[^`]*)?`", " ".join(here)) + ["tags", "preset", "webhook", "bitrate"]
    upload = document["paths"]["/api/v1/uploads"]["post"]["parameters"]
    assert {"vbr", "start", "duration", "mono", "normalize"} <= set(names)
    assert set(names) - {parameter["name"] for parameter in upload} == set()
