"""What a model hub or the way to it may refuse, in plain words that say what to do."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from modiste.errors import RecipeError, RunError, StorageError
from modiste.training.transfer.hub_client import Hub
from modiste.training.transfer.hub_name import GRAMMAR, SUFFIX, HubFile
from modiste.training.transfer.renaming import listed

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
SHOWN = 8
TOKEN = "a token (hf auth login, or HF_TOKEN)"


@contextmanager
def told(file: HubFile, hub: Hub) -> Iterator[None]:
    """Turn whatever the client raises into one plain sentence."""
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
        if error.errno is None:  # the client's own, for more or fewer bytes than announced
            raise unreachable(file, hub, _reason(error)) from error
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


def unreachable(file: HubFile, hub: Hub, reason: str) -> RunError:
    """Say that the file cannot be had, why, and which ways are left."""
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
        return f"there is no {file.path}; there are {listed(readable, SHOWN)}; name one: {GRAMMAR}"
    if pickled:
        return (
            f"it holds weights only as pickles ({listed(pickled, SHOWN)}), which can run code when they are read and "
            f"never are here; look for a repository with a {SUFFIX} file"
        )
    return f"there is no {SUFFIX} file, nor other weights"
