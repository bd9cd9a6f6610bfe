"""The command line: `micropy convert talk.mp4`, or `python -m micropy`, with the flags of the program `micropy`."""

import os
import signal
import sys

from . import _micropy


def main() -> int:
    """Do what was typed; the exit code says how it went."""
    # Ctrl-C is the command's to watch for: Python would only note it, and tell when the command has returned.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    is_module = os.path.basename(sys.argv[0]) == "__main__.py"
    return _micropy._main(["python -m micropy" if is_module else "micropy", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
