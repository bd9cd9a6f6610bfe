"""What type checkers must accept, and (by `type: ignore`, which they refuse where it is not needed) must not.

Never run: mypy and pyright read it.
"""

import asyncio
import io
from datetime import timedelta
from pathlib import Path
from typing import IO, List, Union

from tqdm import tqdm

import micropy


def accepted(upload: IO[bytes], folder: Path) -> None:
    report: micropy.Report = micropy.convert("a.mp4", "a.mp3", bitrate=128, start=timedelta(seconds=1), end=2)
    micropy.convert(upload, io.BytesIO(), vbr=2.5, tags={"title": "A", "artist": None}, cover=folder / "a.jpg")
    micropy.convert(memoryview(b""), progress=lambda p: print(p.fraction))
    micropy.convert(folder / "a.mp4", progress=tqdm(), cancel=micropy.CancelToken())
    options: micropy.Options = {"track": "eng", "copy_tags": False}
    made: List[micropy.Report] = micropy.convert_many([(upload, None), ("b.mp4", folder / "b.mp3")], **options)
    mixed: List[Union[micropy.Report, micropy.MicropyError]] = micropy.convert_many(
        [("a.mp4", None)], on_error="return", jobs=2
    )
    micropy.convert_many([("a.mp4", None)], on_error=lambda src, error: print(src, error))
    asyncio.run(micropy.convert_async(b"", preset="moviepy", overwrite=False))
    chapters: List[micropy.Report] = micropy.split_chapters("a.m4b", folder, abr=128)
    lost = [chapter.title for chapter in micropy.split_chapters(upload, folder).empty if not chapter.complete]
    length: Union[float, None] = micropy.probe(upload).duration
    print(report, made, mixed, chapters, lost, length)


def refused() -> None:
    micropy.convert("a.mp4", bitrat=128)  # type: ignore
    micropy.convert("a.mp4", bitrate="128k")  # type: ignore
    micropy.convert(7)  # type: ignore
    micropy.convert("a.mp4", io.StringIO())  # type: ignore
    micropy.convert("a.mp4", progress=7)  # type: ignore
    micropy.convert_many([("a.mp4", None)], on_error="ignore")  # type: ignore
    micropy.convert_many([("a.mp4", None)], copy_tag=False)  # type: ignore
    asyncio.run(micropy.convert_async("a.mp4", vbr="2"))  # type: ignore
    micropy.split_chapters("a.m4b")  # type: ignore
    micropy.convert("a.mp4").codec = "x"  # type: ignore
