"""A public model hub: a file of weights brought into the client's cache, and every fault on the way in plain words.

Only safetensors files are fetched. What the cache holds is used when the hub cannot be reached, and at once when the
revision is a whole commit hash. A token is sent only where the user has set one; telemetry is off.
"""

import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modiste import storage
from modiste.data.download import OFFLINE_VARIABLE, is_offline
from modiste.errors import MissingExtraError, RecipeError, RunError, StorageError
from modiste.training.hub_name import GRAMMAR, SUFFIX, HubFile

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
COMMIT = re.compile(r"[0-9a-f]{40}")
SHA256 = re.compile(r"[0-9a-f]{64}")
SHOWN = 8
TOKEN = "a token (hf auth login, or HF_TOKEN)"


@dataclass(frozen=True)
class Fetched:
    """A file of the hub on this machine."""

    path: Path
    sha256: str
    commit: str


def _client() -> Any:
    """Import the client, and switch its telemetry off for this process."""
    try:
        import huggingface_hub
        from huggingface_hub import constants, errors  # noqa: F401  (found through the package from here on)
    except ImportError as error:
        raise MissingExtraError("hub: needs a package that is not installed: pip install 'modiste[hub]'") from error
    constants.HF_HUB_DISABLE_TELEMETRY = True
    return huggingface_hub


@dataclass(frozen=True)
class Hub:
    """How a hub is spoken to; what is not given is as the client's own variables say.

    Attributes:
        endpoint: address of the hub or of a mirror; HF_ENDPOINT if empty.
        cache: folder of the cache; under HF_HOME if None.
        seconds: longest silence before an answer; HF_HUB_ETAG_TIMEOUT, or 10, if 0.
    """

    endpoint: str = ""
    cache: Path | None = None
    seconds: float = 0.0
    client: Any = field(default_factory=_client)

    def __post_init__(self) -> None:
        constants = self.client.constants
        endpoint = self.endpoint or os.environ.get("HF_ENDPOINT") or constants.ENDPOINT
        object.__setattr__(self, "endpoint", endpoint.rstrip("/"))
        object.__setattr__(self, "cache", self.cache or Path(constants.HF_HUB_CACHE))
        object.__setattr__(self, "seconds", self.seconds or constants.HF_HUB_ETAG_TIMEOUT)


def fetch(file: HubFile, hub: Hub | None = None) -> Fetched:
    """Bring a file of the hub into the cache, unless it is there, and verify its hash where the hub publishes one.

    RunError when the hub does not give it, StorageError when it cannot be kept, MissingExtraError without the client.
    """
    hub = hub or Hub()
    with _told(file, hub), _plain_http(hub):
        settled = COMMIT.fullmatch(file.revision) is not None or is_offline()
        path = _cached(file, hub) if settled else None
        if path is None and is_offline():
            raise _unreachable(file, hub, f"{OFFLINE_VARIABLE} is set")
        return _verified(path or _download(file, hub), file)


def _cached(file: HubFile, hub: Hub) -> Path | None:
    found = hub.client.try_to_load_from_cache(file.repository, file.path, hub.cache, file.revision)
    return Path(found) if isinstance(found, str) else None


def _download(file: HubFile, hub: Hub) -> Path:
    """Ask once, so that nobody waits for the client's retries where there is no network; then let the client fetch."""
    client, where = hub.client, {"revision": file.revision, "endpoint": hub.endpoint}
    url = client.hf_hub_url(file.repository, file.path, **where)
    try:
        answer = client.get_hf_file_metadata(url, timeout=hub.seconds, endpoint=hub.endpoint)
    except (client.errors.HTTPError, client.errors.OfflineModeIsEnabled) as error:
        status = getattr(getattr(error, "response", None), "status_code", 503)
        path = _cached(file, hub) if status >= 500 else None
        if path is None:
            raise
        logging.getLogger(__name__).warning("%s: the hub cannot be reached; using the file fetched earlier", file)
        return path
    if not (answer.commit_hash and answer.etag):
        raise RunError(f"{file}: {hub.endpoint} does not answer as a model hub does; {_by_hand(file, hub)}")
    if _cached(file, hub) is None:
        _demand_space(hub, answer.size or 0)
    options = {"cache_dir": hub.cache, "etag_timeout": hub.seconds, **where}
    return Path(client.hf_hub_download(file.repository, file.path, **options))


