"""The service answers as its OpenAPI document says.

Schemathesis makes requests of the document, right ones and wrong ones, sends them to a running service, and compares the
answers with the document, by all the checks it has: once with the tokens of two users, and once without one.
"""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness import ROOT, SEED, number
from harness.clips import GOOD, SILENT
from harness.http import PASSWORD
from harness.service import starter

#: What Schemathesis has to know of this service. Every status here that it does not expect by itself stands in the
#: document, too, for the operation that answers it: all others are still compared with that.
SETTINGS = """
hooks = "harness.api_bodies"
seed = {seed}
continue-on-failure = true
max-redirects = 0
request-timeout = 20
# A stream of events has no end: what is looked at is the first event, with which every stream begins.
max-stream-events = 1

# All operations in the document's order: in the order of what depends on what, those that come last can be left out.
[phases.fuzzing]
operation-ordering = "none"

[generation]
max-examples = {examples}
database = "none"

# Wrong data is refused, too, with the statuses that say it more exactly: a job that was called off (410), another
# version of tus (412), more bytes than there may be (413), a checksum that does not match (460, as tus names it).
[checks.negative_data_rejection]
expected-statuses = [400, 401, 403, 404, 405, 406, 409, 410, 412, 413, 415, 422, 428, 429, 460]

# Without its header of the version, a request is one of another version of tus: 412, as tus has it.
[checks.missing_required_header]
expected-statuses = [400, 401, 403, 406, 412, 415, 422]

# Answers within this time, even where an argon2 hash is made, and on a machine that does other work.
[checks]
max_response_time = 10.0

# Right data that cannot be accepted nevertheless.
#
# Options exclude each other, such as bitrate and vbr; of bitrates and sample rates MP3 has only some, and both have to
# fit: a schema of parameters, each on its own, cannot say it (400). The Idempotency-Key of another upload (422).
[[operations]]
include-operation-id = "upload"
checks.positive_data_acceptance.expected-statuses = ["2xx", 400, 401, 403, 404, 409, 422]

# As above, and what Upload-Metadata may have, in base64 (400); an upload that was called off (410); a length that is
# more than the service takes, which /api/v1/about tells (413); bytes that are no video (415); the Idempotency-Key of
# another upload (422).
[[operations]]
include-operation-id = "tus_create"
checks.positive_data_acceptance.expected-statuses = ["2xx", 400, 401, 403, 404, 409, 410, 413, 415, 422]

# An upload that was called off (410), has fewer bytes (413), is no video (415); the checksum of other bytes (460).
[[operations]]
include-operation-id = ["tus_head", "tus_patch"]
checks.positive_data_acceptance.expected-statuses = ["2xx", 401, 403, 404, 409, 410, 413, 415, 460]

# Bytes by chance are no outline of a video (422), or not compressed as they say (400); a track and a language exclude
# each other (400).
[[operations]]
include-operation-id = "sound"
checks.positive_data_acceptance.expected-statuses = ["2xx", 400, 401, 403, 404, 409, 413, 415, 422]

# Options and webhooks exclude each other, and a webhook of a single job needs a secret; a URL has a host (400). The
# Idempotency-Key of another import (422).
[[operations]]
include-operation-id = ["import", "add_webhook"]
checks.positive_data_acceptance.expected-statuses = ["2xx", 400, 401, 403, 404, 409, 422]

# So that jobs, uploads and users are found that there are; some of them are deleted on the way.
[dictionaries.done]
values = {done}
[dictionaries.failed]
values = {failed}
[dictionaries.begun]
values = {begun}
[dictionaries.addresses]
values = ["{ann}"]
[dictionaries.passwords]
values = ["{password}"]

[[operations]]
include-operation-id = ["mp3", "show"]
parameters."path.id" = {{ dictionary = "done", probability = 0.5 }}
[[operations]]
include-operation-id = "retry"
parameters."path.id" = {{ dictionary = "failed", probability = 0.5 }}
[[operations]]
include-operation-id = ["tus_head", "tus_patch", "tus_delete"]
parameters."path.id" = {{ dictionary = "begun", probability = 0.7 }}
[[operations]]
include-operation-id = "archive"
parameters."query.jobs" = {{ dictionary = "done", probability = 0.5 }}
[[operations]]
include-operation-id = "login"
parameters."body.email" = {{ dictionary = "addresses", probability = 0.5 }}
parameters."body.password" = {{ dictionary = "passwords", probability = 0.7 }}
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    # Wrong passwords are tried all the time; tests/service sees to it that there is a limit.
    for start in starter(tmp_path_factory.mktemp("api")):
        service = start("serve", login_attempts=1_000_000)
        yield service
        assert "panicked" not in service.said()


@pytest.fixture(scope="module")
def ann(service):
    return service.user("ann@example.com")


@pytest.fixture(scope="module")
def bob(service):
    return service.user("bob@example.com")


def ended(user, clip, number=8):
    """Jobs of this clip that have ended."""
    files = user.upload(*[clip] * number).json()["files"]
    return [user.job(file["job"]["id"])["id"] for file in files]


def begun(user, number=8):
    """Uploads that have begun."""
    return [user.create(len(GOOD.data)).job_id for _ in range(number)]


def schemathesis(service, user, folder, more, left_out=()):
    """Runs Schemathesis with these settings; fails where it has found something."""
    document = service.ask("GET", "/api/v1/openapi.json").json()
    operations = [f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods]
    settings, report = folder / "schemathesis.toml", folder / "report.json"
    settings.write_text(SETTINGS.format(
        examples=number("API_EXAMPLES", 15, full=100), seed=SEED, ann=user.email, password=PASSWORD, done=ended(user, GOOD),
        failed=ended(user, SILENT), begun=begun(user)) + more)
    done = subprocess.run(
        [Path(sys.executable).with_name("schemathesis"), "--no-color", "--config-file", settings, "run",
         f"{service.url}/api/v1/openapi.json", "--report-json-path", report],
        cwd=folder, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT / "tests")})
    assert report.exists(), (done.stdout + done.stderr)[-2000:]
    found = json.loads(report.read_text())
    wrong = {operation: failure["title"] for failure in found["failures"] for operation in failure["operations"]}
    assert wrong == {}, done.stdout
    assert (done.returncode, found["errors"], found["complete"]) == (0, [], True), done.stdout
    phases = dict(re.findall(r"(Coverage|Fuzzing) \(in [^)]*\)\s+✅ +(\d+) passed\n", done.stdout))
    every = str(len(operations) - len(left_out))
    assert phases == {"Coverage": every, "Fuzzing": every}
    print(f"{found['test_cases']['generated']} requests in {found['running_time']:.0f} s")


@pytest.mark.timeout(1800)
def test_the_answers_to_two_users_are_as_the_document_says(service, ann, bob, tmp_path):
    (tmp_path / "users.yaml").write_text(json.dumps({"auth": [
        {"name": name, "fixedHeaders": [{"name": "Authorization", "value": f"Bearer {user.token}"}]}
        for name, user in (("ann", ann), ("bob", bob))]}))
    schemathesis(service, ann, tmp_path, '[auth.wfc]\npath = "users.yaml"\npeers = ["ann", "bob"]\n'
                 # It ends the token that all other requests need.
                 '[[operations]]\ninclude-operation-id = "logout"\nenabled = false\n', ["POST /api/v1/auth/logout"])


@pytest.mark.timeout(1800)
def test_the_answers_to_nobody_are_as_the_document_says_and_change_nothing(service, ann, tmp_path):
    ids = ended(ann, GOOD, 1) + ended(ann, SILENT, 1) + begun(ann, 1)
    time.sleep(0.5)  # their mails are sent
    before = {id: ann.get(f"/api/v1/jobs/{id}").body for id in ids}
    # Not by those that sign in: an answer of theirs would leave the client a cookie, and so it would be somebody.
    schemathesis(service, ann, tmp_path,
                 '[auth]\nauto-signup = false\n[[operations]]\ninclude-operation-id = ["register", "login"]\nenabled = false\n',
                 ["POST /api/v1/auth/register", "POST /api/v1/auth/login"])
    assert {id: ann.get(f"/api/v1/jobs/{id}").body for id in ids} == before
