"""Weights from a model hub: the file's name, the hub's client, plain messages for its errors, the verified download.

A name is ``hub:OWNER/NAME[/PATH.safetensors][@REVISION]``. Only safetensors files are downloaded. The client's cache is
used if the hub cannot be reached. It is used at once if it holds the file and the revision is a whole commit hash. A
token is sent only if the user has set one. Telemetry is off. No other file imports the client.
"""

import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from modiste.data.idx.download import OFFLINE_VARIABLE, is_offline
from modiste.errors import MissingExtraError, RecipeError, RunError, StorageError
from modiste.runs import storage
from modiste.training.transfer.renaming import listed

PREFIX = "hub:"
SUFFIX = ".safetensors"
GRAMMAR = f"{PREFIX}OWNER/NAME[/PATH{SUFFIX}][@REVISION]"
WORD = re.compile(r"\w[\w.-]*", re.ASCII)


@dataclass(frozen=True)
class HubFile:
    """A file of a repository at a revision: a branch, a tag or a commit."""

    repository: str
    path: str = f"model{SUFFIX}"
    revision: str = "main"

    def __str__(self) -> str:
        return f"{PREFIX}{self.repository}/{self.path}@{self.revision}"


def parse(name: str) -> HubFile:
    """Parse a name; RecipeError if it does not follow ``GRAMMAR`` or does not name a safetensors file.

    >>> parse("hub:someone/resnet@v1.0")
    HubFile(repository='someone/resnet', path='model.safetensors', revision='v1.0')
    """
    text, at, revision = name.removeprefix(PREFIX).partition("@")
    parts = text.split("/")
    if len(parts) < 2 or not all(WORD.fullmatch(part) for part in parts) or (at and not revision.strip("/")):
        raise RecipeError(f"{name}: not the name of a file on a hub; expected {GRAMMAR}")
    if revision.endswith(SUFFIX):
        raise RecipeError(f"{name}: the revision comes last; expected {GRAMMAR}")
    if len(parts) > 2 and not text.endswith(SUFFIX):
        raise RecipeError(
            f"{name}: only {SUFFIX} files are read, since others, such as torch's pickles, can run code; "
            f"expected {GRAMMAR}"
        )
    path = "/".join(parts[2:]) or HubFile.path
    return HubFile("/".join(parts[:2]), path, revision or HubFile.revision)


SWITCHES = ("HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_XET")


def _client() -> Any:
    """Return the client's package; MissingExtraError if it is not installed."""
    try:
        import huggingface_hub
        from huggingface_hub import constants, errors, utils  # noqa: F401  (found through the package from here on)
    except ImportError as error:
        raise MissingExtraError("hub: needs a package that is not installed: pip install 'modiste[hub]'") from error
    return huggingface_hub


@dataclass(frozen=True)
class Hub:
    """A hub, and how to talk to it.

    Attributes:
        endpoint: Address of the hub or of a mirror, without a slash at the end.
        cache: Folder of the cache.
        quiet: Whether to show no progress bar while a file is fetched.
        seconds: Longest wait for an answer.
        client: The package ``huggingface_hub``.
    """

    endpoint: str
    cache: Path
    quiet: bool
    seconds: float
    client: Any

    @classmethod
    def open(cls, endpoint: str = "", cache: Path | None = None, *, quiet: bool = False, seconds: float = 0.0) -> "Hub":
        """Return a hub; settings that are not given come from the client's environment variables.

        Args:
            endpoint: Address of the hub or of a mirror; HF_ENDPOINT if empty.
            cache: Folder of the cache; under HF_HOME if None.
            quiet: Whether to show no progress bar while a file is fetched.
            seconds: Longest wait for an answer; HF_HUB_ETAG_TIMEOUT, or 10, if 0.

        Raises:
            RecipeError: The endpoint is no address.
            MissingExtraError: The client is not installed.
        """
        client = _client()
        constants = client.constants
        endpoint = endpoint or os.environ.get("HF_ENDPOINT") or constants.ENDPOINT
        if not _is_address(endpoint):
            raise RecipeError(f"HF_ENDPOINT: expected an address such as https://huggingface.co, found {endpoint!r}")
        cache = cache or Path(constants.HF_HUB_CACHE)
        return cls(endpoint.rstrip("/"), cache, quiet, float(seconds or constants.HF_HUB_ETAG_TIMEOUT), client)