def _demand_space(hub: Hub, size_bytes: int) -> None:
    folder = Path(hub.cache or ".").absolute()
    free_bytes = shutil.disk_usage(next(place for place in (folder, *folder.parents) if place.exists())).free
    if free_bytes < size_bytes:
        raise StorageError(
            f"{folder}: the file has {size_bytes / 1e6:,.0f} MB, {free_bytes / 1e6:,.0f} MB are free; make room, or "
            "name another place with HF_HOME"
        )


def _verified(path: Path, file: HubFile) -> Fetched:
    """Large files are kept under the hash that the hub publishes; the snapshot's folder is named by its commit."""
    found, kept = storage.sha256(path), path.readlink().name if path.is_symlink() else ""
    if SHA256.fullmatch(kept) and found != kept:
        raise RunError(
            f"{path}: damaged, expected SHA-256 {kept[:16]}..., found {found[:16]}...; delete {path.resolve()} and "
            "give the command again"
        )
    return Fetched(path, found, path.parents[file.path.count("/")].name)


@contextmanager
def _plain_http(hub: Hub) -> Iterator[None]:
    """Do without the client's second protocol, Xet, whose faults have no names."""
    constants = hub.client.constants
    before, constants.HF_HUB_DISABLE_XET = constants.HF_HUB_DISABLE_XET, True
    try:
        yield
    finally:
        constants.HF_HUB_DISABLE_XET = before


@contextmanager
def _told(file: HubFile, hub: Hub) -> Iterator[None]:
    """Turn whatever the client raises into one plain sentence."""
    errors = hub.client.errors
    try:
        yield
    except errors.HFValidationError as error:
        raise RecipeError(f"{file}: not the name of a repository ({error})") from error
    except errors.HfHubHTTPError as error:
        raise RunError(f"{file}: {_answer(error, file, hub)}") from error
    except (errors.HTTPError, errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError) as error:
        raise _unreachable(file, hub, _reason(error)) from error
    except OSError as error:
        if error.errno is None:  # the client's own, for more or fewer bytes than announced
            raise _unreachable(file, hub, _reason(error)) from error
        raise StorageError(
            f"{hub.cache}: {file} cannot be kept there ({error.strerror}); free space there, check the permissions, or "
            "name another place with HF_HOME"
        ) from error


def _reason(error: BaseException) -> str:
    """Give the fault that the client's own sentences stand around."""
    while error.__cause__ is not None and isinstance(error, FileNotFoundError):
        error = error.__cause__
    text = str(error).strip().partition("\n")[0][:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _by_hand(file: HubFile, hub: Hub) -> str:
    url = f"{hub.endpoint}/{file.repository}/resolve/{file.revision}/{file.path}"
    return f"or fetch {url} elsewhere and give the file's path; HF_ENDPOINT names a mirror"


def _unreachable(file: HubFile, hub: Hub, reason: str) -> RunError:
    return RunError(
        f"{file}: cannot be fetched from {hub.endpoint} ({reason}), and {hub.cache} holds no copy; try again when the "
        f"network is there, {_by_hand(file, hub)}"
    )


def _answer(error: Any, file: HubFile, hub: Hub) -> str:
    """Say what the hub's refusal means, by its class or status."""
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
    """Say what the repository holds in place of the file."""
    try:
        api = hub.client.HfApi(endpoint=hub.endpoint)
        info = api.model_info(file.repository, revision=file.revision, timeout=hub.seconds)
        names = sorted(item.rfilename for item in info.siblings or ())
    except (hub.client.errors.HTTPError, OSError, ValueError, TypeError, KeyError):
        return f"there is no {file.path}; see {hub.endpoint}/{file.repository}/tree/{file.revision}"
    readable = [name for name in names if name.endswith(SUFFIX)]
    pickled = [name for name in names if name.endswith(PICKLES)]
    if readable:
        return f"there is no {file.path}; there are {_listed(readable)}; name one: {GRAMMAR}"
    if pickled:
        return (
            f"it holds weights only as pickles ({_listed(pickled)}), which can run code when they are read and never "
            f"are here; look for a repository with a {SUFFIX} file"
        )
    return f"there is no {SUFFIX} file, nor other weights"


def _listed(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
