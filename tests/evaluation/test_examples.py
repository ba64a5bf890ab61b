"""The examples in the docstrings of evaluation give what they show."""

import doctest
from types import ModuleType

import pytest

from modiste.evaluation import calibration, metrics, statistics


@pytest.mark.parametrize("module", [calibration, metrics, statistics], ids=lambda module: module.__name__)
def test_examples_run(module: ModuleType) -> None:
    found = doctest.testmod(module)
    assert found.attempted > 0
    assert found.failed == 0