@contextmanager
def plain_http(hub: Hub) -> Iterator[None]:
    """Disable the client's telemetry, its protocol Xet, which raises undocumented errors, and, if quiet, its bar.

    The client has these settings for the whole process. They are restored at the end of the block.
    """
    constants, utils = hub.client.constants, hub.client.utils
    before = {name: getattr(constants, name) for name in SWITCHES}
    for name in SWITCHES:
        setattr(constants, name, True)
    silence = hub.quiet and not utils.are_progress_bars_disabled()
    if silence:
        utils.disable_progress_bars()
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(constants, name, value)
        if silence:
            utils.enable_progress_bars()


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
SHOWN = 8
TOKEN = "a token (hf auth login, or HF_TOKEN)"


@contextmanager
def plain_errors(file: HubFile, hub: Hub) -> Iterator[None]:
    """Turn the client's errors into RecipeError, RunError or StorageError with a plain message."""
    errors = hub.client.errors
    try:
        yield
    except errors.HFValidationError as error:
        raise RecipeError(f"{file}: not the name of a repository ({error})") from error
    except errors.HfHubHTTPError as error:
        raise RunError(f"{file}: {_answer(error, file, hub)}") from error
    except (errors.HTTPError, errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError) as error:
        raise unreachable(file, hub, _reason(error)) from error
    except OSError as error:
        if error.errno is None:  # raised by the client if it gets more or fewer bytes than announced
            raise unreachable(file, hub, _reason(error)) from error
        raise StorageError(
            f"{hub.cache}: {file} cannot be kept there ({error.strerror}); free space there, check the permissions, or "
            "name another place with HF_HOME"
        ) from error


