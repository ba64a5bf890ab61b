"""Compares a run that was interrupted with one that was not: all results must be the same byte for byte."""

from pathlib import Path

from modiste.recipes.networks import CNNRecipe
from modiste.recipes.recipe import AugmentationRecipe, DataRecipe, Recipe, ScheduleRecipe
from modiste.runs import run_folder

DAY = {"facts.json", "timing.jsonl", "manifest.json"}
"""Files that tell of the machine and the time, and the hashes of those."""


def results(run: Path) -> dict[str, bytes]:
    """Every file of a finished run that must not depend on what happened on the way."""
    files = (path for path in run.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {str(path.relative_to(run)): path.read_bytes() for path in files if path.name not in DAY}


def assert_same(run: Path, undisturbed: Path) -> None:
    found, expected = results(run), results(undisturbed)
    assert found.keys() == expected.keys()
    assert {"model.safetensors", "last.safetensors", "log.jsonl", "validation-logits.safetensors"} <= found.keys()
    assert any(name.startswith("checkpoints/step-") for name in found)
    assert [name for name in found if found[name] != expected[name]] == []
    assert not list(run.rglob(".*.part"))
    run_folder.open_run(run)


LONG = Recipe(
    name="long",
    epochs=6,
    batch_size=8,
    standardize=True,
    ema_decay=0.9,
    label_smoothing=0.1,
    data=DataRecipe(source="tiny"),
    model=CNNRecipe(filters=(6, 8), pools=1, hidden=(16,), dropout=0.3, batch_norm=True),
    augmentation=AugmentationRecipe(flip=True, shift=1),
    schedule=ScheduleRecipe(shape="one-cycle", warm_up=0.3),
)


def words_for(recipe_file: Path, data: Path, out: Path) -> list[str]:
    return ["train", str(recipe_file), "--out", str(out), "--data-folder", str(data), "--device", "cpu", "--quiet"]


def newest_step(run: Path) -> int:
    states = sorted((run / "checkpoints").glob("step-*.safetensors"))
    return int(states[-1].name[5:13]) if states else 0
