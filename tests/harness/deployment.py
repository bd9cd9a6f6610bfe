"""The files in deploy/, and the programs that read them in earnest."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from . import ROOT

DEPLOY = ROOT / "deploy"


def run(*command, timeout=60):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=timeout)


def program(*names):
    """A program, beside this Python or anywhere; the test is skipped where it is not installed."""
    for name in names:
        found = shutil.which(name, path=Path(sys.executable).parent) or shutil.which(name)
        if found:
            return found
    pytest.skip(f"{' or '.join(names)} is not installed")
