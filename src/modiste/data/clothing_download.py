"""Fetches the public clothing-dataset-small (CC0 1.0): 3,781 photographs of ten kinds of garments, taken at home.

The address names a commit of its repository. No hash of the archive is published. So what was fetched is checked by
itself: every picture can be read, and each part has as many as published. A digest of all pictures is noted, and
another download must have the same one.
"""

import contextlib
import gzip
import hashlib
import re
import shutil
import tarfile
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from modiste.data.idx.download import OFFLINE_VARIABLE, Connection, fetch_file, is_offline
from modiste.data.paths import clothing_folder, kind_at
from modiste.errors import DataError, FolderInUseError, PhotoError, StorageError, fault, reason_of, shown
from modiste.photo.opening import open_photo
from modiste.runs import storage

NAME = "clothing"
COMMIT = "36364be1969242c019705255cd87aed00c73a939"
ADDRESS = f"https://codeload.github.com/alexeygrigorev/clothing-dataset-small/tar.gz/{COMMIT}"
PUBLISHED = {"train": 3068, "validation": 341, "test": 372}
"""Number of pictures in each part."""
PICTURE = re.compile(r"[^/]+/((?:train|validation|test)/[a-z-]+/[\w-]+\.jpg)")
"""A picture's path in the archive, whose first folder is named after the commit."""
MOST_ARCHIVE_BYTES, MOST_PICTURE_BYTES = 500 * 2**20, 4 * 2**20
MOST_FILLING_BYTES = 2**20
"""Most zeros after an archive's last file; tar itself writes up to 10 KiB."""
UNFINISHED = ".fetch-"
"""Begins the name of the folder that a download is unpacked in."""
DIGEST = "clothing.sha256"
"""Name of the file, beside the folder, with the digest of the first download."""
USUAL_CONNECTION = Connection()
BY_HAND = "or get it by hand (git clone) and name its folder with --data.extra"


@dataclass(frozen=True)
class Fetched:
    """The data set on this machine.

    Attributes:
        folder: With the folders train, validation and test.
        digest: SHA-256 over the path and the SHA-256 of every picture.
        counts: Number of pictures of each kind in each part, by ``part/kind``.
    """

    folder: Path
    digest: str
    counts: dict[str, int]


def fetched_folder() -> Path:
    """Return the folder that ``fetch`` fills."""
    return clothing_folder() / NAME


def fetch(
    *,
    address: str = ADDRESS,
    connection: Connection = USUAL_CONNECTION,
    published: Mapping[str, int] = PUBLISHED,
) -> Fetched:
    """Download the data set, unless it is there, and check it. What killed processes left there is deleted.

    Args:
        address: Address of the archive.
        connection: How to connect.
        published: Number of pictures in each part.

    Raises:
        DataError: There is no network, or MODISTE_OFFLINE is set; the archive or a picture in it is damaged, pictures
            are missing, or they are not those of an earlier download.
        FolderInUseError: Another process is fetching it.
        StorageError: The folder cannot be written, or a file in it cannot be read.
    """
    folder = fetched_folder()
    if kind_at(folder) == "folder":
        found = check(folder, published)
        if any(folder.parent.glob(f"{UNFINISHED}*")):
            with contextlib.suppress(FolderInUseError, StorageError), storage.lock(folder.parent):
                _delete_leftovers(folder.parent)
        return found
    if is_offline():
        expected, remedy = "permission to use the network", f"unset it, {BY_HAND}"
        raise fault(folder, "no download", expected=expected, found=f"{OFFLINE_VARIABLE} set", remedy=remedy)
    storage.check_writable(folder.parent)
    with storage.lock(folder.parent):
        return _fetch_into(folder, address, connection, published)


def check(folder: Path, published: Mapping[str, int] = PUBLISHED) -> Fetched:
    """Read every picture of the data set, count them, and compare their digest with the one that is noted.

    Raises:
        DataError: A file is no picture, pictures are missing, or the digest differs.
        StorageError: A file cannot be read.
    """
    try:
        return _checked(folder, published)
    except OSError as error:
        place = shown(error.filename or folder)
        raise StorageError(f"{place}: cannot be read ({reason_of(error)}); check its permissions") from error


