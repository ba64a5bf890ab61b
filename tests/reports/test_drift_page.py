"""The page of a test of drift: verdict, advice and charts, escaped, loading nothing."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from drawn_answers import NAMES, answers, reference
from page_reader import Page

from modiste.monitoring.drift import Share, compare
from modiste.reports.drift_page import MOST_ROWS, _most_changed, share_bars, write_drift


@pytest.mark.parametrize("number", [10, 1000])
def test_the_page_shows_verdict_and_charts(number: int, tmp_path: Path) -> None:
    found = replace(compare(reference(1), answers(number, 2, higher=0.5), NAMES), damaged_lines=3)
    text = write_drift(found, tmp_path / "drift.html").read_text(encoding="utf-8")
    page = Page(text)
    assert not re.search(r'(src|href)="(?!data:|#)', text)
    assert "<b>coat" not in text
    assert len(set(page.ids)) == len(page.ids)
    assert found.verdict[1:] in page.text
    assert "Left out: 3 damaged lines" in page.text
    assert page.tags.count("svg") == len(found.shifts)


def test_of_many_classes_those_that_differ_most_are_shown(tmp_path: Path) -> None:
    found = compare(reference(1), answers(1000, 2), NAMES)
    many = tuple(Share(f"class {number}", 0.01, 0.01 + number / 10_000) for number in range(100))
    classes = replace(found.shifts[0], shares=many)
    path = write_drift(replace(found, shifts=(classes, *found.shifts[1:])), tmp_path / "drift.html")
    text = path.read_text(encoding="utf-8")
    assert "75 more are in the JSON output" in text
    assert [f"class {number}" in text for number in (99, 75, 74, 0)] == [True, True, False, False]
    assert len(share_bars(many[:MOST_ROWS]).axes[0].patches) == 2 * MOST_ROWS


def test_classes_that_do_not_differ_push_out_none_that_do() -> None:
    still = [Share(f"still {number}", 0.01, 0.01) for number in range(2 * MOST_ROWS)]
    moved = [Share(f"moved {number}", 0.01, 0.02) for number in range(3)]
    shown = _most_changed([*still, *moved])
    assert len(shown) == MOST_ROWS
    assert shown[-3:] == moved