def _reason(error: BaseException) -> str:
    """Return the type and first line of the original error, without the client's own explanation around it."""
    while error.__cause__ is not None and isinstance(error, FileNotFoundError):
        error = error.__cause__
    text = str(error).strip().partition("\n")[0][:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _by_hand(file: HubFile, hub: Hub) -> str:
    url = f"{hub.endpoint}/{file.repository}/resolve/{file.revision}/{file.path}"
    return f"or fetch {url} elsewhere and give the file's path; HF_ENDPOINT names a mirror"


def unreachable(file: HubFile, hub: Hub, reason: str) -> RunError:
    """Return the error of a file that is not in the cache and cannot be fetched, with reason and remedies."""
    return RunError(
        f"{file}: cannot be fetched from {hub.endpoint} ({reason}), and {hub.cache} holds no copy; try again when the "
        f"network is there, {_by_hand(file, hub)}"
    )


def _answer(error: Any, file: HubFile, hub: Hub) -> str:
    """Return what the hub's refusal means, by the error's class or status."""
    errors, status = hub.client.errors, error.response.status_code
    page = f"{hub.endpoint}/{file.repository}"
    if isinstance(error, errors.GatedRepoError):
        return f"its owner asks for consent first; agree at {page}, then give {TOKEN}"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"there is no branch, tag or commit {file.revision!r}; see {page}/commits/main"
    if isinstance(error, errors.RemoteEntryNotFoundError):
        return _missing(file, hub)
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"no such repository, or a private one; check the name at {page}; a private one needs {TOKEN}"
    if status in (401, 403):
        return f"the hub refuses access ({status}); give {TOKEN} that may read {page}"
    if status == 429:
        return "the hub has had too many requests from here (429); wait some minutes and give the command again"
    return f"the hub answered {status}; try again later, {_by_hand(file, hub)}"


def _missing(file: HubFile, hub: Hub) -> str:
    """Return a message that lists what the repository holds instead of the file."""
    try:
        api = hub.client.HfApi(endpoint=hub.endpoint)
        info = api.model_info(file.repository, revision=file.revision, timeout=hub.seconds)
        names = sorted(item.rfilename for item in info.siblings or ())
    except (hub.client.errors.HTTPError, OSError, ValueError, TypeError, KeyError):
        return f"there is no {file.path}; see {hub.endpoint}/{file.repository}/tree/{file.revision}"
    readable = [name for name in names if name.endswith(SUFFIX)]
    pickled = [name for name in names if name.endswith(PICKLES)]
    if readable:
        return f"there is no {file.path}; there are {listed(readable, SHOWN)}; name one: {GRAMMAR}"
    if pickled:
        return (
            f"it holds weights only as pickles ({listed(pickled, SHOWN)}), which can run code when they are read and "
            f"never are here; look for a repository with a {SUFFIX} file"
        )
    return f"there is no {SUFFIX} file, nor other weights"


COMMIT = re.compile(r"[0-9a-f]{40}")
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Fetched:
    """A file of a hub in the cache: its path, its SHA-256, and its commit."""

    path: Path
    sha256: str
    commit: str


def fetch(file: HubFile, hub: Hub | None = None) -> Fetched:
    """Return a file from the cache, or fetch it first; verify its hash if the hub publishes one.

    Args:
        file: Which file.
        hub: Where from; with the client's own settings if None.

    Raises:
        RunError: The hub refuses the file or cannot be reached, or the file is damaged.
        RecipeError: No repository can have this name.
        StorageError: The file cannot be stored.
        MissingExtraError: The client is not installed.
    """
    hub = hub or Hub.open()
    with plain_http(hub), plain_errors(file, hub):
        use_cache_first = COMMIT.fullmatch(file.revision) is not None or is_offline()
        path = _cached(file, hub) if use_cache_first else None
        if path is None and is_offline():
            raise unreachable(file, hub, f"{OFFLINE_VARIABLE} is set")
        return _verified(path or _download(file, hub), file)


def _cached(file: HubFile, hub: Hub) -> Path | None:
    found = hub.client.try_to_load_from_cache(file.repository, file.path, hub.cache, file.revision)
    return Path(found) if isinstance(found, str) else None


def _download(file: HubFile, hub: Hub) -> Path:
    client = hub.client
    try:
        size_bytes = _ask(file, hub)
    except (client.errors.HTTPError, client.errors.OfflineModeIsEnabled, client.errors.FileMetadataError) as error:
        status = getattr(getattr(error, "response", None), "status_code", 503)
        path = _cached(file, hub) if status >= 500 else None
        if path is None:
            raise
        logging.getLogger(__name__).warning("%s: the hub cannot be reached; using the file fetched earlier", file)
        return path
    if _cached(file, hub) is None:
        _demand_space(hub, size_bytes)
    where = {"revision": file.revision, "endpoint": hub.endpoint, "cache_dir": hub.cache}
    return Path(client.hf_hub_download(file.repository, file.path, etag_timeout=hub.seconds, **where))


def _ask(file: HubFile, hub: Hub) -> int:
    """Return the file's size in bytes. Asks once, because without a network the client's download retries for long."""
    url = hub.client.hf_hub_url(file.repository, file.path, revision=file.revision, endpoint=hub.endpoint)
    answer = hub.client.get_hf_file_metadata(url, timeout=hub.seconds, endpoint=hub.endpoint)
    if not (answer.commit_hash and answer.etag):
        raise hub.client.errors.FileMetadataError("what answers there is no model hub")
    return answer.size or 0


def _demand_space(hub: Hub, size_bytes: int) -> None:
    folder = hub.cache.absolute()
    free_bytes = shutil.disk_usage(next(place for place in (folder, *folder.parents) if place.exists())).free
    if free_bytes < size_bytes:
        raise StorageError(
            f"{folder}: the file has {size_bytes / 1e6:,.0f} MB, {free_bytes / 1e6:,.0f} MB are free; make room, or "
            "name another place with HF_HOME"
        )


def _verified(path: Path, file: HubFile) -> Fetched:
    """Return the file with its hash and commit; RunError if the hash is not the published one.

    The cache stores a large file under its published hash, and names the snapshot's folder by the commit.
    """
    found, published = storage.sha256(path), path.readlink().name if path.is_symlink() else ""
    if SHA256.fullmatch(published) and found != published:
        raise RunError(
            f"{path}: damaged, expected SHA-256 {published[:16]}..., found {found[:16]}...; delete {path.resolve()} "
            "and give the command again"
        )
    return Fetched(path, found, path.parents[file.path.count("/")].name)
