"""The record of the two splits: accuracies of the runs, their gap, and a page that says what is shown."""

from dataclasses import replace
from pathlib import Path

import pytest

import split_record
from modiste.recipes.recipe import Recipe
from modiste.runs.run_folder import open_run


def test_the_record(tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path) -> None:
    found = split_record.measure(replace(tiny_recipe, epochs=1), 2, tmp_path, tiny_folder)
    for split in split_record.SPLITS:
        runs = [open_run(tmp_path / split / f"tiny-{seed}") for seed in range(2)]
        assert [run.recipe.data.split for run in runs] == [split, split]
        assert found[split]["validation"] == pytest.approx([run.picked.validation_accuracy for run in runs])
        assert found[split]["test_openings"] == [1, 1]
        means = [sum(found[split][part]) / 2 for part in ("validation", "test")]
        assert found[split]["gap"]["difference"] == pytest.approx(means[0] - means[1])
    gaps = [found[split]["gap"]["difference"] for split in split_record.SPLITS]
    assert found["change"]["difference"] == pytest.approx(gaps[1] - gaps[0])
    again = split_record.measure(replace(tiny_recipe, epochs=1), 2, tmp_path, tiny_folder)
    assert again == found  # nothing is trained or opened twice
    assert found["twins"] == 0
    assert found["stratified"]["validation_without_twins"] == found["stratified"]["validation"]
    machine = dict.fromkeys(("processor", "cores", "threads", "system", "python", "torch", "commit"), "x")
    content = {"command": "x", "recipes": {"tiny": found}, "machine": {**machine, "memory_bytes": 1}}
    page = split_record.as_markdown(content)
    assert page.count("| `tiny` |") == 3
    assert f"{means[0]:.2%} | {means[1]:.2%} | {100 * gaps[1]:+.2f}" in page


@pytest.mark.parametrize(
    ("interval", "words"), [((-0.02, -0.01), "smaller"), ((0.01, 0.02), "larger"), ((-0.01, 0.01), "no difference")]
)
def test_the_verdict(interval: tuple[float, float], words: str) -> None:
    assert split_record.verdict({"interval": interval}).startswith(words)
