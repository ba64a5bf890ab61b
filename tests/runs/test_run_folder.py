"""The manifest of a finished run: any change to any file is noticed and named."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from commands_and_data import damaged
from fault_counter import Faults
from modiste.errors import RunError
from modiste.evaluation.assessment import assess_stored
from modiste.recipes.recipe import Recipe
from modiste.reports.report import describe_timing
from modiste.runs import checkpoint, manifest, run_folder, storage
from modiste.runs.run_folder import EpochRow
from modiste.training import setup

LISTED = {
    "recipe.json",
    "log.jsonl",
    "timing.jsonl",
    "facts.json",
    "model.safetensors",
    "last.safetensors",
    "validation-logits.safetensors",
}


def files_of(run: Path) -> list[Path]:
    return sorted(path for path in run.rglob("*") if path.is_file() and path.name != storage.LOCK_NAME)


def test_a_finished_run_is_complete(run: Path, tiny_recipe: Recipe) -> None:
    opened = run_folder.open_run(run)
    assert opened.recipe == tiny_recipe
    assert [row.epoch for row in opened.history] == [1, 2, 3]
    assert [row.step for row in opened.history] == [25, 50, 75]
    assert opened.test_openings == 0
    assert opened.facts()[0]["modiste"]
    assert [line["epoch"] for line in opened.timing()] == [1, 2, 3]
    names = {str(path.relative_to(run)) for path in files_of(run)}
    assert {name for name in names if not name.startswith("checkpoints/")} == LISTED | {"manifest.json"}
    assert len([name for name in names if name.startswith("checkpoints/")]) == 1
    assert all(run_folder.is_listed(opened, name) for name in names - {"manifest.json"})


def test_what_others_put_into_the_folder_is_no_part_of_the_run(run: Path) -> None:
    (run / "manifest.json").unlink()
    (run / "train.log").write_text("epoch 1")
    (run / "notes").symlink_to(run.parent)
    (run / ".ipynb_checkpoints").mkdir()
    (run / ".ipynb_checkpoints" / "log.jsonl").write_text("")
    for name in ("snapshot-1.safetensors", "images.safetensors", "novelty.safetensors", "snapshot-1.png"):
        (run / name).write_bytes(b"x")
    run_folder.write_manifest(run)
    (run / "train.log").write_text("epoch 1, epoch 2")
    shutil.rmtree(run / ".ipynb_checkpoints")
    listed = {name for name in run_folder.open_run(run).files if not name.startswith("checkpoints/")}
    assert listed == LISTED | {"snapshot-1.safetensors", "images.safetensors", "novelty.safetensors"}


def test_a_run_that_never_began_is_cleared_with_its_recipe_last(
    tiny_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed = list[str]()
    assert setup.claim(tmp_path, tiny_recipe)
    monkeypatch.setattr(storage, "remove", lambda path: removed.append(path.name))
    run_folder.clear(tmp_path)
    assert removed[-1] == run_folder.RECIPE
    assert set(removed) == set(run_folder.BEFORE_TRAINING)


def test_a_recipe_that_a_person_wrote_is_not_replaced(tiny_recipe: Recipe, tmp_path: Path) -> None:
    own, written = tmp_path / "own", tmp_path / "written"
    own.mkdir()
    (own / "recipe.json").write_text('{"name": "mine"}')
    with pytest.raises(RunError, match="holds a run of another recipe"):
        setup.claim(own, tiny_recipe)
    assert (own / "recipe.json").read_text(encoding="utf-8") == '{"name": "mine"}'
    written.mkdir()
    assert setup.claim(written, tiny_recipe)
    assert setup.claim(written, tiny_recipe.with_(seed=5))


def test_the_stored_model_gives_the_stored_logits(run: Path) -> None:
    """Logits, log and weights of a run are of one piece."""
    opened = run_folder.open_run(run)
    logits, labels = run_folder.read_logits(run / run_folder.logits_name("validation"))
    assert (logits.argmax(1) == labels).double().mean().item() == opened.picked.validation_accuracy
    loss = torch.nn.functional.cross_entropy(logits.double(), labels).item()
    assert loss == pytest.approx(opened.picked.validation_loss, rel=1e-12)
    assert opened.load_model("picked")[1].epoch == opened.picked.epoch
    assert opened.load_model("last")[1].epoch == 3


def test_any_flipped_bit_or_cut_in_any_file_is_noticed_and_named(run: Path, faults: Faults) -> None:
    draw, files = random.Random(28), files_of(run)
    sizes = [path.stat().st_size for path in files]
    for number in faults("saving: a bit flipped or a cut in a finished run", few=400, many=8_000):
        path = draw.choices(files, sizes)[0] if number % 2 else draw.choice(files)  # by size, and none left out
        sound = path.read_bytes()
        path.write_bytes(damaged(sound, draw))
        with pytest.raises(RunError) as caught:
            run_folder.open_run(run)
        assert str(caught.value).startswith(f"{path}: damaged"), path.name
        path.write_bytes(sound)
    run_folder.open_run(run)


def test_any_missing_file_is_named(run: Path) -> None:
    for path in files_of(run):
        content = path.read_bytes()
        path.unlink()
        with pytest.raises(RunError) as caught:
            run_folder.open_run(run)
        expected = {
            "manifest.json": "this run has not finished; repeat its `modiste train` command",
            "recipe.json": "no run here, recipe.json is missing",
        }.get(path.name, f"{path}: missing, though the run's manifest lists it")
        assert expected in str(caught.value)
        path.write_bytes(content)


def test_any_cut_file_is_named(run: Path) -> None:
    for path in files_of(run):
        content = path.read_bytes()
        path.write_bytes(content[:-1])
        with pytest.raises(RunError, match="damaged") as caught:
            run_folder.open_run(run)
        assert str(path) in str(caught.value)
        path.write_bytes(content)


def test_what_is_no_run_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path, tmp_path / "none", tmp_path / "file"):
        with pytest.raises(RunError, match=r"no run here.*expected a folder that `modiste train` made"):
            run_folder.open_run(place)


def test_files_added_later_are_watched_too(run: Path) -> None:
    opened = run_folder.open_run(run)
    assert not run_folder.is_listed(opened, "test-logits.safetensors")
    run_folder.keep(opened, {"test-logits.safetensors": b"logits"}, openings=4)
    assert run_folder.open_run(run).test_openings == 4
    (run / "test-logits.safetensors").unlink()
    with pytest.raises(RunError, match=r"test-logits\.safetensors: missing"):
        run_folder.open_run(run)


class TestKeep:
    def test_nothing_that_others_have_entered_meanwhile_is_lost(self, run: Path) -> None:
        early = run_folder.open_run(run)
        run_folder.keep(early, {"test-logits.safetensors": b"1"}, openings=1)
        late = run_folder.keep(early, {"novelty.safetensors": b"2"})
        found = run_folder.open_run(run)
        assert found.test_openings == late.test_openings == 1
        assert {"test-logits.safetensors", "novelty.safetensors"} <= set(found.files) == set(late.files)

    def test_a_file_that_another_command_is_writing_stays(self, run: Path) -> None:
        """A report is written into the folder without the lock."""
        with storage.new_content(run / "report.html") as file:
            file.write(b"page")
            run_folder.keep(run_folder.open_run(run), {"a": b""})
        assert (run / "report.html").read_bytes() == b"page"

    def test_others_wait_for_the_lock(self, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(run_folder, "PATIENCE_SECONDS", 0.05)
        with storage.lock(run), pytest.raises(run_folder.storage.FolderInUseError):
            run_folder.keep(run_folder.open_run(run), {"a": b""}, openings=1)
        assert run_folder.open_run(run).test_openings == 0

    @pytest.mark.parametrize(
        "name", ["model.safetensors", "recipe.json", "manifest.json", ".lock", "images.safetensors"]
    )
    def test_what_a_run_consists_of_is_not_replaced(self, name: str, run: Path) -> None:
        with pytest.raises(RunError, match="is part of the run and is not replaced"):
            run_folder.keep(run_folder.open_run(run), {name: b"other"})
        run_folder.open_run(run)

    def test_another_run_in_the_same_place_is_left_alone(self, run: Path) -> None:
        early = run_folder.open_run(run)
        (run / "timing.jsonl").write_text("")
        (run / "manifest.json").unlink()
        run_folder.write_manifest(run)
        with pytest.raises(RunError, match="holds another run than when this command began"):
            run_folder.keep(early, {}, openings=1)
        assert run_folder.open_run(run).test_openings == 0

    def test_a_reader_that_meets_a_writer_looks_again(self, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        early = run_folder.keep(run_folder.open_run(run), {"model.onnx": b"old"})
        verify, waiting = manifest.verify, [True]

        def with_a_writer(folder: Path, name: str, digest: str) -> Path:
            if waiting and name == "model.onnx":
                waiting.clear()
                run_folder.keep(early, {"model.onnx": b"new"})
            return verify(folder, name, digest)

        monkeypatch.setattr(manifest, "verify", with_a_writer)
        assert run_folder.open_run(run).files["model.onnx"] == storage.sha256(run / "model.onnx")


def resealed(run: Path, name: str, content: str | bytes) -> None:
    """Replace a file and let the manifest vouch for it, as who means harm can."""
    (run / name).write_bytes(content.encode() if isinstance(content, str) else content)
    files, openings = manifest.read(run)
    manifest.write(run, {**files, name: storage.sha256(run / name)}, openings)


def logits_of(logits: torch.Tensor, labels: torch.Tensor, **plain: Any) -> bytes:
    return checkpoint.to_bytes({"logits": logits, "labels": labels}, {"epoch": 1, **plain})


COUNT, SOME, LABELS = 80, torch.zeros(80, 5), torch.zeros(80, dtype=torch.long)
ODD_LOGITS: dict[str, bytes] = {
    "of other classes": logits_of(torch.zeros(COUNT, 7), LABELS),
    "of a single class": logits_of(torch.zeros(COUNT, 1), LABELS),
    "of no class": logits_of(torch.zeros(COUNT, 0), LABELS),
    "of no image": logits_of(torch.zeros(0, 5), LABELS[:0]),
    "of one dimension": logits_of(torch.zeros(COUNT), LABELS),
    "of three dimensions": logits_of(torch.zeros(COUNT, 5, 1), LABELS),
    "whole numbers": logits_of(SOME.long(), LABELS),
    "half as precise": logits_of(SOME.half(), LABELS),
    "truth values": logits_of(SOME.bool(), LABELS),
    "not numbers": logits_of(SOME + float("nan"), LABELS),
    "infinite": logits_of(SOME + float("inf"), LABELS),
    "with fewer labels": logits_of(SOME, LABELS[1:]),
    "with labels of two dimensions": logits_of(SOME, LABELS[:, None]),
    "with broken labels": logits_of(SOME, LABELS.float()),
    "with labels below": logits_of(SOME, LABELS - 1),
    "with labels above": logits_of(SOME, LABELS + 5),
    "of a number of images": logits_of(SOME, LABELS, images=5),
}


@pytest.mark.parametrize("name", ODD_LOGITS)
def test_odd_logits_are_refused_in_a_line(name: str, run: Path) -> None:
    resealed(run, "validation-logits.safetensors", ODD_LOGITS[name])
    with pytest.raises(RunError, match=r"validation-logits\.safetensors: damaged") as caught:
        assess_stored(run_folder.open_run(run))
    assert "\n" not in str(caught.value)


def change(run: Path, name: str, turn: Callable[[dict[str, Any]], Any]) -> None:
    """Rewrite the only start in the facts, or every line of a log."""
    if name == "facts.json":
        start = run_folder.open_run(run).facts()[0]
        storage.write_hashed_json(run / name, {"starts": [turn(start)]})
        resealed(run, name, (run / name).read_bytes())
    else:
        rows = [turn(json.loads(line)) for line in (run / name).read_text(encoding="utf-8").splitlines()]
        resealed(run, name, "".join(json.dumps(row) + "\n" for row in rows))


ODD_VALUES = ["x", None, [], {}, True, -1, float("nan"), float("inf"), 10**400]


@pytest.mark.parametrize("value", ODD_VALUES, ids=lambda value: repr(value)[:8])
@pytest.mark.parametrize("field", ["epoch", "seconds", "train_seconds", "images_per_second", "peak_memory_bytes"])
def test_odd_times_are_refused_in_a_line(field: str, value: object, run: Path) -> None:
    change(run, "timing.jsonl", lambda row: {**row, field: value})
    with pytest.raises(RunError, match=r"timing\.jsonl: damaged, expected seconds, "):
        run_folder.open_run(run).timing()


def test_times_that_were_lost_are_said_to_be(run: Path) -> None:
    """As where a person deletes the file of a run that has not finished, and goes on."""
    resealed(run, "timing.jsonl", "")
    assert describe_timing(run_folder.open_run(run).timing()) == {"whole training": "not recorded"}
    change(run, "timing.jsonl", lambda row: row)


@pytest.mark.parametrize("value", ODD_VALUES, ids=lambda value: repr(value)[:8])
@pytest.mark.parametrize("field", ["cores", "memory_bytes", "disk_bytes"])
def test_odd_facts_are_refused_in_a_line(field: str, value: object, run: Path) -> None:
    change(run, "facts.json", lambda start: {**start, field: value})
    with pytest.raises(RunError, match=r"facts\.json: damaged, expected processor, "):
        run_folder.open_run(run).facts()


@pytest.mark.parametrize("starts", [[], [{}], [{"processor": {}}], [[]], ["x"], None])
def test_facts_of_no_machine_are_refused_in_a_line(starts: object, run: Path) -> None:
    storage.write_hashed_json(run / "facts.json", {"starts": starts})
    resealed(run, "facts.json", (run / "facts.json").read_bytes())
    with pytest.raises(RunError, match=r"facts\.json: damaged"):
        run_folder.open_run(run).facts()


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize("value", [*ODD_VALUES[:5], *ODD_VALUES[6:]], ids=lambda value: repr(value)[:8])
@pytest.mark.parametrize("field", ["epoch", "train_loss"])
def test_an_odd_log_is_refused_in_a_line(field: str, value: object, run: Path) -> None:
    change(run, "log.jsonl", lambda row: {**row, field: value})
    with pytest.raises(RunError, match=rf"log\.jsonl: damaged; {field}: expected"):
        run_folder.open_run(run)


@pytest.mark.parametrize("name", ["manifest.json", "log.jsonl", "timing.jsonl", "recipe.json", "facts.json"])
def test_a_text_that_is_too_large_is_refused(name: str, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = run_folder.open_run(run)
    readers: dict[str, Callable[[], Any]] = {"timing.jsonl": opened.timing, "facts.json": opened.facts}
    least = max((run / other).stat().st_size for other in ("manifest.json", name))
    with (run / name).open("ab") as file:
        file.truncate(least + 1)
    monkeypatch.setattr(storage, "MOST_BYTES", least)
    if name != "manifest.json":
        resealed(run, name, (run / name).read_bytes())
    with pytest.raises(RunError, match=f"{name}: damaged"):
        readers.get(name, lambda: run_folder.open_run(run))()


@pytest.mark.parametrize("name", ["checkpoints", "recipe.json", "timing.jsonl", "tensorboard"])
def test_training_follows_no_link_out_of_its_folder(name: str, run: Path, tmp_path: Path, tiny_recipe: Recipe) -> None:
    """A folder that somebody hands over to be gone on with may hold one."""
    (run / "manifest.json").unlink()
    outside = tmp_path / "outside"
    if (run / name).exists():
        (run / name).rename(outside)
    else:
        outside.mkdir()
    (run / name).symlink_to(outside)
    with pytest.raises(RunError, match=f"{name}: leads out of the run's folder"):
        setup.claim(run, tiny_recipe)


@pytest.mark.parametrize(("pick", "epoch"), [("best-accuracy", 2), ("best-loss", 3), ("last", 4)])
def test_pick_rules_and_the_earliest_among_equals(pick: str, epoch: int, tiny_recipe: Recipe) -> None:
    accuracies, losses = [0.5, 0.9, 0.9, 0.8], [0.9, 0.5, 0.4, 0.4]
    rows = [
        EpochRow(
            epoch=number,
            step=number,
            learning_rate=0.1,
            train_loss=0.1,
            train_accuracy=0.1,
            validation_loss=loss,
            validation_accuracy=accuracy,
        )
        for number, (accuracy, loss) in enumerate(zip(accuracies, losses, strict=True), start=1)
    ]
    recipe = Recipe(name="x", pick=pick)  # type: ignore[arg-type]
    assert run_folder.picked(rows, recipe).epoch == epoch


def test_lines_there_and_back(tmp_path: Path) -> None:
    rows = [{"epoch": 1, "loss": 0.1 + 0.2}, {"epoch": 2, "loss": 1e-300}]
    run_folder.write_lines(tmp_path / "l.jsonl", rows)
    assert run_folder.read_lines(tmp_path / "l.jsonl") == rows
    (tmp_path / "l.jsonl").write_text('{"epoch": 1}\n{"epo')
    with pytest.raises(RunError, match=r"l\.jsonl: cannot be read as one JSON value per line"):
        run_folder.read_lines(tmp_path / "l.jsonl")
