"""A backup that is made while the service works holds all that was accepted before, and is a service of its own elsewhere."""

import hashlib
import shutil
import subprocess
import threading

import pytest

from harness import SERVER
from harness.clips import GOOD, Clip, metadata
from harness.http import BROKEN, User
from harness.service import Service, inherited

#: So many jobs are accepted before the backup, half of them not converted yet.
JOBS = 40


def micropy(*words, code=0):
    done = subprocess.run([SERVER, *words], capture_output=True, text=True, timeout=120, env=inherited())
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


def load(user, stop, accepted, removed):
    """Uploads and removes, over and over."""
    while not stop.is_set():
        try:
            reply = user.upload(GOOD)
            if reply.status == 201:
                accepted.append(reply.job_id)
            if len(accepted) % 3 == 0:
                removed.append(reply.job_id)
                user.ask("DELETE", f"/api/v1/jobs/{reply.job_id}")
        except BROKEN:
            return


@pytest.mark.parametrize("elsewhere", [False, True], ids=["in the data folder", "in a store of its own"])
def test_nothing_accepted_before_a_backup_is_lost(start, tmp_path, elsewhere):
    more = {"storage_url": f"file://{tmp_path / 'store'}"} if elsewhere else {}
    flags = ["--storage-url", more["storage_url"]] if elsewhere else []
    service = start("serve", workers=1, **more)
    ann, bob = service.user("ann@example.com"), service.user("bob@example.com")
    before = [ann.upload(Clip(f"talk {n}.mp4", GOOD.data)).job_id for n in range(JOBS)]
    place = ann.create(len(GOOD.data), Upload_Metadata=metadata(filename="part.mp4")).headers["location"]
    ann.patch(place, GOOD.data[:1000], 0)
    ann.job(before[JOBS // 2])
    ended = ann.login().json()["token"]
    assert service.anyone(ended).ask("POST", "/api/v1/auth/logout").status == 204

    stop, during, removed = threading.Event(), [], []
    loads = [threading.Thread(target=load, args=(bob, stop, during, removed)) for _ in range(3)]
    for one in loads:
        one.start()
    try:
        said = micropy("backup", tmp_path / "backup", "--data-dir", service.folder, *flags)
    finally:
        stop.set()
    for one in loads:
        one.join()
    assert said.startswith("backed up the database, ")
    service.kill()
    shutil.rmtree(service.folder)
    if elsewhere:
        shutil.rmtree(tmp_path / "store")

    again = [] if not elsewhere else ["--storage-url", f"file://{tmp_path / 'other-store'}"]
    micropy("restore", tmp_path / "backup", "--data-dir", tmp_path / "restored", *again)
    restored = Service("serve", tmp_path / "restored", **({"storage_url": again[1]} if elsewhere else {}))
    restored.start()
    try:
        # The same users, by the same tokens; what was ended stays so.
        ann = User(restored.url, ann.email, ann.token)
        assert [ann.login().status, restored.anyone(ended).get("/api/v1/jobs").status] == [200, 401]
        mp3s = set()
        for n, id in enumerate(before):
            job = ann.job(id, 120)
            assert (job["state"], job["file_name"]) == ("done", f"talk {n}.mp4"), job
            mp3s.add(hashlib.sha256(ann.get(job["mp3"]["url"]).body).hexdigest())
        assert len(mp3s) == 1
        # An upload goes on where it was.
        assert ann.offset(place) == 1000
        assert ann.patch(place, GOOD.data[1000:], 1000).status == 204
        assert ann.job(place.rsplit("/")[-1])["state"] == "done"
        # What the ledger knows of Bob's has its files, too, but for what he removed at that very time.
        bob = User(restored.url, bob.email, bob.token)
        jobs = [bob.job(job["id"], 120) for job in bob.jobs()]
        assert [job for job in jobs if job["state"] != "done" and job["id"] not in removed] == []
        # The sweeper would remove what came in behind the ledger's back, and nothing else.
        known = {job["id"] for job in ann.jobs() + bob.jobs()}
        assert len(known) >= len(before) + 1
    finally:
        assert restored.stop() == 0
    survey = micropy("sweep", "--dry-run", "--data-dir", restored.folder, *again).splitlines()
    assert [line for line in survey if line.startswith("job ")] == []


def test_a_backup_is_nobody_elses_and_not_taken_for_the_service_it_was_made_of(start, tmp_path):
    service = start("serve")
    ann = service.user("ann@example.com")
    ann.uploaded(GOOD)
    micropy("backup", tmp_path / "backup", "--data-dir", service.folder)
    for path in [tmp_path / "backup", *(tmp_path / "backup").rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path
    micropy("restore", tmp_path / "backup", "--data-dir", tmp_path / "restored")
    # The restored ledger goes on for longer than the one it was made of, and is not taken for it all the same.
    restored = Service("serve", tmp_path / "restored")
    for _ in range(5):
        restored.start()
        assert restored.stop() == 0
    assert service.stop() == 0
    with pytest.raises(RuntimeError, match="belongs to the job ledger"):
        Service("serve", tmp_path / "restored", storage_url=f"file://{service.folder}").start()
    service.start()
    assert len(service.files("videos")) == len(service.files("mp3s")) == 1


def test_what_is_no_whole_backup_or_no_empty_folder_is_refused(start, tmp_path):
    service = start("serve")
    service.user("ann@example.com").uploaded(GOOD)
    data, backup = service.folder, tmp_path / "backup"
    micropy("backup", backup, "--data-dir", data)
    assert "not empty" in micropy("backup", backup, "--data-dir", data, code=1)
    assert "another micropy-server uses the folder" in micropy("restore", backup, "--data-dir", data, code=1)
    assert service.stop() == 0
    assert "not empty" in micropy("restore", backup, "--data-dir", data, code=1)
    assert "no database" in micropy("backup", tmp_path / "none", "--data-dir", tmp_path / "nowhere", code=1)
    for setting, url in (("--users-url", "mysql://db/auth"), ("--storage-url", "mongodb://db")):
        said = micropy("backup", tmp_path / "other", "--data-dir", data, setting, url, code=1)
        assert setting[2:].replace("-", "_") in said and "docs/backup.md" in said
    # The power failed before it was whole.
    (backup / "backup").unlink()
    assert "no whole backup" in micropy("restore", backup, "--data-dir", tmp_path / "restored", code=1)
    (backup / "backup").write_text("micropy backup 99\n")
    assert "another version" in micropy("restore", backup, "--data-dir", tmp_path / "restored", code=1)
    assert not (tmp_path / "restored").exists()
    service.start()


def test_half_a_restored_backup_does_not_start_and_removes_nothing(start, tmp_path):
    service = start("serve")
    service.user("ann@example.com").uploaded(GOOD)
    micropy("backup", tmp_path / "backup", "--data-dir", service.folder)
    # It breaks off where the database was still to come.
    (tmp_path / "backup" / "micropy.db").unlink()
    micropy("restore", tmp_path / "backup", "--data-dir", tmp_path / "half", code=1)
    with pytest.raises(RuntimeError, match="belongs to the job ledger"):
        Service("serve", tmp_path / "half").start()
    assert len(list((tmp_path / "half" / "videos" / "whole").iterdir())) == 1
