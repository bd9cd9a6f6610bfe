"""What is in deploy/ is read by the programs that read it in earnest, and held against schemas and the program's settings.

No cluster and no container is needed.
"""

import re

import pytest

from harness.deployment import DEPLOY


@pytest.fixture(scope="session")
def dockerfile():
    return (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")


@pytest.fixture(scope="session")
def image(dockerfile):
    """What the image sets in every container: the variables of the Dockerfile's last stage."""
    last = dockerfile[dockerfile.rindex("\nFROM "):]
    pairs = [pair for line in re.findall(r"\nENV (.*)", last) for pair in line.split()]
    return dict(pair.split("=", 1) for pair in pairs)
