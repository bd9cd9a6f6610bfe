"""Servers and libraries from npm, installed once into target/npm by the lock file beside their package.json."""

import fcntl
import filecmp
import shutil
import subprocess
from pathlib import Path

from .. import TARGET
from .nginx import find
from .server import Missing

PACKAGES = Path(__file__).with_name("npm-packages")


def program(path):
    """The command that runs the script at `path` of node_modules."""
    for name, package in {"node": "nodejs", "npm": "npm"}.items():
        find(name, package)
    folder = install()
    return ["node", str(folder / "node_modules" / path)]


def install():
    """The folder that they are installed in: by one process, if several ask at once."""
    folder = TARGET / "npm"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        lock, installed = PACKAGES / "package-lock.json", folder / "node_modules" / "lock-of-these"
        if installed.exists() and filecmp.cmp(lock, installed, shallow=False):
            return folder
        for name in ("package.json", "package-lock.json"):
            shutil.copyfile(PACKAGES / name, folder / name)
        made = subprocess.run(["npm", "ci", "--prefix", folder, "--ignore-scripts", "--no-audit", "--no-fund",
                               "--prefer-offline", "--loglevel=error"], stdin=subprocess.DEVNULL, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        if made.returncode != 0:
            raise Missing(f"azurite, s3rver and standardwebhooks cannot be installed by npm: {made.stdout[-500:]}")
        shutil.copyfile(lock, installed)
    return folder
