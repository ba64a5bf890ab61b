"""How a model hub is spoken to, through its usual client; the one place that imports it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from modiste.errors import MissingExtraError, RecipeError

SWITCHES = ("HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_XET")


def _client() -> Any:
    """Import the client."""
    try:
        import huggingface_hub
        from huggingface_hub import constants, errors, utils  # noqa: F401  (found through the package from here on)
    except ImportError as error:
        raise MissingExtraError("hub: needs a package that is not installed: pip install 'modiste[hub]'") from error
    return huggingface_hub


@dataclass(frozen=True)
class Hub:
    """How a hub is spoken to; what is not given is as the client's own variables say.

    Attributes:
        endpoint: address of the hub or of a mirror; HF_ENDPOINT if empty.
        cache: folder of the cache; under HF_HOME if None.
        quiet: whether nothing is shown while a file comes.
        seconds: longest silence before an answer; HF_HUB_ETAG_TIMEOUT, or 10, if 0.
    """

    endpoint: str = ""
    cache: Path | None = None
    quiet: bool = False
    seconds: float = 0.0
    client: Any = field(default_factory=_client)

    def __post_init__(self) -> None:
        constants = self.client.constants
        endpoint = self.endpoint or os.environ.get("HF_ENDPOINT") or constants.ENDPOINT
        if not _is_address(endpoint):
            raise RecipeError(f"HF_ENDPOINT: expected an address such as https://huggingface.co, found {endpoint!r}")
        object.__setattr__(self, "endpoint", endpoint.rstrip("/"))
        object.__setattr__(self, "cache", self.cache or Path(constants.HF_HUB_CACHE))
        object.__setattr__(self, "seconds", self.seconds or constants.HF_HUB_ETAG_TIMEOUT)


@contextmanager
def plain_http(hub: Hub) -> Iterator[None]:
    """Do without the client's telemetry and its second protocol, Xet, whose faults have no names; quietly, its bar.

    The client has these settings for the whole process; they are as before when the block ends.
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
