"""What the installed package brings along."""

import importlib.metadata
import os
import subprocess
import sysconfig

import micropy

NAME = "micropy-mp3"


def test_its_metadata():
    told = importlib.metadata.metadata(NAME)
    assert (told["Name"], told["Version"]) == (NAME, micropy.__version__)
    assert told["License-Expression"].startswith("(MIT OR Apache-2.0) AND ")
    for part in "LGPL-2.0-or-later", "FDK-AAC", "MPL-2.0":
        assert part in told["License-Expression"].split(" AND ")
    assert told["Description-Content-Type"].startswith("text/markdown")
    assert "import micropy" in told.get_payload() or "import micropy" in told["Description"]
    assert "Topic :: Multimedia :: Sound/Audio :: Conversion" in told.get_all("Classifier")
    # Until there is an address of ours, there is none here: nobody is sent to strangers.
    assert told.get_all("Project-URL", []) == [] and told["Home-page"] is None


def test_nothing_is_imported_from_it_but_micropy():
    files = importlib.metadata.files(NAME)
    tops = {file.parts[0] for file in files if file.suffix in {".py", ".pyi", ".so", ".pyd"}}
    assert tops == {"micropy"}


def test_the_program_that_is_installed_with_it(clip, tmp_path):
    program = os.path.join(sysconfig.get_path("scripts"), "micropy")
    run = subprocess.run([program, "convert", clip, "-o", tmp_path / "talk.mp3"], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "talk.mp3").read_bytes() == micropy.convert(clip).data
    wrong = subprocess.run([program], capture_output=True, text=True)
    assert wrong.returncode == 2 and "Usage: micropy " in wrong.stderr


def test_the_licences_of_all_that_is_in_it():
    files = importlib.metadata.files(NAME)
    texts = {f.name: f.read_text(encoding="utf-8") for f in files if "licenses" in f.parts}
    assert "MIT License" in texts["LICENSE-MIT"]
    assert "Apache License" in texts["LICENSE-APACHE"]
    assert "GNU LIBRARY GENERAL PUBLIC LICENSE" in texts["LICENSE-LAME"]
    assert "Fraunhofer FDK AAC Codec Library" in texts["LICENSE-FDK-AAC"]
    assert "Xiph.Org" in texts["LICENSE-OPUS"]
    assert "LAME's source" in texts["LICENSES.md"]
    assert "symphonia-core" in texts["LICENSE-THIRD-PARTY"] and "Mozilla Public License" in texts["LICENSE-THIRD-PARTY"]
