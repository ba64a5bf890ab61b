"""Hostile files and folders as cases: the reader's name, what it reads, and whether accepting it does no harm."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Sound:
    """Files as Modiste writes them, to be changed."""

    run: Path
    model: bytes
    exported: bytes
    data: Path


@dataclass(frozen=True)
class Case:
    """A file or folder, and the reader that is given it; one that is ``harmless`` may be taken."""

    name: str
    reader: str
    path: Path
    harmless: bool = False


class Shelf:
    """Cases in a folder, each in one of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cases: list[Case] = []

    def file(self, name: str, reader: str, file: str, content: bytes | str, *, harmless: bool = False) -> None:
        """Add a file, read as such."""
        place = self._place()
        (place / file).write_bytes(content.encode() if isinstance(content, str) else content)
        self.cases.append(Case(name, reader, place / file, harmless))

    def folder_of(self, name: str, reader: str, make: Callable[[Path], object], *, harmless: bool = False) -> None:
        """Add a folder that ``make`` fills."""
        place = self._place() / "given"
        make(place)
        self.cases.append(Case(name, reader, place, harmless))

    def _place(self) -> Path:
        place = self.folder / f"{len(self.cases):03d}"
        place.mkdir(parents=True)
        return place
