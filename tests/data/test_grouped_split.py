"""A grouped split: near duplicates on one side, the right size, the shares of the classes, the same every time."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from idx_files import IMAGES, LABELS, TEST_IMAGES, TEST_LABELS, idx, write
from PIL import Image

from commands_and_data import SIDE, tiny_files, write_pictures
from modiste.cli import main
from modiste.data import held_out
from modiste.data.dataset import Development, ImageSet, SplitImages, development_of, load_development, load_split_images
from modiste.data.folds import assign_folds, assign_groups, check_folds, fold_split
from modiste.data.pictures.division import draw_groups
from modiste.data.pictures.listing import Entry
from modiste.data.split import choose_groups, split_indices
from modiste.errors import DataError, RecipeError
from modiste.recipes.recipe import DataRecipe, Recipe
from modiste.runs import run_folder
from modiste.sklearn.estimator import ModisteClassifier
from modiste.training import trainer

GROUPED = DataRecipe(split="grouped")


def labels_and_groups(seed: int, largest: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    """About 900 images of five unequal classes, in groups of which most hold one class."""
    numbers = np.random.RandomState(seed)
    sizes = numbers.randint(1, largest + 1, 260)
    groups = np.repeat(np.arange(260), sizes)
    classes = np.repeat(numbers.choice(5, 260, p=[0.4, 0.3, 0.15, 0.1, 0.05]), sizes)
    mixed = np.where(numbers.random_sample(len(groups)) < 0.1, numbers.randint(0, 5, len(groups)), classes)
    order = numbers.permutation(len(groups))
    return torch.from_numpy(mixed[order]), torch.from_numpy(groups[order])


@pytest.mark.parametrize("fraction", [1 / 6, 0.5, 0.02, 0.97])
@pytest.mark.parametrize("seed", range(5))
def test_no_group_is_on_both_sides_and_size_and_shares_are_right(fraction: float, seed: int) -> None:
    labels, groups = labels_and_groups(seed)
    recipe = replace(GROUPED, validation_fraction=fraction, split_seed=seed)
    train, validation = split_indices(labels, recipe, groups)
    assert not set(groups[train].tolist()) & set(groups[validation].tolist())
    assert torch.cat([train, validation]).sort().values.equal(torch.arange(len(labels)))
    largest = int(groups.bincount().max())
    assert 0 <= round(len(labels) * fraction) - len(validation) < largest
    if fraction < 0.9:  # enough small groups are left to fill it
        assert len(validation) == round(len(labels) * fraction)
    wanted = torch.bincount(labels) * fraction
    assert (torch.bincount(labels[validation], minlength=5) - wanted).abs().max() <= 4
    again, other = (split_indices(labels, replace(recipe, split_seed=number), groups)[1] for number in (seed, 99))
    assert again.equal(validation)
    assert not other.equal(validation)


def test_without_near_duplicates_the_shares_are_those_of_a_stratified_split() -> None:
    labels, _ = labels_and_groups(0)
    stratified, grouped = (
        split_indices(labels, replace(GROUPED, split=split), torch.arange(len(labels)))[1]  # type: ignore[arg-type]
        for split in ("stratified", "grouped")
    )
    assert labels[stratified].bincount().equal(labels[grouped].bincount())


def test_large_groups_are_drawn_as_often_as_small_ones() -> None:
    """Where groups are small beside the shares of the classes, as those of Fashion-MNIST are."""
    labels = torch.arange(1500) % 3
    groups = torch.cat([torch.arange(150) // 6, 25 + torch.arange(150) // 3, torch.arange(75, 1275)])
    hits = torch.zeros(len(labels))
    for seed in range(60):
        hits[split_indices(labels, replace(GROUPED, split_seed=seed), groups)[1]] += 1
    for part in (hits[:150], hits[150:300], hits[300:]):
        assert part.mean() / 60 == pytest.approx(1 / 6, abs=0.02)


def test_groups_too_large_for_a_validation_set_are_refused() -> None:
    with pytest.raises(DataError, match=r"^shop: expected groups of at most 10 near duplicates.*found none .* than 60"):
        split_indices(torch.zeros(60).long(), replace(GROUPED, source="shop"), torch.zeros(60).long())


def test_a_class_of_one_large_group_leaves_its_share_to_others() -> None:
    groups = [["a", "a", "a"], ["b"], ["b"], ["b"]]
    assert choose_groups(groups, {"a": 1, "b": 1}) == [1, 2]


@pytest.fixture
def repeated(tmp_path: Path) -> Path:
    """IDX files in which the first 60 images are there three times, brighter and darker."""
    files, numbers = tiny_files(), np.random.RandomState(0)
    images = np.frombuffer(files[IMAGES], np.uint8, offset=16).reshape(-1, SIDE, SIDE)
    labels = np.frombuffer(files[LABELS], np.uint8, offset=8)
    copies = [images, images[:60] * 0.9, images[:60] * 0.8 + 20]
    order = numbers.permutation(len(images) + 120)
    every = np.concatenate(copies).round().astype(np.uint8), np.concatenate([labels, labels[:60], labels[:60]])
    tests = {name: files[name] for name in (TEST_IMAGES, TEST_LABELS)}
    return write(tmp_path / "repeated", {IMAGES: idx(every[0][order]), LABELS: idx(every[1][order]), **tests})


def shared(known: SplitImages, groups: torch.Tensor) -> int:
    """The number of groups on both sides."""
    return len(set(groups[known.train].tolist()) & set(groups[known.validation].tolist()))


def test_images_of_a_file(repeated: Path) -> None:
    recipe = DataRecipe(source=str(repeated))
    known, usual = load_split_images(replace(recipe, split="grouped")), load_split_images(recipe)
    assert known.groups is not None
    assert int((known.groups.bincount() == 3).sum()) == 60
    assert shared(known, known.groups) == 0 < shared(usual, known.groups)
    assert usual.groups is None
    assert len(known.validation) == 100
    assert known.fingerprint == usual.fingerprint
    loaded: Development = load_development(replace(recipe, split="grouped"))
    assert loaded.validation.images.equal(known.images.images[known.validation])


def test_folds_keep_groups_together(repeated: Path) -> None:
    known = load_split_images(replace(GROUPED, source=str(repeated)))
    assert known.groups is not None
    folds = [fold_split(known, 4, number, seed=0) for number in range(4)]
    for one in folds:
        assert shared(one, known.groups) == 0
        assert abs(len(one.validation) - 150) <= 2
        assert (known.images.labels[one.validation].bincount() - 30).abs().max() <= 2
    assert torch.cat([one.validation for one in folds]).sort().values.equal(torch.arange(600))
    assert fold_split(replace(known, groups=None), 4, 0, seed=0).fingerprint != folds[0].fingerprint
    alone = assign_groups(known.images.labels, torch.arange(600), 4, 0)
    assert alone.bincount().equal(assign_folds(known.images.labels, 4, 0).bincount())


@pytest.mark.parametrize(
    ("groups", "found"),
    [
        ([0, 0, 0, 1, 1, 1], "a fold without images"),
        ([0, 1, 2, 3, 3, 3], "all of coat in one fold"),
        ([0, 1, 2, 0, 1, 2], None),
    ],
)
def test_groups_must_fill_every_fold_and_leave_every_class(groups: list[int], found: str | None) -> None:
    labels = torch.tensor([0, 0, 0, 1, 1, 1]) if found != "a fold without images" else torch.tensor([0, 1] * 3)
    images = ImageSet(torch.zeros(6, 1, 2, 2, dtype=torch.uint8), labels)
    known = SplitImages("x", images, torch.arange(5), torch.arange(5, 6), ("hat", "coat"), "f")
    check_folds(known, 3, seed=0)
    grouped = replace(known, groups=torch.tensor(groups))
    if found is None:
        check_folds(grouped, 3, seed=0)
        assert all(len(fold_split(grouped, 3, number, seed=0).validation) == 2 for number in range(3))
        return
    with pytest.raises(RecipeError, match=rf"^folds: expected groups .* found {found}; .* --data.split stratified$"):
        check_folds(grouped, 3, seed=0)


def test_training_and_the_estimator_take_it(repeated: Path, tiny_recipe: Recipe, tmp_path: Path) -> None:
    data = replace(GROUPED, source=str(repeated))
    out = tmp_path / "run"
    trainer.train(replace(tiny_recipe, epochs=1, data=data), out, device="cpu")
    run = run_folder.open_run(out)
    assert run.measured().labels.equal(load_development(data).validation.labels)
    assert run.recipe.data.split == "grouped"
    images = load_split_images(data).images
    fitted = ModisteClassifier(replace(tiny_recipe, epochs=1, data=GROUPED), device="cpu")
    fitted.fit(images.images.numpy(), images.labels.numpy())


@pytest.fixture
def doubled(tmp_path: Path) -> Path:
    """A folder of pictures of which every one has a smaller, darker copy of another name."""
    numbers, names = np.random.RandomState(0), write_pictures(tmp_path / "shop", {"boot": 24, "cap": 36, "scarf": 18})
    for name in names:
        path, pattern = tmp_path / "shop" / name, numbers.randint(0, 256, (3, 4, 3)).astype(np.uint8)
        smooth = Image.fromarray(pattern).resize((80, 60), Image.Resampling.BICUBIC)
        smooth.save(path)
        smooth.resize((70, 50)).point(lambda value: int(value * 0.9)).save(path.with_stem(f"z-{path.stem}"))
    return tmp_path / "shop"


@pytest.mark.usefixtures("cache")
class TestPictures:
    def recipe(self, source: Path, **changes: object) -> DataRecipe:
        return replace(GROUPED, source=str(source), pictures="whole", side=16, **changes)  # type: ignore[arg-type]

    def sides(self, known: SplitImages) -> tuple[set[str], set[str]]:
        names = [name.replace("z-", "") for name in known.files]
        return {names[index] for index in known.train.tolist()}, {names[index] for index in known.validation.tolist()}

    def test_copies_lie_on_one_side(self, doubled: Path) -> None:
        recipe = self.recipe(doubled, test_fraction=0.0)
        usual, known = load_split_images(replace(recipe, split="stratified")), load_split_images(recipe)
        for found, alike in ((usual, True), (known, False)):
            train, validation = self.sides(found)
            assert bool(train & validation) == alike
        assert len(known.validation) == 26
        assert known.groups is not None
        assert shared(known, known.groups) == 0
        other = load_split_images(replace(recipe, split_seed=1))
        assert self.sides(other) != self.sides(known)

    def test_another_preparation_has_the_same_split(self, doubled: Path) -> None:
        one, other = (
            load_split_images(self.recipe(doubled, colour=True) if colour else self.recipe(doubled))
            for colour in (False, True)
        )
        assert self.sides(one) == self.sides(other)

    def test_test_pictures_stay_those_of_a_stratified_split(self, doubled: Path) -> None:
        recipe = self.recipe(doubled)
        both = recipe, replace(recipe, split="stratified")
        files = [set(held_out.load_held_out_pictures(doubled, one).files) for one in both]
        assert files[0] == files[1]
        assert not files[0] & set(load_split_images(recipe).files)
        assert held_out.load_labelled(doubled, recipe).fingerprint == load_split_images(recipe).fingerprint

    def test_a_picture_that_cannot_be_read_is_left_out(self, doubled: Path) -> None:
        recipe = self.recipe(doubled, test_fraction=0.0)
        (doubled / "boot" / "003.png").write_bytes(b"no picture")
        known = load_split_images(recipe)
        assert len(known.files) == 155
        assert known.groups is not None
        assert shared(known, known.groups) == 0

    def test_a_class_that_is_one_group_is_refused(self, doubled: Path) -> None:
        first = (doubled / "scarf" / "000.png").read_bytes()
        for path in (doubled / "scarf").iterdir():
            path.write_bytes(first)
        with pytest.raises(
            DataError, match=r"too few groups.*none of scarf for validation; train with --data.split str"
        ):
            load_split_images(self.recipe(doubled))

    def test_a_folder_named_validation_is_refused(self, doubled: Path) -> None:
        shutil.move(doubled, doubled.with_name("train"))
        (doubled / "validation").mkdir(parents=True)
        shutil.move(doubled.with_name("train"), doubled / "train")
        shutil.copytree(doubled / "train", doubled / "validation", dirs_exist_ok=True)
        with pytest.raises(RecipeError, match="which names its own validation images, found 'grouped'; omit it"):
            load_split_images(self.recipe(doubled))


def test_arrays_with_validation_images_of_their_own_are_refused() -> None:
    images, labels = np.zeros((60, 8, 8), np.uint8), np.repeat([0, 1], 30)
    parts = {"train": (images, labels), "validation": (images, labels)}
    with pytest.raises(RecipeError, match="which names its own validation images, found 'grouped'; omit it"):
        development_of(parts, GROUPED)


def test_the_command_describes_the_groups(repeated: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main.main(["data", str(repeated), "--split", "grouped"])
    printed = capsys.readouterr().out
    assert "groups of near duplicates: 60, of 180 images together, the largest of 3" in printed
    assert "validation: 100 images, " in printed


def test_pictures_drawn_in_groups_hardly_move_when_others_join() -> None:
    def drawn(count: int, named: Callable[[int], str]) -> set[str]:
        pool = [Entry(named(index), "boot", "") for index in range(count)]
        groups = {entry.name: index // 3 for index, entry in enumerate(pool)}
        return {entry.name for entry in draw_groups(pool, 1 / 6, "key", groups)}

    before, after = drawn(300, "{:04d}".format), drawn(306, "{:04d}".format)
    assert len(before) == 48  # as near to 50 as groups of three allow
    assert len(before - after) <= 4
