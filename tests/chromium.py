"""Chromium for the tests of pages."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """A headless browser; tests that need it are skipped where Chromium is not installed."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs Chromium: make chromium")
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=60_000)  # milliseconds: a busy machine takes more than the usual five seconds
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


def ask_for_a_deleted_file(page: "Page", path: Path, content: bytes) -> None:
    """Choose a picture on a page that classifies, delete it, ask, and expect the message of both kinds of page."""
    from playwright.sync_api import expect

    path.write_bytes(content)
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<input type=file id=other>')")
    page.set_input_files("#other", path)
    path.unlink()
    page.evaluate("askFirst(document.getElementById('other').files)")
    expect(page.get_by_role("alert")).to_have_text(
        f"{path.name}: the file cannot be read; choose it again, or copy it to this device first"
    )
