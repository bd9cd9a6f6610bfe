from typing import Any, Callable, Optional

__version__: str

class CancelToken:
    """Ends conversions from another thread: `cancel()` it, and they raise `Cancelled`."""

    def __init__(self) -> None: ...
    def cancel(self) -> None: ...
    @property
    def cancelled(self) -> bool: ...

def convert(
    source: tuple[str, object],
    destination: tuple[str, object],
    options: dict[str, object],
    overwrite: bool,
    peaks: Optional[tuple[int, int]],
    progress: Optional[Callable[[float, Optional[float], int, int], object]],
    cancel: CancelToken,
) -> tuple[dict[str, Any], Optional[bytes]]: ...
def split(
    source: tuple[str, object],
    folder: str,
    length: Optional[float],
    pauses: bool,
    stem: str,
    options: dict[str, object],
    overwrite: bool,
    progress: Optional[Callable[[float, Optional[float], int, int], object]],
    cancel: CancelToken,
) -> tuple[list[tuple[str, dict[str, Any]]], list[dict[str, Any]]]: ...
def join(
    sources: list[tuple[str, tuple[str, object]]],
    destination: tuple[str, object],
    options: dict[str, object],
    overwrite: bool,
    peaks: Optional[tuple[int, int]],
    progress: Optional[Callable[[float, Optional[float], int, int], object]],
    cancel: CancelToken,
) -> tuple[dict[str, Any], Optional[bytes], list[dict[str, Any]]]: ...
def peaks(
    source: tuple[str, object],
    points: int,
    bits: int,
    options: dict[str, object],
    progress: Optional[Callable[[float, Optional[float], int, int], object]],
    cancel: CancelToken,
) -> str: ...
def probe(source: tuple[str, object], cancel: CancelToken) -> dict[str, Any]: ...
def _is_url(text: str) -> bool: ...
def _without_secrets(url: str) -> str: ...
def _stem_of_url(url: str) -> str: ...
def _main(words: list[str]) -> int: ...
