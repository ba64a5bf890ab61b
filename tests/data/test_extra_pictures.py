"""Extra pictures: which are opened and learnt, what they count as, what is refused, and where it is said."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from commands_and_data import write_pictures
from modiste.cli import main
from modiste.data.batches import Batches
from modiste.data.dataset import ImageSet, load_development
from modiste.data.extra_pictures import HELD_BACK, ExtraPictures, load_extra
from modiste.data.pictures.class_folders import read_class_folders
from modiste.data.pictures.division import draw
from modiste.errors import DataError, RecipeError
from modiste.evaluation.out_of_distribution import run_detector
from modiste.evaluation.run_images import load_own_development
from modiste.exports.export import export
from modiste.recipes import named
from modiste.recipes.networks import CNNRecipe
from modiste.recipes.recipe import DataRecipe, Recipe
from modiste.reports.report import write_report
from modiste.runs.run_folder import IMAGES, open_run
from modiste.training import trainer

pytestmark = pytest.mark.usefixtures("without_type_checks")
NAMES = ("Boot", "Cap", "Coat")
COUNTS = {"boots": 12, "headwear": 18, "tables": 6}
RULES = ("boots=Boot", "headwear=Cap+Coat")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_pictures(tmp_path / "more", COUNTS)
    return tmp_path / "more"


def data(folder: Path, **changes: object) -> DataRecipe:
    recipe = DataRecipe(pictures="whole", extra=str(folder), extra_classes=RULES)
    return replace(recipe, **changes)  # type: ignore[arg-type]


def load(recipe: DataRecipe, side: int = 28) -> tuple[ExtraPictures, ExtraPictures]:
    extra = load_extra(recipe, NAMES, (1, side, side))
    return extra.train, extra.held_back


def test_each_folder_counts_as_its_classes_and_one_without_a_rule_as_none(folder: Path) -> None:
    train, held_back = load(data(folder))
    rows = torch.cat([train.targets, held_back.targets])
    known, counts = rows.unique(dim=0, return_counts=True)
    found = {tuple(row): count for row, count in zip(known.tolist(), counts.tolist(), strict=True)}
    third = torch.tensor(1 / 3).item()
    assert found == {(1.0, 0.0, 0.0): 12, (0.0, 0.5, 0.5): 18, (third, third, third): 6}
    assert int(train.shows_a_class.sum() + held_back.shows_a_class.sum()) == 30


def test_a_sixth_of_each_kind_is_held_back_the_same_every_time(folder: Path) -> None:
    train, held_back = load(data(folder))
    assert len(held_back) == sum(round(count * HELD_BACK) for count in COUNTS.values())
    again = load(data(folder))
    assert torch.equal(train.images, again[0].images)
    assert not torch.equal(held_back.images, load(data(folder, split_seed=1))[1].images)


def test_a_kinds_only_picture_is_learnt(tmp_path: Path) -> None:
    write_pictures(tmp_path / "few", {"boots": 1, "headwear": 1, "tables": 3})
    train, held_back = load(data(tmp_path / "few"))
    assert (len(train), len(held_back)) == (4, 1)
    assert int(train.shows_a_class.sum()) == 2


def test_without_a_picture_to_learn_from_it_is_refused(tmp_path: Path) -> None:
    """Of each kind one picture is held back, and the other cannot be read."""
    write_pictures(tmp_path / "few", {"boots": 2, "headwear": 2})
    entries = read_class_folders(tmp_path / "few").entries
    back = draw(entries, HELD_BACK, "0:extra")
    assert len(back) == 2
    for entry in entries:
        if entry not in back:
            (tmp_path / "few" / entry.name).write_bytes(b"damaged")
    with pytest.raises(
        DataError, match="few: too few pictures: expected pictures to learn from, found 2, all to be held"
    ):
        load(data(tmp_path / "few"))


def test_of_a_folder_with_splits_only_the_training_part_is_opened(
    folder: Path, tmp_path: Path, opened: list[Path]
) -> None:
    whole = tmp_path / "divided"
    for split in ("train", "validation", "test"):
        shutil.copytree(folder, whole / split)
    train, held_back = load(data(whole))
    assert len(train) + len(held_back) == len(opened) == sum(COUNTS.values())
    assert {path.relative_to(whole).parts[0] for path in opened} == {"train"}


def test_content_and_rules_have_their_own_fingerprint(folder: Path) -> None:
    recipe = data(folder)
    prints = [load_extra(recipe, NAMES, (1, 28, 28)).fingerprint]
    prints.append(load_extra(replace(recipe, extra_classes=RULES[:1]), NAMES, (1, 28, 28)).fingerprint)
    next(iter((folder / "tables").iterdir())).unlink()
    prints.append(load_extra(recipe, NAMES, (1, 28, 28)).fingerprint)
    assert len(set(prints)) == 3


def with_table(folder: Path) -> Path:
    (folder / "own.csv").write_text("path,label\nboots/000.png,Boot\ntables/000.png,Cap\n")
    return folder / "own.csv"


WRONG: dict[str, tuple[Callable[[Path], DataRecipe], type[Exception], str]] = {
    "a folder that is not there": (lambda folder: data(folder / "no"), DataError, "found nothing; check --data.extra"),
    "a set that was not fetched": (lambda _: data(Path("clothing")), DataError, "modiste data fetch clothing"),
    "a rule for another folder": (
        lambda folder: data(folder, extra_classes=("boot=Boot",)),
        RecipeError,
        "'boot' is no folder there; did you mean 'boots'",
    ),
    "a rule with another class": (
        lambda folder: data(folder, extra_classes=("boots=Boots",)),
        RecipeError,
        "'Boots' is no class; did you mean 'Boot'",
    ),
    "two rules for a folder": (
        lambda folder: data(folder, extra_classes=(*RULES, "boots=Coat")),
        RecipeError,
        "expected each folder and its classes once, found 'boots' twice",
    ),
    "a class twice": (lambda folder: data(folder, extra_classes=("boots=Cap+Cap",)), RecipeError, "found 'Cap' twice"),
    "the data set's own folder": (
        lambda folder: data(folder, source=str(folder)),
        RecipeError,
        "expected other pictures than the data set's, found .* its validation and test pictures would be learnt",
    ),
    "a folder that holds the data set's table": (
        lambda folder: data(folder, source=str(with_table(folder))),
        RecipeError,
        "expected other pictures than the data set's",
    ),
    "another size": (lambda folder: data(folder, side=32), RecipeError, r"\(1, 28, 28\), found \(1, 32, 32\)"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_learnt_is_refused_in_one_line(case: str, folder: Path) -> None:
    make, error, message = WRONG[case]
    with pytest.raises(error, match=message) as caught:
        load(make(folder))
    assert "\n" not in str(caught.value)


def test_the_training_part_of_the_data_set_itself_may_be_extra(tmp_path: Path) -> None:
    for part in ("train", "test"):
        write_pictures(tmp_path / "own" / part, COUNTS)
    train, held_back = load(data(tmp_path / "own", source=str(tmp_path / "own")))
    assert len(train) + len(held_back) == sum(COUNTS.values())


def test_a_rule_needs_folder_and_classes_and_extra_needs_a_rule() -> None:
    for rules in (("boots",), ("=Boot",), ("boots=",), ("boots=Boot+",), ()):
        with pytest.raises(RecipeError, match="extra_classes"):
            DataRecipe(extra="folder", extra_classes=rules)


def test_the_asked_share_of_each_batch_is_extra() -> None:
    train = ImageSet(torch.zeros(64, 1, 4, 4, dtype=torch.uint8), torch.zeros(64, dtype=torch.int64))
    extra = ExtraPictures(torch.full((5, 1, 4, 4), 255, dtype=torch.uint8), torch.tensor([[0.0, 0.5, 0.5]] * 5))
    recipe = replace(named.paper(), batch_size=32, label_smoothing=0.1, data=DataRecipe(extra_share=0.25))
    batches = Batches(train, recipe, 3, extra)
    batch = batches.make(next(batches.choose(0)))
    is_extra = batch.images.flatten(1).amax(1) == 1
    assert is_extra.sum() == 8
    assert torch.allclose(batch.targets[is_extra], torch.tensor([0.1 / 3, 0.45 + 0.1 / 3, 0.45 + 0.1 / 3]))
    assert batch.targets[~is_extra].argmax(1).eq(0).all()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with pictures ``own``, extra pictures ``more``, and a run that learnt from both."""
    place = tmp_path_factory.mktemp("extra")
    write_pictures(place / "own", {"Boot": 20, "Cap": 20, "Coat": 20})
    write_pictures(place / "more", COUNTS)
    own = DataRecipe(
        source=str(place / "own"), pictures="whole", side=12, extra=str(place / "more"), extra_classes=RULES
    )
    recipe = Recipe(name="x", epochs=1, batch_size=16, data=own, model=CNNRecipe(filters=(4,), pools=1, hidden=(8,)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(place / "cache"))
        trainer.train(recipe, place / "run", device="cpu")
    return place


def test_run_report_and_card_say_that_it_learnt_with_extra_data(trained: Path, tmp_path: Path) -> None:
    run = open_run(trained / "run")
    own = load_development(replace(run.recipe.data, extra="", extra_classes=()))
    joined = run.load_info().fingerprint
    assert joined.startswith(f"{own.fingerprint}+")
    assert len(joined) == 64 + 1 + 64
    recipe = json.loads((trained / "run" / "recipe.json").read_text(encoding="utf-8"))
    assert recipe["data"]["extra"] == str(trained / "more")
    assert {IMAGES, run_detector.FILE} <= set(run.files)
    shutil.copytree(trained / "run", tmp_path / "run")
    assert "Learnt with extra data" in write_report(tmp_path / "run").read_text(encoding="utf-8")
    card = export(trained / "run", tmp_path / "x.safetensors", to="safetensors").card.read_text(encoding="utf-8")
    assert "Learnt with extra data" in card
    assert "headwear" in card


def test_without_extra_pictures_the_report_is_silent(finished_run: Path, tiny_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(finished_run, tmp_path / "run")
    assert "extra data" not in write_report(tmp_path / "run", data_folder=tiny_folder).read_text(encoding="utf-8")


def test_a_run_cannot_make_others_read_its_extra_folder(trained: Path, opened: list[Path]) -> None:
    development = load_own_development(open_run(trained / "run"), trained / "own")
    assert development.extra is None
    assert opened
    assert all(trained / "more" not in path.parents for path in opened)


def test_training_goes_on_only_with_the_same_extra_pictures(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = open_run(trained / "run").recipe
    (tmp_path / "recipe.json").write_bytes((trained / "run" / "recipe.json").read_bytes())
    with pytest.raises(SystemExit) as caught:
        main.main(["train", str(tmp_path / "recipe.json"), "--out", str(trained / "run"), "--data.extra", "other"])
    assert caught.value.code == 4
    assert f"data.extra: {recipe.data.extra} became other" in capsys.readouterr().err
