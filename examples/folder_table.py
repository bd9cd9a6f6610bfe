"""What is in the videos of a folder, as a pandas DataFrame.

    pip install pandas
    python folder_table.py videos/ table.csv

In production:

- A probe reads the index of a file, not its audio and video; of fragmented files, the head of each fragment.
- Probes wait for the disk or the network, and micropy releases the GIL: threads are enough, no processes.
- A file that cannot be read, or has no audio, is a row with a `problem`, so that one of them does not end all.
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import micropy
import pandas

SUFFIXES = {".mp4", ".m4a", ".m4b", ".mov", ".3gp"}
COLUMNS = {
    "file": "string", "bytes": "Int64", "codec": "string", "seconds": "Float64", "sample_rate": "Int64",
    "channels": "Int64", "bitrate": "Int64", "language": "string", "title": "string", "problem": "string",
}


def row(path):
    """What to know of one file."""
    try:
        found = micropy.probe(path)
    except micropy.MicropyError as error:
        return {"file": str(path), "problem": str(error)}
    # That which a conversion would take; where it can take none, the first says why.
    track = next(iter(found.tracks[found.default_track or 0:]), None)
    return {
        "file": str(path),
        "bytes": found.size,
        "title": "; ".join(found.tags.get("title", ())) or None,
        "codec": track and track.codec,
        "seconds": track and track.duration,
        "sample_rate": track and track.sample_rate,
        "channels": track and track.channels,
        "bitrate": track and track.bitrate,
        "language": track and track.language,
        "problem": track.problem if track else "no audio",
    }


def table(folder):
    """A row for each video in a folder and those below it; what is unknown is NA."""
    paths = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in SUFFIXES)
    with ThreadPoolExecutor(8) as pool:
        return pandas.DataFrame(pool.map(row, paths), columns=list(COLUMNS)).astype(COLUMNS)


def main(folder, csv):
    videos = table(folder)
    videos.to_csv(csv, index=False)
    print(videos.groupby("codec", dropna=False).agg(files=("file", "count"), seconds=("seconds", "sum")).to_string())
    problems = videos["problem"].notna().sum()
    print(f"{len(videos)} files, {videos['seconds'].sum() / 3600:.2f} hours, {problems} with a problem")


if __name__ == "__main__":
    main(*sys.argv[1:])
