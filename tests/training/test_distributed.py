"""One network trained by two real processes: losses as by one, written once, stopped and gone on."""

import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from commands_and_data import PROGRAMS, TORCHRUN, child_environment, run_python, run_script, run_together
from fault_counter import slow_case
from modiste.errors import RecipeError
from modiste.models.layers import BatchShare, Dropout
from modiste.models.registry import MODELS
from modiste.recipes.networks import CNNRecipe, DropConnectRecipe, OwnNetworkRecipe, ResNetRecipe
from modiste.recipes.plain import to_plain
from modiste.recipes.recipe import AugmentationRecipe, OptimizerRecipe, Recipe
from modiste.runs import manifest, run_folder, storage
from modiste.training.distributed import ALONE, Group, check_alone, gathered
from modiste.training.setup import check_group

EVERYTHING = AugmentationRecipe(
    flip=True, shift=1, trivial=0.3, random_ops=1, random_strength=0.3, erase=0.3, mixup=0.4, fmix=1.0
)


def variants(tiny: Recipe) -> dict[str, Recipe]:
    uneven = replace(tiny, epochs=2, batch_size=15)
    return {
        "dropout, every change of the images, an average": replace(
            uneven, augmentation=EVERYTHING, label_smoothing=0.1, ema_decay=0.9
        ),
        "batch normalisation": replace(uneven, model=CNNRecipe(filters=(4, 8), pools=1, hidden=(16,), batch_norm=True)),
        # so slow that a ReLU which rounding tips over, as happens every twenty steps or so, changes little that follows
        "a residual network": replace(
            uneven, model=ResNetRecipe(depth=10), optimizer=OptimizerRecipe(name="sgd", learning_rate=1e-4)
        ),
        "sharpness-aware, an equal average": replace(
            uneven,
            swa_start=0.4,
            model=CNNRecipe(filters=(4, 8), pools=1, hidden=(16,), dropout=0.25, batch_norm=True),
            optimizer=OptimizerRecipe(name="sgd", learning_rate=1e-3, sam_rho=0.05),
        ),
        "dropped weights": replace(uneven, model=DropConnectRecipe(filters=(4,), hidden=8)),
    }


