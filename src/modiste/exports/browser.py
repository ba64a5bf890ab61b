"""A headless Chromium that checks exported pages, where Playwright and a Chromium are installed."""

import base64
import contextlib
import shutil
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float, UInt8

from modiste.errors import RunError

Value = TypeVar("Value")
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")
MOST_MILLISECONDS = 120_000
"""Time in which a page must be open."""
ABSENT = "not checked, no browser starts here (pip install playwright; playwright install --with-deps chromium)"


def has_browser() -> bool:
    """Return whether a page can be opened here."""
    if find_spec("playwright") is None:
        return False
    try:
        return bool(_in_thread(_chromium))
    except Exception:  # the program that comes with Playwright does not run here; its errors have no common base
        return False


def page_probabilities(content: bytes, parts: Sequence[UInt8[np.ndarray, "_ c h w"]]) -> Float[np.ndarray, "n k"]:
    """Return the probabilities that a one-file page computes for images, opened from a file in a headless browser.

    Args:
        content: The page.
        parts: The images, in the parts in which the page gets them.

    Raises:
        RunError: The page fails.
    """
    sent = [base64.b64encode(np.ascontiguousarray(part).tobytes()).decode() for part in parts]
    answered = _in_thread(_asked, content, "(images) => computedFor(images)", sent)
    return np.array([row["probabilities"] for rows in answered for row in rows], np.float64)


def _in_thread(function: Callable[..., Value], *arguments: Any) -> Value:
    """Call a function in a thread of its own, for Playwright refuses to run beside an event loop, as a notebook's."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(function, *arguments).result()


@cache
def _chromium() -> str | None:
    """Return the path of the first Chromium that starts: one of the system, or Playwright's own; tried once."""
    from playwright.sync_api import Error, sync_playwright

    with sync_playwright() as playwright:
        for path in filter(None, (*map(shutil.which, CHROMIUMS), playwright.chromium.executable_path)):
            with contextlib.suppress(Error):  # it is not there, or lacks libraries of the system
                playwright.chromium.launch(executable_path=path).close()
                return path
    return None


def _asked(content: bytes, script: str, arguments: Sequence[str]) -> list[Any]:
    """Open a page and return the values of a function that is called in it with each argument."""
    from playwright.sync_api import Error, sync_playwright

    chromium = _chromium()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        path = Path(folder) / "page.html"
        path.write_bytes(content)
        browser = playwright.chromium.launch(executable_path=chromium)
        try:
            page = browser.new_page(bypass_csp=True)
            page.goto(path.as_uri(), timeout=MOST_MILLISECONDS)
            return [page.evaluate(script, argument) for argument in arguments]
        except Error as error:
            raise RunError(f"export: html: the page fails in {chromium}: {error.message.splitlines()[0]}") from error
        finally:
            browser.close()
