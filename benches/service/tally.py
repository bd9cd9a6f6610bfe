"""The count of what was compared, one line for each row of a table."""

import contextlib
import os
import sys
import time
import traceback


class Tally:
    """What has passed, failed and been skipped."""

    def __init__(self, name):
        self.name, self.passed, self.failures, self.skipped = name, 0, [], []
        self.began = time.monotonic()

    def check(self, what, found, expected=True):
        """Counts one comparison."""
        if found == expected:
            self.passed += 1
            return True
        self.failures.append(f"{what}: found {found!r}, expected {expected!r}"[:600])
        print("  FAILED", self.failures[-1], flush=True)
        return False

    def skip(self, what, why):
        """Counts what cannot be checked here."""
        self.skipped.append(f"{what}: {why}")
        print("skipped", self.skipped[-1], flush=True)

    @contextlib.contextmanager
    def row(self, what):
        """One row: what is raised in it fails it, and the next one goes on."""
        passed, failed, began = self.passed, len(self.failures), time.monotonic()
        try:
            yield
        except Exception as e:
            traceback.print_exc()
            self.check(what, f"{type(e).__name__}: {e}", "no exception")
        failed, passed = len(self.failures) - failed, self.passed - passed
        if failed == 0 and passed == 0:
            self.check(what, "nothing compared", "something compared")
            failed = 1
        print(f"{'FAILED' if failed else 'ok':6} {what} ({passed} checks, {time.monotonic() - began:.1f} s)", flush=True)

    def report(self):
        """Says it all, and ends the process."""
        results = os.environ.get("MICROPY_RESULTS")
        if results:
            with open(results, "a") as file:
                file.write(f"passed {self.passed}\n")
                file.writelines(f"failed {self.name}: {line[:100]}\n" for line in self.failures)
                file.writelines(f"skipped {self.name}: {line}\n" for line in self.skipped)
        print(f"{self.name}: {self.passed} checks passed, {len(self.failures)} failed, {len(self.skipped)} skipped, "
              f"{time.monotonic() - self.began:.0f} s")
        sys.exit(bool(self.failures))
