"""Nobody reaches a route, or another user's file, unless the table below allows it.

Every cell of the table is a request to a real service: with a bearer token, and again with the page's cookie. After
each request by somebody else the owner's jobs and files must be unchanged, and the answer must reveal nothing of them. A
route that the service has and the table lacks is a failure, too.
"""

import hashlib
import json
import re
import sqlite3
import time

import pytest

from harness import routes
from harness.clips import GOOD, SILENT, SMALL, Clip, form, metadata
from harness.clock import until
from harness.http import PART, PASSWORD, TUS
from harness.service import starter
from harness.tokens import DAY, SECRET, token

# Who asks:
#
#   nobody      without a token                          no admin  with the owner's token that says `admin: false`, which
#   malformed   with something that is no token                    in the original means: may not use the service
#   expired     with the owner's token of yesterday      another   another user
#   forged      with a token of another secret           admin     an administrator: to the service a user as any other,
#   unsigned    with a token of the algorithm `none`               who sees no files but their own
#                                                        owner     whose files they are
#
# {done}, {failed} and {part} are the owner's jobs: one with an MP3, whose id is {fid}, one without an audio track, and
# an upload that is on its way. Behind the path stands what else is sent, as SENT names it.
TABLE = """
                                         sent           nobody malformed expired forged unsigned no-admin another admin owner
# Accounts.
POST    /api/v1/auth/register            new-user       201    201       201     201    201      201      201     201   201
POST    /api/v1/auth/login               credentials    200    200       200     200    200      200      200     200   200
POST    /api/v1/auth/refresh             -              401    401       401     401    401      403      200     200   200
POST    /api/v1/auth/logout              -              204    204       204     204    204      204      204     204   204
POST    /api/v1/auth/password            wrong-password 401    401       401     401    401      403      409     409   409
POST    /api/v1/auth/password            -              401    401       401     401    401      403      415     415   415
POST    /api/v1/auth/remove              wrong-removal  401    401       401     401    401      403      409     409   409
POST    /api/v1/auth/password/forgotten  address        202    202       202     202    202      202      202     202   202
POST    /api/v1/auth/password/reset      wrong-code     409    409       409     409    409      409      409     409   409
POST    /api/v1/auth/address/confirm     wrong-code     409    409       409     409    409      409      409     409   409
POST    /api/v1/auth/address/mail        -              401    401       401     401    401      403      202     202   202
GET     /api/v1/auth/tokens              -              401    401       401     401    401      403      200     200   200
HEAD    /api/v1/auth/tokens              -              401    401       401     401    401      403      200     200   200
POST    /api/v1/auth/tokens              -              401    401       401     401    401      403      415     415   415
DELETE  /api/v1/auth/tokens/{done}       -              401    401       401     401    401      403      404     404   404
GET     /api/v1/auth/webhooks            -              401    401       401     401    401      403      200     200   200
HEAD    /api/v1/auth/webhooks            -              401    401       401     401    401      403      200     200   200
POST    /api/v1/auth/webhooks            -              401    401       401     401    401      403      415     415   415
DELETE  /api/v1/auth/webhooks/{done}     -              401    401       401     401    401      403      404     404   404
GET     /api/v1/auth/export              -              401    401       401     401    401      403      200     200   200
HEAD    /api/v1/auth/export              -              401    401       401     401    401      403      200     200   200
GET     /api/v1/auth/me                  -              401    401       401     401    401      403      200     200   200
HEAD    /api/v1/auth/me                  -              401    401       401     401    401      403      200     200   200

# Uploads.
POST    /api/v1/uploads                  form           401    401       401     401    401      403      201     201   201
POST    /api/v1/uploads                  -              401    401       401     401    401      403      400     400   400
POST    /api/v1/sound?size=20            outline        401    401       401     401    401      403      200     200   200
POST    /api/v1/sound                    -              401    401       401     401    401      403      400     400   400
POST    /api/v1/imports                  -              401    401       401     401    401      403      415     415   415
OPTIONS /api/v1/tus                      -              204    204       204     204    204      204      204     204   204
POST    /api/v1/tus                      length         401    401       401     401    401      403      201     201   201
HEAD    /api/v1/tus/{part}               tus            401    401       401     401    401      403      404     404   200
PATCH   /api/v1/tus/{part}               rest           401    401       401     401    401      403      404     404   204
PATCH   /api/v1/tus/{part}               elsewhere      401    401       401     401    401      403      404     404   409
DELETE  /api/v1/tus/{part}               tus            401    401       401     401    401      403      404     404   204
HEAD    /api/v1/tus/{done}               tus            401    401       401     401    401      403      404     404   200
PATCH   /api/v1/tus/{done}               rest           401    401       401     401    401      403      404     404   409
DELETE  /api/v1/tus/{done}               tus            401    401       401     401    401      403      404     404   409

# Jobs.
GET     /api/v1/jobs                     -              401    401       401     401    401      403      200     200   200
HEAD    /api/v1/jobs                     -              401    401       401     401    401      403      200     200   200
GET     /api/v1/jobs?batch={batch}       -              401    401       401     401    401      403      200     200   200
GET     /api/v1/jobs?before={part}       -              401    401       401     401    401      403      200     200   200
GET     /api/v1/jobs/{done}              -              401    401       401     401    401      403      404     404   200
HEAD    /api/v1/jobs/{done}              -              401    401       401     401    401      403      404     404   200
GET     /api/v1/jobs/%ff                 -              401    401       401     401    401      403      404     404   404
GET     /api/v1/jobs/{part}              -              401    401       401     401    401      403      404     404   200
DELETE  /api/v1/jobs/{done}              -              401    401       401     401    401      403      404     404   204
DELETE  /api/v1/jobs/{part}              -              401    401       401     401    401      403      404     404   204
POST    /api/v1/jobs/{part}/cancel       -              401    401       401     401    401      403      404     404   200
POST    /api/v1/jobs/{done}/cancel       -              401    401       401     401    401      403      404     404   409
POST    /api/v1/jobs/{failed}/retry      -              401    401       401     401    401      403      404     404   200
POST    /api/v1/jobs/{done}/retry        -              401    401       401     401    401      403      404     404   409
GET     /api/v1/events                   -              401    401       401     401    401      403      200     200   200
HEAD    /api/v1/events                   -              401    401       401     401    401      403      200     200   200

# What was sent to webhooks.
GET     /api/v1/deliveries               -              401    401       401     401    401      403      200     200   200
HEAD    /api/v1/deliveries               -              401    401       401     401    401      403      200     200   200
GET     /api/v1/deliveries?job={done}    -              401    401       401     401    401      403      200     200   200
POST    /api/v1/deliveries/{done}/resend -              401    401       401     401    401      403      404     404   404

# MP3s.
GET     /api/v1/jobs/{done}/mp3          -              401    401       401     401    401      403      404     404   200
GET     /api/v1/jobs/{done}/mp3?download=1 -            401    401       401     401    401      403      404     404   200
HEAD    /api/v1/jobs/{done}/mp3          -              401    401       401     401    401      403      404     404   200
GET     /api/v1/jobs/{done}/mp3          range          401    401       401     401    401      403      404     404   206
HEAD    /api/v1/jobs/{done}/mp3          range          401    401       401     401    401      403      404     404   200
GET     /api/v1/jobs/{done}/mp3          same-range     401    401       401     401    401      403      404     404   206
GET     /api/v1/jobs/{done}/mp3          other-range    401    401       401     401    401      403      404     404   200
GET     /api/v1/jobs/{done}/mp3          range-behind   401    401       401     401    401      403      404     404   416
GET     /api/v1/jobs/{done}/mp3          known          401    401       401     401    401      403      404     404   304
GET     /api/v1/jobs/{done}/mp3          any-known      401    401       401     401    401      403      404     404   304
GET     /api/v1/jobs/{failed}/mp3        -              401    401       401     401    401      403      404     404   404
GET     /api/v1/jobs/{done}/peaks        -              401    401       401     401    401      403      404     404   200
HEAD    /api/v1/jobs/{done}/peaks        -              401    401       401     401    401      403      404     404   200
GET     /api/v1/jobs/{failed}/peaks      -              401    401       401     401    401      403      404     404   404
GET     /api/v1/archive                  -              401    401       401     401    401      403      200     200   200
HEAD    /api/v1/archive                  -              401    401       401     401    401      403      200     200   200
GET     /api/v1/archive?jobs={done}      -              401    401       401     401    401      403      404     404   200
GET     /api/v1/archive?batch={batch}    -              401    401       401     401    401      403      404     404   200

# For those who run the service, and the service's description.
GET     /api/v1/about                    -              200    200       200     200    200      200      200     200   200
HEAD    /api/v1/about                    -              200    200       200     200    200      200      200     200   200
GET     /healthz                         -              200    200       200     200    200      200      200     200   200
HEAD    /healthz                         -              200    200       200     200    200      200      200     200   200
GET     /api/v1/openapi.json             -              200    200       200     200    200      200      200     200   200
HEAD    /api/v1/openapi.json             -              200    200       200     200    200      200      200     200   200
GET     /api/docs                        -              303    303       303     303    303      303      303     303   303
HEAD    /api/docs                        -              303    303       303     303    303      303      303     303   303
GET     /api/docs/                       -              200    200       200     200    200      200      200     200   200
HEAD    /api/docs/                       -              200    200       200     200    200      200      200     200   200
GET     /api/docs/swagger-ui.css         -              200    200       200     200    200      200      200     200   200
HEAD    /api/docs/swagger-ui.css         -              200    200       200     200    200      200      200     200   200
GET     /api/docs/nothing                -              404    404       404     404    404      404      404     404   404

# The page.
GET     /                                -              200    200       200     200    200      200      200     200   200
HEAD    /                                -              200    200       200     200    200      200      200     200   200
GET     /page/any/page.js                -              200    200       200     200    200      200      200     200   200
HEAD    /page/any/page.js                -              200    200       200     200    200      200      200     200   200
GET     /page/%ff/nothing                -              404    404       404     404    404      404      404     404   404
GET     /page/any/nothing                -              404    404       404     404    404      404      404     404   404

# The routes of the original gateway, with its statuses. A token is no password.
POST    /login                           -              401    401       401     401    401      401      401     401   401
POST    /upload                          form           401    403       403     403    403      401      200     200   200
POST    /upload                          -              401    403       403     403    403      401      400     400   400
GET     /download                        -              401    403       403     403    403      401      400     400   400
GET     /download?fid={fid}              -              401    403       403     403    403      401      404     404   200
HEAD    /download?fid={fid}              -              401    403       403     403    403      401      404     404   200
GET     /download?fid={fid}              range          401    403       403     403    403      401      404     404   206
HEAD    /download?fid={fid}              range          401    403       403     403    403      401      404     404   200
GET     /download?fid={fid}              same-range     401    403       403     403    403      401      404     404   206
GET     /download?fid={fid}              other-range    401    403       403     403    403      401      404     404   200
GET     /download?fid={fid}              range-behind   401    403       403     403    403      401      404     404   416
GET     /download?fid={fid}              known          401    403       403     403    403      401      404     404   304
GET     /download?fid={fid}              any-known      401    403       403     403    403      401      404     404   304
GET     /download?fid={done}             -              401    403       403     403    403      401      404     404   404

# The auth service, on a port of its own.
POST    auth:/login                      -              401    401       401     401    401      401      401     401   401
POST    auth:/validate                   -              401    403       403     403    403      200      200     200   200
POST    auth:/register                   new-user       403    403       403     403    403      403      403     403   403
POST    auth:/refresh                    -              401    403       403     403    403      200      200     200   200
POST    auth:/password                   wrong-password 401    403       403     403    403      409      409     409   409
POST    auth:/remove                     wrong-removal  401    403       403     403    403      409      409     409   409
POST    auth:/mail-code                  code-request   403    403       403     403    403      403      403     403   403
POST    auth:/reset                      wrong-code     403    403       403     403    403      403      403     403   403
POST    auth:/confirm                    wrong-code     403    403       403     403    403      403      403     403   403
POST    auth:/tokens                     -              401    403       403     403    403      200      200     200   200
POST    auth:/tokens/add                 -              401    415       415     415    415      415      415     415   415
POST    auth:/tokens/remove              unwanted       401    403       403     403    403      200      200     200   200
POST    auth:/logout                     -              401    204       204     204    204      204      204     204   204
GET     auth:/healthz                    -              200    200       200     200    200      200      200     200   200
HEAD    auth:/healthz                    -              200    200       200     200    200      200      200     200   200
GET     auth:/readyz                     -              200    200       200     200    200      200      200     200   200
HEAD    auth:/readyz                     -              200    200       200     200    200      200      200     200   200
"""

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
#: A page elsewhere that sends a browser's cookie along may look, as the browser then shows it nothing, but not act.
SAFE = ("GET", "HEAD", "OPTIONS")
ANN, BOB, ADMIN = "ann.owner@example.com", "bob@example.com", "admin@example.com"
#: Nobody else's answer has it.
NAME = "confidential-interview"
NONE = "0" * 24
OTHERS = Clip("other.mp4", SMALL.data)
#: Bytes of the upload that is on its way.
BEGUN = 1000


