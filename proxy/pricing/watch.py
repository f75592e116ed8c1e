"""Watching ``pricing.toml``: what an operator saves is read once it has stopped moving.

A file is read when two looks in a row saw the same file, so that one that is being written is
left alone. It is looked at again and again, not awaited by the kernel's notices: those miss
network file systems, mounted folders and files that are renamed over.

A single file that is mounted into a container can't be followed at all: the mount shows the file
that had the name when it was made, not the one that an editor put in its place. So a folder is to
be mounted, and the README says so.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from proxy.core.book import PriceBook
from proxy.errors import PricingError
from proxy.pricing.document import parse
from proxy.pricing.positions import line_and_column

LOOK_S = 0.1
"""Between two looks: a good edit must be in force within a second of it."""
LOOKS_WITHOUT_END = 5
"""So many looks must see the same file where its last line has no end: more may be coming."""
MISSING = "there is no such file"

Signature: TypeAlias = tuple[int, int, int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class GoodFile:
    """What a file says: its text, and the book that this is."""

    text: str
    book: PriceBook


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedFile:
    """Why a file is not taken: ``file:line:column: key: reason``, a line for each problem."""

    message: str


class PriceFile:
    """A pricing file, looked at from time to time; :meth:`look` may block."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._told: Signature | bool | None = False
        self._seen: Signature | bool | None = False
        self._looks = 0

    def forget(self) -> None:
        """Tell of the file at the next look, changed or not."""
        self._told = False

    def look(self) -> GoodFile | RefusedFile | None:
        """Return what is new since the last look; None: nothing, or it still moves."""
        signature = self._signature()
        if signature == self._told:
            return None
        if signature != self._seen:
            self._seen, self._looks = signature, 0
            return None
        self._looks += 1
        result = read_pricing_file(self._path)
        complete = isinstance(result, RefusedFile) or result.text.endswith("\n")
        if self._signature() != signature or (not complete and self._looks < LOOKS_WITHOUT_END):
            return None
        self._told = signature
        return result

    def _signature(self) -> Signature | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def read_pricing_file(path: Path) -> GoodFile | RefusedFile:
    """Read a pricing file; blocks, and takes tens of milliseconds for a large one."""
    try:
        text = read_text(path)
        if not text.strip():
            return RefusedFile(message=f"{path}:1:1: it is empty: were its prices not saved yet?")
        return GoodFile(text=text, book=parse(text, str(path)))
    except PricingError as error:
        return RefusedFile(message=error.message)


def read_text(path: Path) -> str:
    """Return the file's text; PricingError says why it can't be had, and where."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise PricingError(
            f"{path}: {MISSING}. Set PROXY_PRICING_FILE to a pricing.toml, or start where one is."
        ) from None
    except OSError as error:
        raise PricingError(
            f"{path}: it can't be read: {error.strerror or error}. Mend that, or set "
            "PROXY_PRICING_FILE to another."
        ) from None
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        before = content[: error.start].decode()
        line, column = line_and_column(before, len(before))
        raise PricingError(f"{path}:{line}:{column}: not UTF-8: save it as UTF-8") from None
