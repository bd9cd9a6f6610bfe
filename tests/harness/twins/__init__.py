"""The Flask services as people run them, in an environment with the versions that their users have pinned."""

import functools
import subprocess
from pathlib import Path

from .. import ROOT

FOLDER = Path(__file__).resolve().parent


class Missing(Exception):
    """Their packages cannot be installed."""


@functools.cache
def python():
    """The Python that has what the twins need; made first where it is missing."""
    lines = (FOLDER / "requirements.txt").read_text().splitlines()
    packages = [line for line in lines if line and not line.startswith("#")]
    made = subprocess.run([ROOT / "scripts" / "venv", "twins", *packages], capture_output=True, text=True)
    if made.returncode:
        raise Missing(f"pip cannot install tests/harness/twins/requirements.txt: {made.stderr[-300:]}")
    return made.stdout.strip()
