"""Waiting for things that happen soon, but not at once."""

import time


def until(ready, seconds=30, pause=0.05):
    """What `ready` returns as soon as it is true; after so many seconds, whatever it returned last."""
    end = time.monotonic() + seconds
    while not (found := ready()) and time.monotonic() < end:
        time.sleep(pause)
    return found
