"""The table of coverages gives the sets that validation images gave, and damaged tables are refused."""

from typing import Any

import pytest
import torch

from modiste.errors import RecipeError
from modiste.evaluation.calibration import fit_temperature
from modiste.evaluation.conformal import coverage_table, least_probability
from modiste.evaluation.coverage import COVERAGES, CoverageTable, from_plain


def images(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(2)
    labels = torch.randint(5, (count,), generator=draw)
    logits = torch.randn(count, 5, generator=draw) + 2 * torch.nn.functional.one_hot(labels, 5)
    return logits, labels


def table(count: int) -> CoverageTable:
    logits, labels = images(count)
    return coverage_table((logits.double() / fit_temperature(logits, labels)).softmax(1), labels)


@pytest.mark.parametrize("coverage", [0.5, 0.9, 0.95, 0.995])
def test_a_row_is_the_threshold_of_the_images(coverage: float) -> None:
    assert table(400).at(coverage) == least_probability(*images(400), coverage)


def test_between_two_rows_the_larger_coverage_is_kept() -> None:
    found = table(400)
    assert found.at(0.951) == found.at(0.955) <= least_probability(*images(400), 0.951)


def test_with_too_few_images_every_class_belongs_to_the_set() -> None:
    assert table(30).at(0.99) == 0
    assert table(30).at(0.8) > 0


def test_a_table_is_read_as_it_was_written() -> None:
    found = table(400)
    assert from_plain(found.plain()) == found
    assert found.coverages == COVERAGES


@pytest.mark.parametrize("coverage", [0.0, 1.0, 95.0, 0.9995, "0.95", None, [0.95]])
def test_a_coverage_out_of_range(coverage: Any, without_type_checks: None) -> None:
    with pytest.raises(RecipeError, match=r"^coverage: expected"):
        table(400).at(coverage)


@pytest.mark.parametrize(
    "rows",
    [
        None,
        [],
        [[0.9]],
        [[0.9, 1]],
        [[0.9, 0.5], [0.9, 0.4]],
        [[0.9, 0.4], [0.95, 0.5]],
        [[0.9, 1.5]],
        [[0.9, -0.5]],
        [[1.0, 0.5]],
        [[0.9, float("nan")]],
        [[float("nan"), 0.5]],
        [[number / 2000, 0.5] for number in range(1, 1500)],
    ],
)
def test_what_is_no_table_is_refused(rows: object) -> None:
    with pytest.raises(ValueError, match=r"^coverage: expected"):
        from_plain(rows)
