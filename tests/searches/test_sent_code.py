"""A search with code that is not Modiste's: workers import it by name, and what they could not is refused at once."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch import nn

import code_of_others as others
import modiste
from commands_and_data import run_modiste
from modiste.data import sources
from modiste.errors import RecipeError, RunError
from modiste.recipes import own_code
from modiste.recipes.plain import to_plain
from modiste.recipes.recipe import Recipe
from modiste.runs import run_folder, storage
from modiste.searches.sent_code import NO_CODE, SentCode, sent_code
from modiste.training.tracking import Listener, trackers

SPACE = "epochs=choice(1,2)"


@pytest.fixture
def stripes() -> Iterator[None]:
    sources.add(others.Stripes())
    yield
    sources.remove("stripes")


def losses(run: run_folder.Run) -> list[float]:
    return [loss for row in run.history for loss in (row.train_loss, row.validation_loss)]


@pytest.mark.slow
@pytest.mark.usefixtures("stripes")
def test_workers_import_network_loss_augmentation_and_source(
    tiny_recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = modiste.search(
        tiny_recipe.with_(data__source="any.stripes"),
        SPACE,
        tmp_path / "s",
        trials=2,
        sampler="grid",
        workers=1,
        network=others.Net,
        loss=others.focal,
        augmentation=others.noisy,
        device="cpu",
        track="tensorboard",
        seed=4,
    )
    assert [trial.state for trial in found.trials] == ["complete", "complete"], found
    rows = capsys.readouterr().out.splitlines()
    assert [row.split()[:4] for row in rows[1:]] == [["1", "of", "2", "0"], ["2", "of", "2", "1"]]
    assert list((tmp_path / "s").glob("trials/*/tensorboard/events*"))
    trial = run_folder.open_run(tmp_path / "s/trials/0001")
    assert (trial.recipe.own_code["network"], trial.recipe.seed) == ("code_of_others:Net", 4)
    alone = modiste.train(trial.recipe, tmp_path / "alone", device="cpu", quiet=True)
    assert losses(alone) == pytest.approx(losses(trial), rel=1e-2)  # the worker has another number of threads


@pytest.mark.slow
def test_the_command_names_the_code_and_says_how_to_train_the_best(
    tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "user_code.py").write_text(Path(others.__file__).read_text(encoding="utf-8"), encoding="utf-8")
    storage.write_json(tmp_path / "tiny.json", to_plain(tiny_recipe))
    named = ["--network", "user_code:Net", "--loss", "user_code:focal", "--augment", "user_code:noisy"]
    words = ["search", "tiny.json", SPACE, "--sampler", "grid", "--trials", 1, "--workers", 1, *named]
    done = run_modiste(*words, "--data-folder", tiny_folder, "--device", "cpu", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    best = "runs/search-tiny-net/best.json"
    assert f"next: modiste train {best} {' '.join(named)}\n" in done.stdout
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(own_code, "_registered", {})
    with pytest.raises(RunError, match="files never import code; name it: --network MODULE:NAME"):
        modiste.search(best, SPACE)
    code = {"network": "user_code:Net", "loss": "user_code:focal", "augmentation": "user_code:noisy"}
    run = modiste.train(best, "best", device="cpu", data_folder=tiny_folder, quiet=True, **code)  # type: ignore[arg-type]
    trial = run_folder.open_run("runs/search-tiny-net/trials/0000")
    assert run.recipe == trial.recipe
    assert losses(run) == pytest.approx(losses(trial), rel=1e-2)


class TestRefused:
    """In one line, before any trial."""

    @pytest.fixture
    def refused(self, tiny_recipe: Recipe, tmp_path: Path) -> Any:
        def check(message: str, **code: Any) -> None:
            with pytest.raises(RecipeError, match=message) as caught:
                modiste.search(tiny_recipe, SPACE, tmp_path / "s", quiet=True, **code)
            assert "\n" not in str(caught.value)
            assert not (tmp_path / "s" / "trials").exists()

        return check

    def test_a_class_of_a_notebook_or_a_script(self, refused: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(others.Lazy, "__module__", "__main__")
        message = "^network __main__:Lazy: cannot be imported by the workers of a search; put it .*my_code:Lazy$"
        refused(message, network=others.Lazy)

    def test_a_class_within_a_function(self, refused: Any) -> None:
        class Inner(others.Lazy):
            pass

        refused("^network .*<locals>.Inner: cannot be imported by the workers", network=Inner)

    def test_a_network_that_has_been_built(self, refused: Any) -> None:
        built = nn.Sequential(nn.Flatten(), nn.Linear(144, 5))
        refused("^network: expected a class or a function, .* found a Sequential that has been built", network=built)

    def test_a_name_that_leads_elsewhere(self, refused: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(others, "focal", others.weighted_squares)
        monkeypatch.setattr(others.loss_fails, "__qualname__", "focal")
        refused("^loss code_of_others:focal: that name leads to other code now", loss=others.loss_fails)

    def test_a_tracker_of_this_process(self, refused: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        refused("^track: trials run in other processes, which do not know Listener; offer it", track=Listener())
        monkeypatch.setitem(trackers.TRACKERS, "ours", lambda _folder, _recipe: Listener())
        refused("^track: trials run in other processes, which do not know ours", track="ours")

    def test_a_source_that_needs_arguments(self, refused: Any) -> None:
        sources.add(others.NeedsWords(".words"))
        try:
            refused("^code_of_others:NeedsWords: cannot be made without arguments", data__source="x.words")
        finally:
            sources.remove("words")


def test_nothing_is_sent_for_a_recipe_of_modiste(tiny_recipe: Recipe, tiny_folder: Path) -> None:
    assert sent_code(tiny_recipe, tiny_folder) == NO_CODE
    elsewhere = replace(tiny_recipe, data=replace(tiny_recipe.data, source="/on/another/machine"))
    assert sent_code(elsewhere) == NO_CODE


def test_a_worker_without_the_module_says_so() -> None:
    with pytest.raises(RecipeError, match=r"^elsewhere:Net: the module elsewhere cannot be imported"):
        SentCode(("elsewhere:Net",)).load()


def test_loading_twice_adds_a_source_once() -> None:
    sent = SentCode(source="code_of_others:Stripes")
    sent.load()
    try:
        sent.load()
        assert sources.added("stripes") is not None
    finally:
        sources.remove("stripes")
