"""The gateway as those expect it that know its Flask twin."""

import shutil
import subprocess

import jwt
import pytest
from bson import ObjectId

from harness.clips import FIRST, GOOD, SMALL, Clip
from harness.fleet import PASSWORD, Owner
from harness.tokens import SECRET, token


def test_login_passes_status_and_body_on(fleet, ann, new_user):
    def login(basic=None):
        return fleet.gateway.ask("POST", "/login", basic=basic)

    reply = login(f"{ann.email}:{PASSWORD}")
    assert (reply.status, jwt.decode(reply.text, SECRET, algorithms=["HS256"])["username"]) == (200, ann.email)
    assert login(f"{ann.email}:wrong").answer == (401, "invalid credentials")
    assert login().answer == (401, "missing credentials")
    new_user("müller.gateway@example.com", "pässwörd")
    for coding in ("utf-8", "latin-1"):
        assert login("müller.gateway@example.com:pässwörd".encode(coding)).status == 200


@pytest.mark.parametrize("field", ["file", "anything", "ü"])
def test_upload_of_one_file_answers_success_with_ids_in_headers(ann, field):
    reply = ann.upload(Clip(GOOD.name, GOOD.data, field))
    assert (reply.status, reply.body) == (200, b"success!")
    assert reply.headers["location"] == f"/api/v1/jobs/{reply.job_id}"
    assert ann.get(f"/api/v1/jobs/{reply.job_id}").json()["id"] == reply.job_id


def test_upload_answers_json_when_asked_to(ann):
    reply = ann.upload(GOOD, Accept="application/json")
    assert reply.json()["files"][0]["job"]["id"] == reply.headers["x-micropy-job-id"]


