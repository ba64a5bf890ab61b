"""The table of false-alarm rates: its limits, what lies between them, and tables that are no such thing."""

import json
from typing import Any

import pytest

from modiste.errors import RecipeError
from modiste.evaluation.out_of_distribution import acceptance
from modiste.evaluation.out_of_distribution.acceptance import Acceptance

TABLE = Acceptance((0.01, 0.04, 0.1), (3.0, 1.0, 0.4), (0.02, 0.05, 0.1))


@pytest.mark.parametrize(
    ("rate", "limit", "measured"),
    [(0.01, 3.0, 0.02), (0.04, 1.0, 0.05), (0.1, 0.4, 0.1), (0.025, 2.0, 0.035), (0.07, 0.7, 0.075)],
)
def test_a_rate_has_a_limit(rate: float, limit: float, measured: float) -> None:
    assert TABLE.at(rate) == (pytest.approx(limit), pytest.approx(measured))


@pytest.mark.parametrize("rate", [-1.0, 0.0, 0.009, 0.11, 1.0, float("inf"), float("nan")])
def test_a_rate_outside_the_table_is_refused(rate: float) -> None:
    with pytest.raises(RecipeError, match=r"--accept .*: expected a share from 0\.01 to 0\.1"):
        TABLE.at(rate)


@pytest.mark.parametrize("rate", ["0.04", None, [0.04]])
def test_a_rate_that_is_no_number_is_refused(rate: Any, without_type_checks: None) -> None:
    with pytest.raises(RecipeError, match=r"^--accept: expected a number, found "):
        TABLE.at(rate)


def test_at_the_chosen_rate_the_limit_becomes_one() -> None:
    limit, measured = TABLE.at(0.07)
    assert TABLE.relative_to(limit).at(0.07) == (pytest.approx(1), measured)
    assert TABLE.relative_to(limit).at(0.04)[0] == pytest.approx(1 / limit)


def test_it_is_read_as_it_was_written() -> None:
    assert acceptance.from_plain(json.loads(json.dumps(TABLE.plain()))) == TABLE


@pytest.mark.parametrize(
    "rows",
    [
        None,
        {},
        [],
        [0.1, 1.0, 0.1],
        [[0.1, 1.0]],
        [[0.1, 1.0, 0.1, 0.1]],
        [["0.1", 1.0, 0.1]],
        [[0.1, 10**400, 0.1]],
        [[0.1, True, 0.1]],
        [[0.0, 1.0, 0.1]],
        [[1.0, 1.0, 0.1]],
        [[float("nan"), 1.0, 0.1]],
        [[0.1, float("nan"), 0.1]],
        [[0.1, 1.0, float("nan")]],
        [[0.1, 1.0, 1.1]],
        [[0.1, 0.0, 0.1]],
        [[0.1, float("inf"), 0.1]],
        [[0.1, 1e-300, 0.1]],
        [[0.2, 1.0, 0.1], [0.1, 0.5, 0.1]],
        [[0.1, 1.0, 0.1], [0.2, 1.5, 0.1]],
        [[number / 2000, 1.0, 0.1] for number in range(1, 1500)],
    ],
    ids=lambda rows: json.dumps(rows)[:40],
)
def test_no_other_table_is_taken(rows: Any) -> None:
    with pytest.raises(ValueError, match="acceptance: expected"):
        acceptance.from_plain(rows)
