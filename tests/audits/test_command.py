"""The command: what it needs at the end it looks for at the beginning."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from idx_files import IMAGES, LABELS, TEST_IMAGES, TEST_LABELS, idx, write

from modiste.audits.audit import _duplicates, audit
from modiste.cli import main
from modiste.data.dataset import ImageSet
from modiste.errors import DataError, MissingExtraError, RecipeError, StoppedError, StorageError
from modiste.recipes import named
from modiste.recipes.recipe import DataRecipe, Recipe, TransferRecipe


@pytest.mark.parametrize("package", ["matplotlib", "jinja2"])
def test_what_the_page_needs_is_looked_for_before_any_training(
    package: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [
        name for name in sys.modules if name.partition(".")[0] == package or name.startswith("modiste.reports")
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr("modiste.audits.audit.audit", lambda *_, **__: pytest.fail("the audit begins"))
    with pytest.raises(SystemExit) as left:
        main.main(["data", "audit"])
    assert left.value.code == MissingExtraError.exit_code
    assert "pip install 'modiste[report]'" in capsys.readouterr().err


def test_a_page_that_cannot_be_written_is_refused_before_any_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("modiste.audits.audit.audit", lambda *_, **__: pytest.fail("the audit begins"))
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as left:
        main.main(["data", "audit", "--out", str(tmp_path / "file" / "audit")])
    assert left.value.code == StorageError.exit_code
    assert "audit: cannot be written (" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "recipe", "data"),
    [
        ([], "sprint", DataRecipe()),
        (["--recipe", "sprint", "--side", "64"], "sprint", DataRecipe(side=64)),
        (["--recipe", "backbone-linear"], "backbone-linear", named.get("backbone-linear").data),
        (
            ["--recipe", "backbone-linear", "--source", "shop", "--test-fraction", "0"],
            "backbone-linear",
            replace(named.get("backbone-linear").data, source="shop", test_fraction=0.0),
        ),
    ],
)
def test_a_recipe_prepares_images_in_its_own_way_unless_a_flag_says_otherwise(
    flags: list[str], recipe: str, data: DataRecipe, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen = list[Recipe]()

    def stop(recipe: Recipe, **_: object) -> None:
        seen.append(recipe)
        raise StoppedError("seen")

    monkeypatch.setattr("modiste.audits.audit.audit", stop)
    with pytest.raises(SystemExit):
        main.main(["data", "audit", *flags, "--out", str(tmp_path)])
    assert [(one.name, one.data) for one in seen] == [(recipe, data)]


def test_weights_of_a_run_are_refused_at_the_start() -> None:
    recipe = Recipe(name="tuned", transfer=TransferRecipe(source=64 * "0"))
    with pytest.raises(RecipeError, match=r"transfer\.source: expected published weights or none in an audit"):
        audit(recipe)


def test_test_images_of_another_size_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = idx(np.arange(40) % 2)
    files = {IMAGES: idx(np.zeros((40, 9, 9))), LABELS: labels, TEST_IMAGES: idx(np.zeros((40, 8, 8)))}
    write(tmp_path / "unlike", {**files, TEST_LABELS: labels})
    words = ["data", "audit", str(tmp_path / "unlike"), "--with-test", "--folds", "0", "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as left:
        main.main(words)
    assert left.value.code == DataError.exit_code
    message = "unlike: test images of another shape: expected (1, 9, 9), as the training images have, found (1, 8, 8);"
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("trained", "compared", "near"),
    [
        ([0, 1, 1, 2, 2, 3], [0, 0, 0, 1, 1, 2], [(0, 1)]),  # the third is an exact copy of the second
        ([0, 1, 2, 3], [0, 0, 1, 0], [(0, 1), (0, 3)]),
        ([0, 1, 1], [0, 1, 0], [(0, 2)]),
        ([0, 0, 1, 1], [0, 0, 1, 1], []),
    ],
)
def test_images_alike_as_compared_and_not_as_trained_are_near_duplicates(
    trained: list[int], compared: list[int], near: list[tuple[int, int]]
) -> None:
    """They were once in neither list: of images alike as compared, only the first looked for others."""
    patterns = torch.from_numpy(np.random.RandomState(0).randint(0, 256, (4, 1, 6, 6)).astype(np.uint8))
    images, thumbnails = (ImageSet(patterns[kinds], torch.zeros(len(kinds)).long()) for kinds in (trained, compared))
    _, found = _duplicates(images, thumbnails)
    assert [tuple(pair) for pair in found] == [(*pair, 1.0) for pair in near]