class Row:
    """A line of the table."""

    def __init__(self, line, who):
        self.method, place, self.sent, *statuses = line.split()
        self.auth, self.path = place.startswith("auth:"), place.removeprefix("auth:")
        assert len(statuses) == len(who), f"the table has {len(statuses)} cells in: {line}"
        self.expected = dict(zip(who, map(int, statuses)))
        self.subjects = set(re.findall(r"{(\w+)}", self.path))
        self.name = f"{self.method} {place}" + (f" ({self.sent})" if self.sent != "-" else "")


HEAD, *LINES = (line for line in TABLE.splitlines() if line and not line.startswith("#"))
WHO = HEAD.split()[1:]
ROWS = [Row(line, WHO) for line in LINES]


class World:
    """The service, and what its owner Ann has there."""

    def __init__(self, service):
        self.service, self.users, self.requests = service, 0, 0
        self.ann, self.bob, self.admin = (service.user(user) for user in (ANN, BOB, ADMIN))
        for other in (self.bob, self.admin):
            other.uploaded(OTHERS)
        self.tokens = {
            "nobody": None, "malformed": "x.y.z", "expired": token(ANN, begun=-DAY - 1), "forged": token(ANN, "another secret of the tests, as long as the other"),
            "unsigned": token(ANN, None), "no-admin": token(ANN, admin=False),
            "another": self.bob.token, "admin": self.admin.token, "owner": self.ann.token,
        }
        assert list(self.tokens) == WHO
        self.signed_in = {"another": self.bob, "admin": self.admin, "owner": self.ann}
        self.values = {}
        self.etag = self.mp3 = None
        self.replace("done", "failed", "part")

    def replace(self, *names):
        """Gives Ann jobs that nobody has touched yet."""
        for name in names:
            if name == "part":
                made = self.ann.create(len(GOOD.data), Upload_Metadata=metadata(filename=f"{NAME}-part.mp4"))
                self.ann.patch(made.headers["location"], GOOD.data[:BEGUN], 0)
                self.values["part"] = made.job_id
                continue
            uploaded = self.ann.upload(Clip(f"{NAME}-{name}.mp4", (GOOD if name == "done" else SILENT).data))
            job = self.ann.job(uploaded.job_id)
            assert job["state"] == name
            self.values[name] = job["id"]
            if name == "done":
                self.values |= {"fid": job["mp3"]["fid"], "batch": uploaded.json()["batch"]}
                whole = self.ann.get(job["mp3"]["url"])
                self.mp3, self.etag = whole.body, whole.headers["etag"]
        self.settle()

    def sign_in_again(self, who):
        """After a logout, which has ended the token."""
        if who == "no-admin":
            self.tokens[who] = token(ANN, admin=False, jti=str(self.requests))
        elif user := self.signed_in.get(who):
            assert user.ask("GET", "/api/v1/auth/me").status == 401
            self.tokens[who] = user.token = user.login().json()["token"]

    def settle(self):
        """Waits until nothing of Ann's changes by itself."""
        def still():
            before = self.state()
            if any(job["state"] in ("queued", "running") for job in before[0]):
                return False
            time.sleep(0.2)
            return self.state() == before
        assert until(still)

    def state(self):
        """What Ann has: her jobs, and the bytes of her files."""
        jobs, folder = self.ann.jobs(), self.service.folder
        database = sqlite3.connect(f"file:{folder}/micropy.db?mode=ro", uri=True)
        ids = database.execute("SELECT source, mp3 FROM jobs WHERE owner = ?", [ANN]).fetchall()
        database.close()
        ids = {id.hex() for pair in ids for id in pair if id}
        return jobs, {(file.name, file.parent.name): hashlib.sha256(file.read_bytes()).hexdigest()
                      for kind in ("videos", "mp3s") for file in (folder / kind).rglob("*") if file.is_file() and file.name[:24] in ids}

    def secrets(self):
        """What only Ann may read, by what it is."""
        pieces = {f"bytes of the {what}": [data[len(data) * n // 4:][:24] for n in (1, 2, 3)]
                  for what, data in (("MP3", self.mp3), ("video", GOOD.data))}
        ids = {f"the id {name}": [value.encode()] for name, value in self.values.items()}
        return {"the file's name": [NAME.encode()], "the owner's address": [ANN.encode()], **pieces, **ids}

    def ask(self, method, path, auth=False, headers={}, body=None, values=None):
        """The answer; for an endless stream, its first lines."""
        self.requests += 1
        path = path.format_map(values or self.values)
        if (method, path) == ("GET", "/api/v1/events"):
            return self.service.first_event(**headers)
        return (self.service.ask_auth if auth else self.service.ask)(method, path, body, **headers)

    def sent(self, what):
        """Headers and body of a request, as the table names them."""
        part = {"Range": "bytes=10-19"}
        if what == "new-user":
            self.users += 1
            return {}, {"email": f"user{self.users}@example.com", "password": PASSWORD}
        if what == "form":
            body, kind = form(OTHERS)
            return {"Content_Type": kind}, body
        return {
            "wrong-removal": ({}, {"password": "wrong"}), "wrong-password": ({}, {"current": "wrong", "new": "another horse"}),
            "address": ({}, {"email": "nobody@example.com"}), "wrong-code": ({}, {"code": "x.y", "new": "another horse"}),
            "code-request": ({}, {"email": ANN, "purpose": "reset"}), "unwanted": ({}, {"id": NONE}),
            "-": ({}, None), "credentials": ({}, {"email": ANN, "password": PASSWORD}),
            "outline": ({}, b"\0\0\0\x14ftypisom\0\0\2\0isom"),
            "length": ({"Upload_Length": "99", **TUS}, None), "tus": (TUS, None),
            "rest": ({"Upload_Offset": str(BEGUN), **PART}, GOOD.data[BEGUN:]), "elsewhere": ({"Upload_Offset": "5", **PART}, b"x"),
            "range": (part, None), "same-range": (part | {"If_Range": self.etag}, None),
            "other-range": (part | {"If_Range": '"another"'}, None), "range-behind": ({"Range": "bytes=99999999-"}, None),
            "known": ({"If_None_Match": self.etag}, None), "any-known": ({"If_None_Match": "*"}, None),
        }[what]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    for start in starter(tmp_path_factory.mktemp("access")):
        yield World(start("serve", jwt_secret=SECRET, login_attempts=1000))


def carried(how, token):
    """The headers that carry a token."""
    if token is None:
        return {}
    if how == "bearer":
        return {"Authorization": f"Bearer {token}"}
    return {"Cookie": f"theme=dark; micropy_session={token}"} | {"elsewhere": {"Sec_Fetch_Site": "cross-site"},
                                                                 "an origin": {"Origin": "http://elsewhere.example"}}.get(how, {})


def leaks(world, row, reply, headers, body, who):
    """The owner's secrets that an answer gives to a caller who did not send them."""
    heard = reply.body + json.dumps(reply.headers).encode()
    said = body if isinstance(body, bytes) else json.dumps(body).encode()
    known = json.dumps([row.path.format_map(world.values), headers]).encode() + said
    if who == "no-admin":
        known += ANN.encode()  # it stands in the token
    return [what for what, pieces in world.secrets().items() if any(piece in heard and piece not in known for piece in pieces)]


def plain(reply):
    """Everything in an answer but the time."""
    return reply.status, reply.body, {name: value for name, value in reply.headers.items() if name != "date"}


# The auth service knows no cookies.
@pytest.mark.parametrize("row, how", [pytest.param(row, how, id=f"{row.name} by {how}") for row in ROWS
                                      for how in (["bearer"] if row.auth else ["bearer", "cookie"])])
def test_each_route_answers_each_caller_as_the_table_says(world, row, how):
    for who, expected in row.expected.items():
        headers, body = world.sent(row.sent)
        before = world.state()
        reply = world.ask(row.method, row.path, row.auth, headers | carried(how, world.tokens[who]), body)
        assert (who, reply.status) == (who, expected)
        if row.path.endswith("/logout"):
            world.sign_in_again(who)
        if reply.status >= 400 and row.path.startswith("/api/v1/"):
            assert (who, reply.kind) == (who, "application/problem+json")
        if reply.status == 401 and row.path.startswith("/api/v1/"):
            assert (who, reply.headers.get("www-authenticate")) == (who, "Bearer")
        if who == "owner":
            delivered(world, row, reply)
            if row.method not in SAFE:
                world.settle()
                world.replace(*row.subjects & {"done", "failed", "part"})
            continue
        assert (who, leaks(world, row, reply, headers, body, who)) == (who, [])
        assert world.state() == before, f"{who} has changed something"
        if row.subjects and expected == 404:
            nothing = world.ask(row.method, row.path, row.auth, headers | carried(how, world.tokens[who]), body,
                                dict.fromkeys(world.values, NONE))
            assert plain(reply) == plain(nothing), f"{who} can tell that there is something"


def delivered(world, row, reply):
    """The owner gets the whole MP3, or the part that was asked for."""
    if "/mp3" not in row.path and "/download" not in row.path or reply.status not in (200, 206):
        return
    whole = world.mp3 if reply.status == 200 else world.mp3[10:20]
    assert reply.headers["content-length"] == str(len(whole))
    assert reply.body == (b"" if row.method == "HEAD" else whole)


@pytest.mark.parametrize("row", [row for row in ROWS if row.method not in SAFE and not row.auth], ids=lambda row: row.name)
@pytest.mark.parametrize("how", ["elsewhere", "an origin"])
def test_a_page_elsewhere_cannot_act_with_the_owners_cookie(world, row, how):
    headers, body = world.sent(row.sent)
    before = world.state()
    reply = world.ask(row.method, row.path, headers=headers | carried(how, world.ann.token), body=body)
    # Who has no session there needs none elsewhere; who has one is told why it does not count.
    expected = row.expected["malformed"]
    assert reply.status == (403 if expected == 401 and row.path.startswith("/api/v1/") else expected)
    assert world.state() == before
    assert world.ann.get("/api/v1/auth/me").status == 200, "the owner was logged out"


def served(world):
    """The routes that the service has, as (whether the auth service's, path with {} in it): by its code and its document."""
    document = world.ask("GET", "/api/v1/openapi.json").json()
    source = routes.sources()
    # Every way to add a route is one that is read below. telemetry/health.rs is served at an address of its own, which is for
    # those who run the service, and to nobody's token.
    adding = {name for name, text in source.items() if re.search(r"Router::new\(\)|OpenApiRouter|\.route\(", text)}
    assert {name.split("/src/")[1] for name in adding} == {"gateway/routes.rs", "page.rs", "auth/mod.rs", "telemetry/health.rs"}
    assert [name for name, text in source.items() if re.search(
        r"\.(nest|nest_service|route_service|fallback|fallback_service|method_not_allowed_fallback)\(", text)] == []
    found = {(False, path) for path in document["paths"]}
    for name in adding:
        paths = routes.added(source[name])
        assert len(paths) == source[name].count(".route("), name
        if not name.endswith("health.rs"):
            found |= {(name.endswith("auth/mod.rs"), path) for path in paths}
    [text] = [source[name] for name in adding if name.endswith("gateway/routes.rs")]
    operations = sum(method in map(str.lower, METHODS) for path in document["paths"].values() for method in path)
    assert operations == sum(len(group.split(",")) for group in re.findall(r"routes!\(([^)]*)\)", text))
    [viewer] = re.findall(r'SwaggerUi::new\("([^"]+)"\)', text)
    return sorted(found | {(False, path) for path in (viewer, f"{viewer}/", f"{viewer}/{{*rest}}")})


def test_the_table_has_every_route_and_method_that_is_served_and_no_other(world):
    known = set()
    for auth, route in served(world):
        pattern = re.sub(r"{\*\w+}", ".+", route)
        pattern = re.compile(re.sub(r"{\w+}", "[^/]+", pattern) + r"(\?.*)?")
        named = {row for row in ROWS if row.auth == auth and pattern.fullmatch(row.path.format_map(world.values))}
        example = re.sub(r"{\*?\w+}", "x", route)
        # A method that is not there is answered with those that are (RFC 9110, section 15.5.6).
        allowed = world.ask("BREW", example, auth).headers.get("allow", "")
        assert (route, {row.method for row in named}) == (route, set(allowed.split(",")))
        known |= named
        # Other methods are refused to everybody alike, and do nothing.
        before = world.state()
        for method in sorted(set(METHODS) - set(allowed.split(","))):
            for who, good in world.tokens.items():
                reply = world.ask(method, example, auth, carried("bearer", good))
                assert (who, reply.status, reply.headers.get("allow"), reply.body) == (who, 405, allowed, b""), f"{method} {route}"
        assert world.state() == before
    assert [row.name for row in ROWS if row not in known] == []


@pytest.mark.parametrize("path", [
    "/api/v1", "/api/v1/nothing", "/api/v2/jobs", "/videos", "/mp3s/{fid}", "/validate", "/register", "/api/v1/jobs/{done}/video",
    "/api/v1/jobs/{done}/mp3/", "/api/v1/jobs//{done}", "/page/../../etc/passwd", "/.%2e/micropy.db"])
def test_there_is_nothing_at_other_paths_for_anybody(world, path):
    for who, good in world.tokens.items():
        assert (who, world.ask("GET", path, headers=carried("bearer", good)).status) == (who, 404)


def test_others_do_not_hear_of_the_owners_jobs(world):
    events = world.bob.events()
    assert events.line() == b"event: ready"
    world.ann.uploaded(Clip(f"{NAME}.mp4", GOOD.data))
    own, heard = world.bob.upload(OTHERS).job_id, b""
    # Bob's own job came later: what he hears of until then is all that he hears.
    while own.encode() not in heard:
        heard += events.line()
    assert (NAME.encode() in heard, ANN.encode() in heard) == (False, False)
    events.close()
    world.bob.job(own)
    world.settle()


def test_others_do_not_cut_off_an_upload_by_asking_for_it(world):
    rest, place = GOOD.data[BEGUN:], f"/api/v1/tus/{world.values['part']}"
    connection = world.ann.begin_part(place, len(rest), BEGUN)
    connection.sendall(rest[:500])
    time.sleep(0.3)
    for method, what in (("HEAD", "tus"), ("PATCH", "rest"), ("DELETE", "tus")):
        for who in ("malformed", "another", "admin"):
            headers, body = world.sent(what)
            status = world.ask(method, place, headers=headers | carried("bearer", world.tokens[who]), body=body).status
            assert (method, who, status) == (method, who, 401 if who == "malformed" else 404)
    for verb in ("cancel", "retry"):
        assert world.bob.act(world.values["part"], verb).status == 404
    connection.sendall(rest[500:])
    assert connection.recv(100).split(b"\r\n")[0] == b"HTTP/1.1 204 No Content"
    connection.close()
    assert world.ann.job(world.values["part"])["state"] == "done"
    world.replace("part")


def test_no_token_is_logged(world):
    log = world.service.said(0)
    assert [name for name, value in world.tokens.items() if value and value in log] == []
    print(f"{world.requests} requests")
