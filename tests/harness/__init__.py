"""What the black-box tests share: the real servers, the service's processes, and clients of them."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
MEDIA = ROOT / "micropy-core" / "tests" / "media"
SONG = ROOT / "examples" / "media" / "song.mp4"

#: The service's program, and the small one for files.
SERVER = Path(os.environ.get("MICROPY_SERVER", TARGET / "debug" / "micropy-server")).resolve()
MICROPY = Path(os.environ.get("MICROPY_BINARY", TARGET / "debug" / "micropy")).resolve()


#: The long sizes, which `scripts/test full` runs.
FULL = bool(os.environ.get("MICROPY_FULL"))


def number(name, default, full=None):
    """A size of a test: what MICROPY_{name} says in the environment, or a default, which may be larger in a full run."""
    return int(os.environ.get(f"MICROPY_{name}", full if FULL and full else default))


#: Decides in which order random things happen.
SEED = number("SEED", 1)
