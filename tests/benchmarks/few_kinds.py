"""Fewer corruptions, so that tests of what measures them are quick."""

import pytest

from modiste.benchmarks import corrupted_images, corruptions


def keep_kinds(monkeypatch: pytest.MonkeyPatch, *kinds: str) -> None:
    """Leave only these kinds in the tables for the duration of a test; the real table keeps its order."""
    few = {kind: corrupted_images.CORRUPTIONS[kind] for kind in kinds}
    for module in (corrupted_images, corruptions):
        monkeypatch.setattr(module, "CORRUPTIONS", few)
