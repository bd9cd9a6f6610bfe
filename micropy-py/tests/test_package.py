"""What the installed package brings along."""

import importlib.metadata


def test_the_licences_of_all_that_is_in_it():
    files = importlib.metadata.files("micropy")
    texts = {f.name: f.read_text(encoding="utf-8") for f in files if "licenses" in f.parts}
    assert "MIT License" in texts["LICENSE-MIT"]
    assert "Apache License" in texts["LICENSE-APACHE"]
    assert "GNU LIBRARY GENERAL PUBLIC LICENSE" in texts["LICENSE-LAME"]
    assert "Fraunhofer FDK AAC Codec Library" in texts["LICENSE-FDK-AAC"]
    assert "Xiph.Org" in texts["LICENSE-OPUS"]
    assert "LAME's source" in texts["LICENSES.md"]