@pytest.mark.parametrize("body", [
    None, b"--x--\r\n", b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n--x--\r\n'], ids=["no form", "an empty form", "a field"])
def test_upload_of_no_file_is_refused(ann, body):
    headers = {"Content_Type": "multipart/form-data; boundary=x"} if body else {}
    assert ann.ask("POST", "/upload", body, **headers).answer == (400, "exactly 1 file required")


@pytest.mark.parametrize("names", [("a", "b"), ("a", "a")])
def test_upload_of_two_files_makes_a_job_of_each(ann, names):
    reply = ann.upload(*(Clip(clip.name, clip.data, name) for name, clip in zip(names, (GOOD, FIRST))))
    assert reply.answer == (200, "success!")
    assert len(set(reply.job_ids)) == 2


@pytest.mark.parametrize("given, answer", [
    (None, (401, "missing credentials")), ("x", (403, "not authorized")), (token(exp=1), (403, "not authorized")),
    ("no admin", (401, "not authorized"))], ids=["none", "bad", "expired", "no admin"])
def test_upload_and_download_need_the_token_of_an_admin(fleet, new_user, given, answer):
    if given == "no admin":
        given = token(new_user(), admin=False)
    user = Owner(fleet, None, given)
    assert user.upload(GOOD).answer == answer
    assert user.download("0" * 24).answer == answer


@pytest.fixture
def fid(ann):
    return ann.mp3(ann.upload(GOOD))


def test_download_gives_the_mp3_whole_in_ranges_and_by_head(fleet, ann, fid):
    reply = ann.download(fid)
    whole, tag = reply.body, reply.headers["etag"]
    assert (reply.status, reply.kind, reply.headers["content-disposition"]) == (200, "audio/mpeg", f"inline; filename={fid}.mp3")
    assert int(reply.headers["content-length"]) == len(whole)
    assert fleet.mp3s.get(ObjectId(fid)).read() == whole
    assert reply.headers["accept-ranges"] == "bytes"
    head = ann.download(fid, "HEAD")
    assert (head.status, head.headers["content-length"], head.headers["etag"], head.body) == (200, str(len(whole)), tag, b"")
    for wanted, part in {"bytes=0-0": whole[:1], "bytes=100-299": whole[100:300], "bytes=-7": whole[-7:],
                         f"bytes={len(whole) - 3}-": whole[-3:]}.items():
        reply = ann.download(fid, Range=wanted)
        assert (wanted, reply.status, reply.body) == (wanted, 206, part)
    reply = ann.download(fid, Range=f"bytes={len(whole)}-")
    assert (reply.status, reply.headers["content-range"]) == (416, f"bytes */{len(whole)}")
    assert ann.download(fid, If_None_Match=tag).status == 304
    if not shutil.which("mpg123"):
        pytest.skip("mpg123 is not installed")
    decoded = subprocess.run(["mpg123", "-q", "-t", "-"], input=whole, capture_output=True)
    assert (decoded.returncode, decoded.stderr) == (0, b"")


def test_download_needs_a_known_id(ann, fid):
    for path in ("/download", "/download?fid="):
        assert ann.get(path).answer == (400, "fid is required")
    for bad in ("x", "0" * 24, str(ObjectId()), "../../etc/passwd", fid.upper() + "0"):
        assert (bad, ann.download(bad).status) == (bad, 404)


@pytest.mark.parametrize("method, headers", [
    ("GET", {}), ("HEAD", {}), ("GET", {"Range": "bytes=0-0"}), ("GET", {"If_None_Match": "*"})])
def test_another_users_mp3_looks_like_one_that_does_not_exist(ann, bob, fid, method, headers):
    if "If_None_Match" in headers:
        headers = {"If_None_Match": ann.download(fid).headers["etag"]}
    absent = bob.download(str(ObjectId()))
    assert bob.download(fid, method, **headers).answer == (404, "" if method == "HEAD" else absent.text)


def test_an_mp3_that_no_job_owns_is_nobodys_unless_a_setting_says_otherwise(fleet, ann, bob, fid):
    whole = ann.download(fid).body
    unowned = str(fleet.mp3s.put(whole))
    assert ann.download(unowned).status == 404
    fleet.become("auth", gateway={"unowned_downloads": "true"})
    for user in (ann, bob):
        assert (user.download(unowned).status, user.download(unowned).body) == (200, whole)
    assert bob.download(fid).status == 404


def test_without_the_auth_service_the_answer_is_503(fleet, ann):
    fleet.become("gateway")
    for reply in (fleet.gateway.ask("POST", "/login", basic="a:b"), ann.upload(GOOD), ann.download("0" * 24)):
        assert (reply.status, "retry-after" in reply.headers) == (503, True)


@pytest.mark.parametrize("clip", [SMALL, GOOD], ids=lambda clip: clip.name)
def test_the_preset_original_makes_what_moviepy_makes(ann, clip):
    mp3 = ann.download(ann.mp3(ann.upload(clip, path="/upload?preset=moviepy"))).body
    assert {frame[:3] for frame in frames(mp3)} == {(128, 44100, 2)}


def test_by_default_an_mp3_has_the_videos_rate_and_channels(ann):
    mp3 = ann.download(ann.mp3(ann.upload(SMALL))).body
    assert {frame[1:3] for frame in frames(mp3)} == {(8000, 1)}


def frames(mp3):
    """Bitrate, rate and channels of each frame of layer 3, behind a tag of ID3."""
    at = 10 + sum((byte & 127) << shift for byte, shift in zip(mp3[6:10], (21, 14, 7, 0))) if mp3[:3] == b"ID3" else 0
    found = []
    while at + 4 <= len(mp3) and mp3[at:at + 3] != b"TAG":
        header = int.from_bytes(mp3[at:at + 4], "big")
        version = {3: 1, 2: 2, 0: 2.5}[header >> 19 & 3]
        assert header >> 21 == 0x7FF and header >> 17 & 3 == 1, f"no frame at byte {at}"
        rates = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320) if version == 1 else (
            8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
        bitrate = rates[(header >> 12 & 15) - 1]
        rate = int((44100, 48000, 32000)[header >> 10 & 3] / {1: 1, 2: 2, 2.5: 4}[version])
        found.append((bitrate, rate, 1 if header >> 6 & 3 == 3 else 2))
        at += (144 if version == 1 else 72) * bitrate * 1000 // rate + (header >> 9 & 1)
    return found
