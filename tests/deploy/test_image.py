"""The image, as far as can be told without building it, and the guide."""

import re
import tomllib

from harness import ROOT, settings
from harness.deployment import DEPLOY, program, run


def version(text):
    return [int(part) for part in text.split(".")]


def builder(dockerfile):
    return dockerfile[dockerfile.index("\nFROM "):dockerfile.rindex("\nFROM ")]


def test_the_image_runs_the_program_as_a_user_who_is_a_number_and_not_root(dockerfile):
    last = dockerfile[dockerfile.rindex("\nFROM "):]
    assert re.search(r"\nUSER [1-9]\d*:[1-9]\d*\n", last)
    assert re.findall(r"\nENTRYPOINT (.*)", last) == ['["micropy-server"]']


def test_the_builder_has_what_the_build_needs(dockerfile):
    [rust] = re.findall(r"^ARG RUST=(\S+)$", dockerfile, re.MULTILINE)
    needed = tomllib.loads((ROOT / "micropy-server/Cargo.toml").read_text())["package"]["rust-version"]
    assert version(rust) >= version(needed)
    installed = {word for line in re.findall(r"apt-get install(.*?)(?:&&|\n)", builder(dockerfile)) for word in line.split()}
    # A C compiler for LAME, a C++ compiler for the AAC decoder.
    assert installed & {"build-essential", "gcc"}
    assert installed & {"build-essential", "g++"}


def test_the_image_has_all_licences(dockerfile):
    # Links lead to files that are in the list themselves; the wheel's notices are those of other crates, and the image's are
    # written when it is built.
    texts = {str(file.relative_to(ROOT)) for folder in (ROOT, *ROOT.glob("micropy-*"))
             for file in folder.glob("LICENSE*") if not file.is_symlink() and folder.name != "micropy-py"}
    assert "scripts/notices" in builder(dockerfile)
    assert texts - set(builder(dockerfile).split()) == set()


def test_hadolint_finds_nothing():
    done = run(program("hadolint"), "--failure-threshold", "style", DEPLOY / "Dockerfile")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_guide_names_no_setting_that_the_program_does_not_have(tmp_path):
    known = settings.Container("serve", {}, {}, tmp_path).settings()
    text, source = (ROOT / "docs/from-flask.md").read_text(), settings.source()
    names = {name.removesuffix("_FILE") for name in re.findall(r"\bMICROPY_[A-Z_]+[A-Z]\b", text)}
    assert [name for name in sorted(names) if name.removeprefix("MICROPY_").lower() not in known and f"`{name}`" not in source] == []
