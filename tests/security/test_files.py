"""Other users of the machine read nothing of the service, whatever the umask that it was started with."""

import os
import stat
import subprocess

from harness.clips import BOOK, GOOD, Field
from harness.service import Service


def modes(folder):
    """The mode of a folder and of all in it, by path."""
    found = {}
    for path in [folder, *folder.rglob("*")]:
        status = path.lstat()
        found[str(path.relative_to(folder))] = (stat.S_ISDIR(status.st_mode), stat.S_IMODE(status.st_mode))
    return found


def open_to_others(folder):
    return {path: oct(mode) for path, (is_folder, mode) in modes(folder).items() if mode != (0o700 if is_folder else 0o600)}


def test_the_data_folder_and_all_in_it_is_the_services_alone(tmp_path):
    service = Service("serve", tmp_path / "data")
    before = os.umask(0)
    try:
        service.start()
    finally:
        os.umask(before)
    try:
        ann = service.user("ann@example.com")
        ann.uploaded(GOOD)
        ann.uploaded(Field("split", b"chapters"), BOOK)
        # One that is on its way, and the mails.
        place = ann.create(len(GOOD.data)).headers["location"]
        ann.patch(place, GOOD.data[:1000], 0)
        found = modes(service.folder)
        assert {"micropy.db", "jwt-secret", "lock", "videos/unfinished", "mp3s/whole", "outbox"} <= set(found)
        assert len([path for path in found if path.startswith("outbox/")]) > 0
        assert open_to_others(service.folder) == {}
    finally:
        assert service.stop() == 0
    # Nor after it was stopped, nor of what commands make.
    assert open_to_others(service.folder) == {}
    subprocess.run([service.program, "user", "list", "--data-dir", tmp_path / "other"], check=True, umask=0, env=service.environment())
    assert open_to_others(tmp_path / "other") == {}


def test_a_store_elsewhere_is_the_services_alone(tmp_path):
    service = Service("serve", tmp_path / "data", storage_url=f"file://{tmp_path / 'store'}", notifier_url=f"outbox:{tmp_path / 'mails'}")
    before = os.umask(0)
    try:
        service.start()
    finally:
        os.umask(before)
    try:
        ann = service.user("ann@example.com")
        ann.uploaded(GOOD)
        for folder in ("data", "store", "mails"):
            assert open_to_others(tmp_path / folder) == {}, folder
    finally:
        assert service.stop() == 0