def _fetch_into(folder: Path, address: str, connection: Connection, published: Mapping[str, int]) -> Fetched:
    """Download, unpack and check the data set, while the lock of the folder above is held.

    Whatever a killed process left there is deleted before.
    """
    _delete_leftovers(folder.parent)
    try:
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=UNFINISHED) as temporary:
            archive, unpacked = Path(temporary) / "archive.tar.gz", Path(temporary) / NAME
            _download(address, archive, connection)
            _unpack(archive, unpacked)
            found = check(unpacked, published)
            unpacked.replace(folder)
    except OSError as error:
        if folder.is_dir():  # another process was faster, on a disk without locks
            return check(folder, published)
        raise StorageError(f"{shown(folder)}: cannot be written ({reason_of(error)}); free space there") from error
    return replace(found, folder=folder)


def _delete_leftovers(place: Path) -> None:
    """Delete what killed processes left, while the lock of the folder is held."""
    for leftover in place.glob(f"{UNFINISHED}*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _checked(folder: Path, published: Mapping[str, int]) -> Fetched:
    """Return the data set, read and compared as ``check`` says; OSError if a file cannot be read."""
    counts, digest = Counter[str](), hashlib.sha256()
    for path in sorted(folder.glob("*/*/*.jpg")):
        content = path.read_bytes()
        name = path.relative_to(folder).as_posix()
        try:
            open_photo(content)
        except PhotoError as error:
            raise _damaged(path, "a picture", str(error)) from error
        digest.update(f"{name} {hashlib.sha256(content).hexdigest()}\n".encode())
        counts[path.parent.relative_to(folder).as_posix()] += 1
    for part, expected in published.items():
        count = sum(number for kind, number in counts.items() if kind.startswith(f"{part}/"))
        if count != expected:
            raise _damaged(folder / part, f"{expected:,} pictures", f"{count:,}")
    _compare(digest.hexdigest())
    return Fetched(folder, digest.hexdigest(), dict(counts))


def _download(address: str, archive: Path, connection: Connection) -> None:
    try:
        fetch_file(address, archive, connection, limit_bytes=MOST_ARCHIVE_BYTES)
    except DataError as error:
        raise fault(
            archive,
            "cannot be downloaded",
            expected=f"the archive at {address}",
            found=str(error),
            remedy=f"try again when there is a network, {BY_HAND}",
        ) from error


def _unpack(archive: Path, folder: Path) -> None:
    """Write the archive's pictures below ``folder``; everything else in it is ignored.

    The archive is read to its end, because gzip's checksum stands there.
    """
    try:
        with gzip.open(archive) as stream, tarfile.open(fileobj=stream, mode="r:") as opened:
            _write_pictures(opened, folder)
            if len(stream.read(MOST_FILLING_BYTES + 1)) > MOST_FILLING_BYTES:
                raise _damaged(archive, "an archive that ends after its last file", "more")
    except (tarfile.TarError, EOFError, ValueError, zlib.error, gzip.BadGzipFile) as error:
        raise _damaged(archive, "a tar.gz archive", shown(reason_of(error)) or type(error).__name__) from error


def _write_pictures(opened: tarfile.TarFile, folder: Path) -> None:
    for name, file in _pictures(opened):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as copy:
            shutil.copyfileobj(file, copy)


def _pictures(opened: tarfile.TarFile) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield name and content of each picture; the name leads nowhere else, for it has three plain parts."""
    count = 0
    for member in opened:
        match = PICTURE.fullmatch(member.name)
        if not (match and member.isfile()):
            continue
        count += 1
        if member.size > MOST_PICTURE_BYTES or count > 2 * sum(PUBLISHED.values()):
            raise _damaged(Path(member.name), f"pictures of at most {MOST_PICTURE_BYTES:,} bytes", "more")
        file = opened.extractfile(member)
        assert file is not None
        yield match[1], file


def _compare(digest: str) -> None:
    """Note the digest of the first download; DataError if another one is noted."""
    path = clothing_folder() / DIGEST
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        storage.write_text(path, digest + "\n")
        return
    noted = path.read_text(encoding="utf-8", errors="replace").strip()
    if noted != digest:
        raise fault(
            path,
            "other pictures than before",
            expected=f"the digest {noted[:16]}... of the first download",
            found=f"{digest[:16]}...",
            remedy="do not use them before you know why; delete this file to accept them",
        )


def _damaged(path: Path, expected: str, found: str) -> DataError:
    remedy = f"delete {shown(fetched_folder())} and fetch it again, {BY_HAND}"
    return fault(path, "damaged or incomplete", expected=expected, found=found, remedy=remedy)
