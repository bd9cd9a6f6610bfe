"""The commands on our pages, as their readers paste them."""

import re
import subprocess


def blocks(path):
    """The shell blocks of a page, in order."""
    return re.findall(r"^```sh\n(.*?)^```$", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def run(script, folder, **environment):
    """Runs it in bash, where the first command that fails ends it; what it printed."""
    script = f"set -euo pipefail\n{script}"
    done = subprocess.run(["bash", "-c", script], cwd=folder, env=environment, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
    return done.stdout
