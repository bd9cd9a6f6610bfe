"""The shipped clips are what their table says, as counted without our own demuxer."""

import pytest

from harness import MEDIA, isobmff

ROWS = [line.split("\t") for line in (MEDIA / "expected.tsv").read_text().splitlines()[1:]]
# Its length stands in a tag (iTunSMPB), not in the boxes.
UNCOUNTED = {"itunsmpb.m4a"}


@pytest.mark.parametrize("name, samples, rate", [
    (name, int(samples), int(rate)) for name, samples, rate, *_ in ROWS if samples != "refused" and name not in UNCOUNTED])
def test_a_clips_boxes_tell_of_its_length(name, samples, rate):
    track = isobmff.audio_track((MEDIA / name).read_bytes())
    assert isobmff.expected_samples(track, rate) == samples


def test_the_table_has_every_clip():
    assert {path.name for path in MEDIA.iterdir()} == {row[0] for row in ROWS} | {"README.md", "expected.tsv"}
