"""A public model hub: a file of weights brought into the client's cache, and verified.

Only safetensors files are fetched. What the cache holds is used when the hub cannot be reached, and at once when the
revision is a whole commit hash. A token is sent only where the user has set one; telemetry is off.
"""

import logging
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from modiste import storage
from modiste.data.download import OFFLINE_VARIABLE, is_offline
from modiste.errors import RunError, StorageError
from modiste.training.transfer.hub_client import Hub, plain_http
from modiste.training.transfer.hub_faults import told, unreachable
from modiste.training.transfer.hub_name import HubFile

COMMIT = re.compile(r"[0-9a-f]{40}")
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Fetched:
    """A file of the hub on this machine."""

    path: Path
    sha256: str
    commit: str


def fetch(file: HubFile, hub: Hub | None = None) -> Fetched:
    """Bring a file of the hub into the cache, unless it is there, and verify its hash where the hub publishes one.

    RunError when the hub does not give it, StorageError when it cannot be kept, MissingExtraError without the client.
    """
    hub = hub or Hub()
    with plain_http(hub), told(file, hub):
        settled = COMMIT.fullmatch(file.revision) is not None or is_offline()
        path = _cached(file, hub) if settled else None
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
    """Ask for the file's size once, so that nobody waits for the client's retries where there is no network."""
    url = hub.client.hf_hub_url(file.repository, file.path, revision=file.revision, endpoint=hub.endpoint)
    answer = hub.client.get_hf_file_metadata(url, timeout=hub.seconds, endpoint=hub.endpoint)
    if not (answer.commit_hash and answer.etag):
        raise hub.client.errors.FileMetadataError("what answers there is no model hub")
    return answer.size or 0


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
