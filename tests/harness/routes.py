"""The routes that the service has, as its source tells of them."""

import re

from . import ROOT


def sources():
    """The product's Rust source, without the tests and comments in it, by path."""
    files = sorted(file for crate in ("micropy-server", "micropy-services") for file in ROOT.glob(f"{crate}/src/**/*.rs"))
    return {file.relative_to(ROOT).as_posix(): re.sub(r"^\s*//.*", "", file.read_text().split("#[cfg(test)]")[0], flags=re.M)
            for file in files}


def added(text):
    """The paths that a file of source adds to a router."""
    return re.findall(r'\.route\(\s*"([^"]+)"', text)
