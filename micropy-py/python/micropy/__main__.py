"""The command line: `python -m micropy convert talk.mp4`, with the flags and exit codes of the program `micropy`."""

import signal
import sys

from . import _micropy


def main() -> int:
    """Do what was typed; the exit code says how it went."""
    # Ctrl-C is the command's to watch for: Python would only note it, and tell when the command has returned.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return _micropy._main(["python -m micropy", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
