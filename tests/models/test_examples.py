"""The examples in the docstrings of ``models`` run and print what they show."""

import doctest
from types import ModuleType

import pytest

from modiste.models import hooks, registry, superpixels


@pytest.mark.parametrize("module", [hooks, registry, superpixels], ids=lambda module: module.__name__)
def test_the_examples_run(module: ModuleType) -> None:
    results = doctest.testmod(module)
    assert results.attempted
    assert not results.failed
