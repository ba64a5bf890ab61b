"""Downloads Fashion-MNIST from a mirror over https; a file gets its final name only after its hash is verified."""

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from modiste.data.idx.files import PublishedFile
from modiste.errors import DataError, StorageError, fault, shown

if TYPE_CHECKING:
    import requests

MIRRORS = (
    "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
    "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
)
OFFLINE_VARIABLE = "MODISTE_OFFLINE"
BLOCK_BYTES = 64 * 1024
BY_HAND = (
    "install Debian's package (apt install dataset-fashion-mnist) or name a folder with --data-folder or MODISTE_DATA"
)


class DownloadError(DataError):
    """No mirror delivered a file."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason
        """What each mirror did, in a few words."""


class MirrorError(Exception):
    """A mirror answered with something that must not be accepted."""


@dataclass(frozen=True)
class Connection:
    """How to connect to a mirror."""

    connect_seconds: float = 5.0
    read_seconds: float = 20.0
    """Longest wait for the next bytes."""
    loopback: bool = False
    """Also allow plain http to 127.0.0.1, for tests; nobody can listen in on it."""

    def allows(self, url: str) -> bool:
        """Return whether a request to ``url`` is allowed: only https is."""
        parts = urlsplit(url)
        return parts.scheme == "https" or (self.loopback and parts.hostname == "127.0.0.1")


def is_offline() -> bool:
    """Return whether MODISTE_OFFLINE forbids the network."""
    return os.environ.get(OFFLINE_VARIABLE, "") not in ("", "0")


def download(
    files: Iterable[PublishedFile],
    folder: Path,
    *,
    mirrors: tuple[str, ...] = MIRRORS,
    connection: Connection = Connection(),
) -> tuple[Path, ...]:
    """Download the official archives of ``files`` into ``folder``, except those that are there and correct.

    The mirrors are tried in turn.

    Returns:
        The path of each archive.

    Raises:
        DataError: No mirror delivers a file (the message says what each mirror did), or MODISTE_OFFLINE is set.
        StorageError: The folder cannot be written.
    """
    if is_offline():
        expected, remedy = "permission to use the network", f"unset it, or {BY_HAND}"
        raise fault(folder, "no download", expected=expected, found=f"{OFFLINE_VARIABLE} set", remedy=remedy)
    return tuple(_download_one(file, folder, mirrors, connection) for file in files)


def fetch_file(url: str, path: Path, connection: Connection, *, limit_bytes: int) -> None:
    """Download a file whose hash is not known beforehand; the caller checks its content.

    Raises:
        DataError: Nothing could be fetched, or more than ``limit_bytes``; the message says what the server did.
        OSError: The file cannot be written.
    """
    import requests

    try:
        _Fetch(connection, limit_bytes)(url, path)
    except (requests.RequestException, MirrorError) as error:
        raise DataError(_reason(error, connection)) from error


def _download_one(file: PublishedFile, folder: Path, mirrors: tuple[str, ...], connection: Connection) -> Path:
    failures = []
    for mirror in mirrors:
        try:
            return _retrieve(file, folder, mirror + file.archive_name, connection)
        except DataError as error:
            failures.append(f"{urlsplit(mirror).netloc} {error}")
    reason = ", ".join(failures) or "no mirror"
    message = fault(
        folder / file.archive_name,
        "cannot be downloaded",
        expected=f"an archive with MD5 {file.archive_md5}",
        found=reason,
        remedy=f"try again when there is a network, {BY_HAND}",
    )
    raise DownloadError(str(message), reason)


def _retrieve(file: PublishedFile, folder: Path, url: str, connection: Connection) -> Path:
    import pooch
    import requests

    pooch.get_logger().setLevel(logging.CRITICAL)  # its log lines would repeat ours
    fetch = _Fetch(connection, limit_bytes=file.size_bytes)  # an archive is smaller than its content
    known_hash = f"md5:{file.archive_md5}"
    try:
        return Path(pooch.retrieve(url, known_hash, fname=file.archive_name, path=folder, downloader=fetch))
    except (requests.RequestException, MirrorError) as error:
        raise DataError(_reason(error, connection)) from error
    except ValueError as error:  # pooch: the hash differs; requests: an invalid header
        raise DataError("sent other bytes than those published") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(
            f"{shown(folder / file.archive_name)}: cannot be written ({shown(reason)}); "
            "free space there or check the permissions"
        ) from error


@dataclass(frozen=True)
class _Fetch:
    """A downloader for pooch: it writes to a temporary file, which pooch then verifies."""

    connection: Connection
    limit_bytes: int

    def __call__(self, url: str, output_file: Any, pooch: Any = None, check_only: bool = False) -> None:
        import requests

        self._check(url)
        with (
            requests.get(
                url,
                stream=True,
                timeout=(self.connection.connect_seconds, self.connection.read_seconds),
                headers={"Accept-Encoding": "identity"},  # the archive itself, not decompressed on the way
                hooks={"response": self._check_redirect},
            ) as response,
            Path(output_file).open("wb") as file,
        ):
            response.raise_for_status()
            self._save(response, file, Path(url).name)
            file.flush()
            os.fsync(file.fileno())

    def _save(self, response: "requests.Response", file: Any, name: str) -> None:
        announced = response.headers.get("Content-Length", "")
        received = 0
        with _progress(name, int(announced) if announced.isdecimal() else None) as advance:
            for block in response.iter_content(BLOCK_BYTES):
                received += len(block)
                if received > self.limit_bytes:
                    raise MirrorError(f"sent more than {self.limit_bytes:,} bytes")
                file.write(block)
                advance(len(block))

    def _check_redirect(self, response: "requests.Response", *_: Any, **__: Any) -> None:
        """Check each redirect before requests follows it, which would go from https to http without a warning."""
        if response.is_redirect:
            self._check(urljoin(response.url, response.headers["Location"]))

    def _check(self, url: str) -> None:
        if not self.connection.allows(url):
            raise MirrorError(f"leads to {shown(url[:80])}, which is not https")


def _reason(error: Exception, connection: Connection) -> str:
    """Return in a few words what a mirror did; requests' own messages are long and have several lines."""
    import requests

    if isinstance(error, MirrorError):
        return str(error)
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"answered {error.response.status_code}"
    if isinstance(error, requests.Timeout) or "Read timed out" in str(error):
        waits = f"{connection.connect_seconds:g} s to connect, {connection.read_seconds:g} s to read"
        return f"fell silent (waited {waits})"
    if isinstance(error, requests.exceptions.SSLError):
        return "has no certificate that this machine trusts"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "broke off before the end"
    if isinstance(error, requests.ConnectionError):
        return "cannot be reached"
    return f"failed ({type(error).__name__})"


@contextlib.contextmanager
def _progress(name: str, total_bytes: int | None) -> Iterator[Callable[[int], None]]:
    """Yield a function that counts the bytes of a block. At a terminal it moves a progress bar."""
    if not sys.stderr.isatty():
        yield lambda count_bytes: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(name, total=total_bytes)
        yield lambda count_bytes: progress.advance(task, count_bytes)