@pytest.mark.slow
def test_every_network_is_trained_by_two_processes_as_by_one(tmp_path: Path) -> None:
    tests = Path(__file__).parents[1]
    done = run_together(2, PROGRAMS / "train_every_network.py", tests, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr
    of_rank = [json.loads((tmp_path / f"found-{rank}.json").read_text(encoding="utf-8")) for rank in range(2)]
    assert [one["threads"] for one in of_rank] == [[], []], "a thread that outlives its group may abort the process"
    found = of_rank[0]["networks"]
    assert {row[0].partition("(")[0] for row in found} == {kind.__name__ for kind in MODELS}
    for name, (alone, its_logits), (together, logits) in found:
        assert together == pytest.approx(alone, abs=1e-3), name
        assert logits == pytest.approx(its_logits, abs=1e-2), name


@pytest.mark.parametrize(
    "name",
    [name if name == "dropped weights" else slow_case(name) for name in variants(Recipe(name="tiny"))],
)
def test_two_processes_have_the_losses_of_one(
    name: str, tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path
) -> None:
    storage.write_json(tmp_path / "recipe.json", to_plain(variants(tiny_recipe)[name]))
    program = PROGRAMS / "train_and_note_losses.py"
    for folder, run in (("one", run_script), ("two", partial(run_together, 2))):
        done = run(program, folder, tiny_folder, cwd=tmp_path, timeout=200)
        assert done.returncode == 0, done.stderr
        assert "Warning" not in done.stderr
    one, two = (json.loads((tmp_path / f"{folder}.losses").read_text(encoding="utf-8")) for folder in ("one", "two"))
    assert len(one) == 54
    exact = 18 if "sharpness" in name else 54  # such steps enlarge what rounding left of those before
    assert two[:exact] == pytest.approx(one[:exact], abs=1e-4)
    assert two == pytest.approx(one, abs=0.02)
    first, second = (run_folder.open_run(tmp_path / folder) for folder in ("one", "two"))
    assert second.history[-1].validation_loss == pytest.approx(first.history[-1].validation_loss, abs=1e-3)
    assert second.history[-1].train_accuracy == pytest.approx(first.history[-1].train_accuracy, abs=0.01)
    assert (first.facts()[-1]["processes"], second.facts()[-1]["processes"]) == (1, 2)


@pytest.mark.slow
def test_the_command_speaks_once_stops_when_asked_and_goes_on(
    tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path
) -> None:
    long = replace(tiny_recipe, epochs=60)
    storage.write_json(tmp_path / "recipe.json", to_plain(long))
    words = ["train", "recipe.json", "--device", "cpu", "--data-folder", tiny_folder]
    command = [*TORCHRUN, 2, "-m", "modiste", *words]
    with subprocess.Popen(
        [sys.executable, *map(str, command), "--out", "stopped"],
        cwd=tmp_path,
        env=child_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        deadline = time.monotonic() + 100
        log = tmp_path / "stopped" / run_folder.LOG
        while not log.exists() or not log.read_text(encoding="utf-8"):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        _, complaint = process.communicate(timeout=60)
    assert complaint.count("stopped on request after step") == 1
    forked = partial(run_together, 2, script_of_command(tmp_path), *words)
    for folder, run in (("stopped", partial(run_python, *command)), ("undisturbed", forked)):
        done = run("--out", folder, cwd=tmp_path, timeout=200)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("validation accuracy") == 1
        assert done.stderr.count("epoch    train loss") == 1
        if folder == "stopped":
            assert "going on after step" in done.stderr
    for name in (run_folder.LOG, run_folder.WEIGHTS["last"]):
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "undisturbed" / name).read_bytes()
    again = forked("--out", "stopped", cwd=tmp_path, timeout=200)
    assert again.stdout.count("validation accuracy") == 1


def script_of_command(folder: Path) -> Path:
    """Return a script that is the real command, for processes that are forked."""
    script = folder / "command.py"
    script.write_text("from modiste.cli.main import main\n\nmain()\n")
    return script


def test_every_process_may_open_the_run_that_the_leader_writes(
    tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path
) -> None:
    storage.write_json(tmp_path / "recipe.json", to_plain(replace(tiny_recipe, epochs=1)))
    done = run_together(2, PROGRAMS / "train_with_slow_leader.py", "run", tiny_folder, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [(tmp_path / f"run.{rank}").read_text(encoding="utf-8") for rank in range(2)] == ["run", "run"]


def test_a_batch_too_small_for_all_is_refused(tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path) -> None:
    storage.write_json(tmp_path / "recipe.json", to_plain(replace(tiny_recipe, batch_size=133)))
    words = ("train", "recipe.json", "--data-folder", tiny_folder)
    done = run_together(2, script_of_command(tmp_path), *words, cwd=tmp_path)
    assert done.returncode != 0
    assert "an image for each of 2 processes, found one of 1 among the 400" in done.stderr


def test_an_error_of_the_leader_alone_ends_every_process_in_one_line(
    tiny_recipe: Recipe, finished_run: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    """The others have folders of their own, in which they find no fault."""
    storage.write_json(tmp_path / "recipe.json", to_plain(replace(tiny_recipe, seed=5)))
    words = ("train", "recipe.json", "--data-folder", tiny_folder, "--out")
    (tmp_path / "in-use").mkdir()
    with storage.lock(tmp_path / "in-use"):
        for folder, message in ((finished_run, "holds a run of another recipe"), ("in-use", "another process")):
            done = run_together(2, script_of_command(tmp_path), *words, folder, cwd=tmp_path)
            assert done.returncode != 0
            assert message in done.stderr
            assert done.stderr.count("\n") == 1, done.stderr


def test_damaged_facts_that_the_leader_alone_reads_end_every_process_in_one_line(
    tiny_recipe: Recipe, finished_run: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(finished_run, tmp_path / "run"))
    (run / manifest.NAME).unlink()
    (run / run_folder.FACTS).write_text("{}")
    words = ("train", run / run_folder.RECIPE, "--data-folder", tiny_folder, "--out", run)
    done = run_together(2, script_of_command(tmp_path), *words, cwd=tmp_path)
    assert "facts.json: damaged" in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr


NO_SPACE = "state: cannot be written (No space left on device); free space on that disk"
FULL = f"""
import os
import sys

from modiste.cli.main import main
from modiste.errors import StorageError
from modiste.runs import checkpoint


def refuse(*_: object) -> None:
    raise StorageError("{NO_SPACE}")


rank, function = sys.argv.pop(1), sys.argv.pop(1)
if os.environ["RANK"] == rank:
    setattr(checkpoint, function, refuse)
main()
"""


@pytest.mark.parametrize(
    ("rank", "function", "named"),
    [(0, "save_state", ""), (1, "save_state", "process 1: "), (1, "save_model", "process 1: ")],
)
def test_a_full_disk_of_one_process_ends_every_process_in_one_line(
    rank: int, function: str, named: str, tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path
) -> None:
    """While it trains, where the others lose their connection; and at the end, when nothing is left to compute."""
    storage.write_json(tmp_path / "recipe.json", to_plain(replace(tiny_recipe, epochs=1)))
    script = tmp_path / "full.py"
    script.write_text(FULL)
    words = ("train", "recipe.json", "--data-folder", tiny_folder, "--quiet")
    done = run_together(2, script, rank, function, *words, cwd=tmp_path)
    assert done.returncode != 0
    assert done.stderr == f"modiste: {named}{NO_SPACE}\n"


def test_a_cross_validation_under_torchrun_is_refused_in_one_line(tiny_folder: Path, tmp_path: Path) -> None:
    words = ("cross-validate", "sprint", "--data-folder", tiny_folder)
    done = run_together(2, script_of_command(tmp_path), *words, cwd=tmp_path)
    assert done.stderr == "modiste: a cross-validation is for one process; found 2 under torchrun\n"
    assert not (tmp_path / "runs").exists()


MEET_TWICE = """
from modiste.training.distributed import gathered

for _ in range(2):
    with gathered() as group:
        group.meet()
"""


def test_processes_may_train_together_twice(tmp_path: Path) -> None:
    script = tmp_path / "meet.py"
    script.write_text(MEET_TWICE)
    done = run_together(2, script, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_single_process_of_torchrun_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "test")
    monkeypatch.setenv("WORLD_SIZE", "1")
    check_alone("continuing a run")
    with gathered() as group:
        assert group is ALONE


def test_a_network_of_ones_own_is_for_one_process() -> None:
    """Its batch normalisation and dropout would see a share of each batch alone."""
    recipe = Recipe(name="x", model=OwnNetworkRecipe(code=f"a:b@{16 * '0'}"))
    check_group(recipe, ALONE)
    with pytest.raises(RecipeError, match="a network of your own is for one process; found 2 under torchrun"):
        check_group(recipe, Group(rank=0, size=2))


@pytest.mark.parametrize("images", [2, 7, 64])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_parts_are_a_division_whose_weighted_means_give_the_mean(images: int, size: int) -> None:
    losses = torch.rand(images)
    groups = [Group(rank, size) for rank in range(size)]
    parts = [group.part(images) for group in groups]
    assert [place for part in parts for place in range(part.first, part.last)] == list(range(images))
    means = [
        group.weighted(losses[part.first : part.last].mean(), part)
        for group, part in zip(groups, parts, strict=True)
        if len(part)
    ]
    assert sum(means) / size == pytest.approx(losses.mean().item())


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_dropout_of_parts_is_that_of_the_whole(layout: torch.memory_format) -> None:
    images = torch.rand(7, 3, 4, 5).contiguous(memory_format=layout)
    layer = Dropout(0.5)

    def dropped(part: BatchShare | None) -> torch.Tensor:
        layer.generator, layer.part = torch.Generator().manual_seed(3), part
        result: torch.Tensor = layer(images if part is None else images[part.first : part.last])
        return result

    whole = dropped(None)
    assert torch.equal(torch.cat([dropped(BatchShare(0, 3, 7)), dropped(BatchShare(3, 7, 7))]), whole)


def test_by_itself_a_process_is_a_group_that_says_nothing() -> None:
    assert ALONE.is_alone
    assert ALONE.sums(1.5, 2.0) == [1.5, 2.0]
    assert ALONE.of_leader(lambda: "x") == "x"
    assert ALONE.any(True)
