"""A person's own pictures: which are found, how they are divided, what is refused; the test share stays unopened."""

import contextlib
import csv
import dataclasses
import hashlib
import importlib
import json
import os
import pkgutil
import shutil
import socket
import struct
import sys
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from commands_and_data import write_pictures
from modiste import cli
from modiste.cli import main
from modiste.data import held_out
from modiste.data.dataset import load_development
from modiste.data.pictures import picture_source
from modiste.data.pictures.division import divide
from modiste.data.pictures.listing import NOT_FIRST, SPLITS
from modiste.data.pictures.picture_source import list_pictures, load_development_pictures
from modiste.errors import DataError, RecipeError
from modiste.recipes.recipe import DataRecipe

pytestmark = pytest.mark.usefixtures("without_type_checks", "cache")
COUNTS = {"boot": 12, "cap": 18, "scarf": 6}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_pictures(tmp_path / "own", COUNTS)
    return tmp_path / "own"


def whole(source: Path, **changes: object) -> DataRecipe:
    return replace(DataRecipe(source=str(source), pictures="whole"), **changes)  # type: ignore[arg-type]


def write_table(path: Path, rows: list[tuple[str, ...]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


class TestWhatIsRead:
    def test_class_folders_become_images_of_classes(self, folder: Path) -> None:
        development = load_development(whole(folder, colour=True))
        assert development.name == "own"
        assert development.class_names == ("boot", "cap", "scarf")
        assert development.image_shape == (3, 28, 28)
        assert development.train.labels.bincount().tolist() == [8, 13, 4]
        assert development.validation.labels.bincount().tolist() == [2, 2, 1]
        assert held_out.load_test(whole(folder, colour=True)).labels.bincount().tolist() == [2, 3, 1]

    @pytest.mark.parametrize("side", [8, 28, 32, 64])
    @pytest.mark.parametrize(("way", "colour"), [("whole", False), ("stretched", True), ("stretched", False)])
    def test_size_and_colour_are_fields(self, folder: Path, side: int, way: str, colour: bool) -> None:
        development = load_development(whole(folder, side=side, colour=colour, pictures=way))
        assert development.image_shape == (3 if colour else 1, side, side)

    def test_a_garment_alone_is_grey(self) -> None:
        with pytest.raises(RecipeError, match="pictures: expected whole or stretched with colour, found 'garment'"):
            DataRecipe(colour=True)

    def test_pictures_lie_anywhere_below_their_class(self, folder: Path) -> None:
        (folder / "cap" / "summer" / "straw").mkdir(parents=True)
        shutil.move(folder / "cap" / "000.png", folder / "cap" / "summer" / "straw" / "0.PNG")
        known = list_pictures(folder)
        (entry,) = [entry for entry in known.entries if entry.name == "cap/summer/straw/0.PNG"]
        assert entry.class_name == "cap"
        assert len(known.entries) == sum(COUNTS.values())

    def test_a_picture_has_the_same_name_on_every_system(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The random draw and the fingerprint depend on it."""
        (folder / "cap" / "summer").mkdir()
        shutil.move(folder / "cap" / "000.png", folder / "cap" / "summer" / "000.png")
        expected, relative = list_pictures(folder), os.path.relpath
        monkeypatch.setattr(os, "sep", "\\")
        monkeypatch.setattr(os.path, "relpath", lambda *paths: relative(*paths).replace("/", "\\"))
        assert list_pictures(folder) == expected
        (folder / "cap" / "winter").mkdir()
        shutil.move(folder / "cap" / "001.png", folder / "cap" / "winter" / "001.png")
        shutil.rmtree(folder / "boot")
        for path in (folder / "cap").glob("*.png"):
            path.unlink()
        shutil.rmtree(folder / "scarf")
        shutil.copytree(folder / "cap", folder / "scarf")
        with pytest.raises(DataError, match=r"folders that may be classes or splits.* found summer, winter in"):
            list_pictures(folder)

    def test_parts_that_are_named_are_taken(self, tmp_path: Path) -> None:
        for part, count in (("train", 6), ("val", 3), ("test", 4)):
            write_pictures(tmp_path / "parts" / part, {"a": count, "b": count}, seed=count)
        development = load_development(whole(tmp_path / "parts"))
        assert (len(development.train), len(development.validation)) == (12, 6)
        assert len(held_out.load_test(whole(tmp_path / "parts"))) == 8
        shutil.rmtree(tmp_path / "parts" / "val")
        development = load_development(whole(tmp_path / "parts"))
        assert (len(development.train), len(development.validation)) == (10, 2)
        shutil.rmtree(tmp_path / "parts" / "test")
        development = load_development(whole(tmp_path / "parts"))
        assert (len(development.train), len(development.validation)) == (8, 2)
        assert len(held_out.load_test(whole(tmp_path / "parts"))) == 2

    @pytest.mark.parametrize(
        ("train", "validation", "test"),
        [
            ("Train", "Val", "Test"),
            ("Training", "Valid", "Testing"),
            ("TRAIN", "VALIDATION", "TEST"),
            ("seg_train", "seg_dev", "seg_test"),
            ("train_images", "val_images", "test_images"),
            ("TrainImages", "EvalImages", "TestImages"),
            ("train2017", "val2017", "test2017"),
            ("trainset", "devset", "testset"),
            ("letters_train", "letters_evaluation", "letters_hold-out"),
            ("archive/Train", "archive/Val", "archive/Test"),
            ("archive/shop-1.0/data/Train", "archive/shop-1.0/data/Val", "archive/shop-1.0/data/Test"),
            ("seg_train/seg_train", "seg_val/seg_val", "seg_test/seg_test"),
            ("train/images", "valid/images", "test/images"),
        ],
    )
    def test_parts_are_known_by_their_usual_names(self, tmp_path: Path, train: str, validation: str, test: str) -> None:
        for name, count in ((train, 3), (validation, 2), (test, 1)):
            write_pictures(tmp_path / "own" / name, {"a": count, "b": count})
        known = list_pictures(tmp_path / "own")
        assert known.class_names == ("a", "b")
        counts = [sum(entry.split == split for entry in known.entries) for split in SPLITS]
        assert counts == [6, 4, 2]

    def test_folders_that_an_archiver_leaves_are_not_looked_at(self, folder: Path) -> None:
        write_pictures(folder / "__MACOSX", {"boot": 3})
        write_pictures(folder / "cap" / "@eaDir", {"000.png": 2})
        assert len(list_pictures(folder).entries) == sum(COUNTS.values())

    @pytest.mark.parametrize("names", [("Train", "car", "bus"), ("Dev", "Asha", "Ravi"), ("steam train", "tram")])
    def test_a_class_among_others_may_be_called_like_a_part(self, tmp_path: Path, names: tuple[str, ...]) -> None:
        write_pictures(tmp_path / "own", dict.fromkeys(names, 4))
        assert list_pictures(tmp_path / "own").class_names == tuple(sorted(names))

    def test_classes_may_hold_a_folder_of_the_same_name(self, tmp_path: Path) -> None:
        write_pictures(tmp_path / "own", {"boot/images": 4, "cap/images": 4})
        assert list_pictures(tmp_path / "own").class_names == ("boot", "cap")

    def test_a_table_names_pictures_below_its_folder(self, folder: Path) -> None:
        rows = [(f"boot/{number:03d}.png", "dark", "oak") for number in range(6)]
        rows += [(f"./cap/{number:03d}.png", "pale", "elm") for number in range(6)]
        table = write_table(folder / "list.csv", [("path", "label", "remark"), *rows])
        development = load_development(whole(table))
        assert (development.name, development.class_names) == ("list", ("dark", "pale"))
        assert len(development.train) == 8

    def test_a_table_may_name_the_parts(self, folder: Path) -> None:
        parts = ["train"] * 3 + ["validation", "test", "test"]
        rows = [(f"{name}/{n:03d}.png", name, part) for name in ("boot", "cap") for n, part in enumerate(parts)]
        recipe = whole(write_table(folder / "list.csv", [("path", "label", "split"), *rows]))
        development = load_development(recipe)
        assert (len(development.train), len(development.validation)) == (6, 2)
        assert len(held_out.load_test(recipe)) == 4

    def test_a_table_may_spell_the_parts_as_folders_do(self, folder: Path) -> None:
        parts = ["Train"] * 3 + ["val", "valid", "dev", "TEST"]
        rows = [(f"{name}/{n:03d}.png", name, part) for name in ("boot", "cap") for n, part in enumerate(parts[:6])]
        rows += [(f"{name}/007.png", name, parts[6]) for name in ("boot", "cap")]
        known = list_pictures(write_table(folder / "list.csv", [("path", "label", "split"), *rows]))
        assert [sum(entry.split == split for entry in known.entries) for split in SPLITS] == [6, 6, 2]

    def test_a_table_may_have_been_written_on_windows(self, folder: Path) -> None:
        (folder / "cap" / "a\\b.png").write_bytes((folder / "cap" / "000.png").read_bytes())
        rows = [("boot\\000.png", "boot"), (".\\boot\\001.png", "boot"), ("cap/a\\b.png", "cap")]
        known = list_pictures(write_table(folder / "list.csv", [("path", "label"), *rows]))
        assert [entry.name for entry in known.entries] == ["boot/000.png", "boot/001.png", "cap/a\\b.png"]

    def test_a_picture_of_the_right_size_keeps_every_pixel(self, tmp_path: Path) -> None:
        write_pictures(tmp_path / "own", {"a": 4, "b": 4}, size=(28, 28))
        found = picture_source.load_development_pictures(
            tmp_path / "own", whole(tmp_path / "own", colour=True)
        ).pictures
        for name, image in zip(found.files, found.images, strict=True):
            assert np.array_equal(np.asarray(Image.open(tmp_path / "own" / name)), np.moveaxis(image, 0, 2))

    def test_the_fingerprint_is_of_content_and_preparation(self, folder: Path, tmp_path: Path) -> None:
        shutil.copytree(folder, tmp_path / "copy")
        first = load_development(whole(folder)).fingerprint
        assert load_development(whole(tmp_path / "copy")).fingerprint == first
        assert load_development(whole(folder, colour=True)).fingerprint != first
        assert load_development(whole(folder, side=32)).fingerprint != first
        shutil.copy(folder / "boot" / "000.png", folder / "boot" / "001.png")
        shutil.copy(folder / "boot" / "002.png", folder / "boot" / "003.png")
        shutil.copy(folder / "boot" / "004.png", folder / "boot" / "005.png")
        assert load_development(whole(folder)).fingerprint != first


class TestDivision:
    def entries(self, folder: Path, **changes: object) -> tuple[set[str], set[str], set[str]]:
        known = list_pictures(folder)
        division = divide(folder, known, whole(folder, **changes))
        train, validation = ({entry.name for entry in part} for part in (division.train, division.validation))
        hidden = {entry.name for entry in known.entries} - train - validation
        assert not train & validation
        assert len(hidden) == division.withheld
        return train, validation, hidden

    def test_another_split_leaves_the_test_share_unopened(self, folder: Path) -> None:
        parts = [self.entries(folder, split_seed=seed) for seed in range(5)]
        assert len({frozenset(hidden) for *_, hidden in parts}) == 1
        assert len({frozenset(validation) for _, validation, _ in parts}) > 1
        assert self.entries(folder, test_seed=1)[2] != parts[0][2]

    def test_pictures_that_join_move_few(self, tmp_path: Path) -> None:
        write_pictures(tmp_path / "own", {"a": 60, "b": 60})
        *_, before = self.entries(tmp_path / "own")
        write_pictures(tmp_path / "own", {"a": 63, "b": 60})
        *_, after = self.entries(tmp_path / "own")
        assert len(before - after) <= 1

    @pytest.mark.parametrize("fraction", [0.5, 0.9])
    def test_three_pictures_of_a_class_are_enough_for_any_share(self, tmp_path: Path, fraction: float) -> None:
        write_pictures(tmp_path / "own", {"a": 3, "b": 3})
        shares = {"test_fraction": fraction, "validation_fraction": fraction}
        train, validation, hidden = self.entries(tmp_path / "own", **shares)
        assert (len(train), len(validation), len(hidden)) == (2, 2, 2)

    def test_where_validation_pictures_are_named_one_picture_is_left_for_training(self, tmp_path: Path) -> None:
        for part, count in (("train", 4), ("validation", 1)):
            write_pictures(tmp_path / "own" / part, {"a": count, "b": count})
        train, validation, hidden = self.entries(tmp_path / "own", test_fraction=0.9)
        assert (len(train), len(validation), len(hidden)) == (2, 2, 6)

    def test_two_pictures_of_a_class_are_too_few_to_test_by_one(self, tmp_path: Path) -> None:
        write_pictures(tmp_path / "own", {"a": 3, "b": 2})
        with pytest.raises(DataError, match="three of each if splits are drawn, found none of b for training, 2 in"):
            self.entries(tmp_path / "own")

    def test_no_share_may_be_sealed(self, folder: Path) -> None:
        train, validation, hidden = self.entries(folder, test_fraction=0.0)
        assert (len(train), len(validation), len(hidden)) == (30, 6, 0)
        with pytest.raises(DataError, match="no test pictures: expected some that are held out, found none"):
            held_out.load_test(whole(folder, test_fraction=0.0))

    def test_there_is_no_last_picture_in_a_folder(self, folder: Path) -> None:
        with pytest.raises(RecipeError, match="expected 'stratified' or 'grouped' for picture files, found 'last'"):
            load_development(whole(folder, split="last"))


class TestTheTestShare:
    def test_is_not_opened_by_training_and_by_nothing_else_than_the_door(
        self, folder: Path, opened: list[Path]
    ) -> None:
        load_development(whole(folder))
        seen = set(opened)
        opened.clear()
        held_out.load_test(whole(folder))
        assert not seen & set(opened)
        assert len(seen | set(opened)) == sum(COUNTS.values())
        assert len(set(opened)) == 6

    def test_may_be_damaged_without_training_noticing(self, folder: Path) -> None:
        known = list_pictures(folder)
        trained = {entry.name for entry in divide(folder, known, whole(folder)).entries}
        for entry in known.entries:
            if entry.name not in trained:
                (folder / entry.name).write_bytes(b"damaged")
        assert load_development(whole(folder)).notes == (
            "unequal classes, in training boot 8, cap 13, scarf 4; "
            "--balance 1 gives each class the same weight, 0 each image",
        )
        with pytest.raises(DataError, match="most files cannot be read: expected pictures in 6 files"):
            held_out.load_test(whole(folder))


class TestFaults:
    def test_what_nobody_put_there_is_hidden_and_what_is_not_read_is_named(self, folder: Path) -> None:
        before = list_pictures(folder)
        (folder / "__MACOSX" / "boot").mkdir(parents=True)
        (folder / "__MACOSX" / "boot" / "._000.png").write_bytes(b"fork")
        assert list_pictures(folder) == before
        (folder / "boot" / "phone.JXL").write_bytes(b"anything")
        (folder / "boot" / "old.jfif").write_bytes(b"anything")
        now = list_pictures(folder)
        reason = "a picture of an unsupported format (jxl); save it as JPEG or PNG"
        assert now.skipped == (*before.skipped, ("boot/phone.JXL", reason))
        assert "boot/old.jfif" in {entry.name for entry in now.entries}

    def test_what_cannot_be_read_is_told_with_its_reason(self, folder: Path) -> None:
        (folder / "boot" / "letter.txt").write_text("dear")
        (folder / "stray.png").write_bytes(b"")
        (folder / "cap" / "link.png").symlink_to("/etc/hostname")
        (folder / "cap" / "broken.png").symlink_to("nowhere.png")
        (folder / "cap" / "boots").symlink_to(folder / "boot")
        (folder / "cap" / "inside.png").symlink_to(folder / "boot" / "000.png")
        os.mkfifo(folder / "cap" / "pipe.png")
        with socket.socket(socket.AF_UNIX) as one:
            with contextlib.chdir(folder / "cap"):  # the address of a socket holds only 107 bytes
                one.bind("socket.png")
            told = dict(list_pictures(folder).skipped)
        assert told == {
            "boot/letter.txt": "not a picture, judging by its extension",
            "stray.png": "in no class's folder",
            "cap/link.png": "a link that leads out of the folder",
            "cap/broken.png": "a link to nothing",
            "cap/boots": "a link to a folder",
            "cap/pipe.png": "a pipe, socket or device",
            "cap/socket.png": "a pipe, socket or device",
        }
        assert "cap/inside.png" in {entry.name for entry in list_pictures(folder).entries}
        (note, _) = load_development(whole(folder)).notes
        assert "7 files are left out" in note
        assert "boot/letter.txt: not a picture, judging by its extension" in note
        assert "and 2 more" in note

    def test_a_table_leads_out_of_its_folder_by_no_link_either(self, folder: Path) -> None:
        (folder / "cap" / "link.png").symlink_to("/etc/hostname")
        rows = [(f"{name}/{n:03d}.png", name) for name in ("boot", "cap") for n in range(5)]
        table = write_table(folder / "list.csv", [("path", "label"), *rows, ("cap/link.png", "cap"), ("cap", "cap")])
        assert dict(list_pictures(table).skipped) == {
            "cap/link.png": "a link that leads out of the folder",
            "cap": "a folder",
        }

    def test_damaged_and_huge_pictures_are_left_out_and_told(self, folder: Path) -> None:
        header = b"IHDR" + struct.pack(">IIBBBBB", 6_000, 6_000, 8, 2, 0, 0, 0)
        huge = b"\x89PNG\r\n\x1a\n\x00\x00\x00\r" + header + struct.pack(">I", zlib.crc32(header))
        huge += b"\x00\x00\x00\x0aIDAT" + bytes(14)
        names = {entry.name for entry in divide(folder, list_pictures(folder), whole(folder)).train}
        bomb, cut = sorted(name for name in names if name.startswith("cap"))[:2]
        (folder / bomb).write_bytes(huge)
        (folder / cut).write_bytes((folder / cut).read_bytes()[:500])
        development = load_development(whole(folder))
        assert f"{bomb}: the image is 6,000 x 6,000; expected at most 24 million pixels" in development.notes[0]
        assert f"{cut}: the image is damaged" in development.notes[0]
        assert len(development.train) == 23

    def test_copies_across_parts_are_told(self, folder: Path) -> None:
        division = divide(folder, list_pictures(folder), whole(folder))
        mine, theirs = division.train[0].name, division.validation[0].name
        shutil.copy(folder / mine, folder / theirs)
        (note, *_) = load_development(whole(folder)).notes
        assert f"a validation picture is in training too, such as {theirs} = {mine}" in note

    def test_a_name_that_is_no_text_is_a_name(self, folder: Path) -> None:
        name = os.fsdecode(b"caf\xe9.png")
        shutil.copy(folder / "cap" / "000.png", folder / "cap" / name)
        assert f"cap/{name}" in {entry.name for entry in list_pictures(folder).entries}
        assert load_development(whole(folder)).fingerprint
        assert load_development(whole(folder)).fingerprint  # from the cache

    def test_class_names_are_kept_whatever_they_hold(self, tmp_path: Path) -> None:
        needs_names_in_utf8()
        names = ("$\\frac{x$ y", "<script>alert(1)", "a`b*c_|", "😀 %s {0}", "日本")
        write_pictures(tmp_path / "own", dict.fromkeys(names, 4))
        assert load_development(whole(tmp_path / "own")).class_names == tuple(sorted(names))

    def test_data_lists_what_training_refuses(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for path in folder.rglob("*.png"):
            path.write_bytes(b"")
        with pytest.raises(DataError, match=r"most files cannot be read: .* list them all with modiste data /"):
            load_development(whole(folder))
        main.main(["data", str(folder), "--pictures", "whole"])
        out = capsys.readouterr().out
        assert out.count("the file is empty; expected a photo") == sum(COUNTS.values())
        assert "training: no images" in out

    def test_data_takes_the_flags_that_messages_name(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        main.main(["data", str(folder), "--data.pictures", "whole", "--data.side", "32"])
        assert "images of 32 x 32" in capsys.readouterr().out

    def test_a_set_in_idx_form_is_still_one(self, tiny_folder: Path, tmp_path: Path) -> None:
        shutil.copytree(tiny_folder, tmp_path / "idx")
        write_pictures(tmp_path / "idx", {"a": 4, "b": 4})
        assert load_development(DataRecipe(source=str(tmp_path / "idx"))).image_shape == (1, 12, 12)


def needs_names_in_utf8() -> None:
    """Leave a test out where the locale has another encoding, in which such names cannot be, or are others."""
    if sys.getfilesystemencoding() != "utf-8":
        pytest.skip("file names are not UTF-8 in this locale")


def one_class(root: Path) -> None:
    write_pictures(root, {"only": 5})


def one_picture(root: Path) -> None:
    write_pictures(root, {"many": 9, "one": 1})


def empty_class(root: Path) -> None:
    write_pictures(root, {"a": 4, "b": 4})
    (root / "c" / ".hidden").mkdir(parents=True)


def alike(root: Path) -> None:
    write_pictures(root, {"Coat": 4, "coat": 4})


def accents(root: Path) -> None:
    needs_names_in_utf8()
    write_pictures(root, {"caf\u00e9": 4, "cafe\u0301": 4})


def unprintable(root: Path) -> None:
    write_pictures(root, {"a": 4, "b\x1b[31m": 4})


def no_text(root: Path) -> None:
    needs_names_in_utf8()
    write_pictures(root, {"a": 4, os.fsdecode(b"\xff"): 4})


def spaces(root: Path) -> None:
    write_pictures(root, {"a": 4, " b": 4})


def long_name(root: Path) -> None:
    write_pictures(root, {"a": 4, "b" * 101: 4})


def beside_parts(root: Path) -> None:
    write_pictures(root / "train", {"a": 4, "b": 4})
    write_pictures(root, {"c": 4})


def no_training(root: Path) -> None:
    write_pictures(root / "test", {"a": 4, "b": 4})


def two_validations(root: Path) -> None:
    for part in ("train", "val", "valid"):
        write_pictures(root / part, {"a": 4, "b": 4})


def one_folder_more(root: Path) -> None:
    write_pictures(root / "archive", {"a": 4, "b": 4})


def pictures_beside_the_only_folder(root: Path) -> None:
    write_pictures(root / "images", {"a": 4, "b": 4, "..": 3})


def parts_without_classes(root: Path) -> None:
    write_pictures(root, {"Train": 4, "Test": 4})


def parts_within_classes(root: Path) -> None:
    for name in ("a", "b"):
        write_pictures(root / name, {"Train": 4, "Test": 4})


def parts_of_classes(root: Path) -> None:
    write_pictures(root, {"trainA": 4, "trainB": 4, "testA": 4, "testB": 4})


def parts_within_a_part(root: Path) -> None:
    write_pictures(root / "train", {"Train": 4, "Test": 4, "c": 4})
    write_pictures(root / "test", {"c": 4})


def parts_of_other_names(root: Path) -> None:
    for name in ("old", "new"):
        write_pictures(root / name, {"a": 4, "B" if name == "old" else "b": 4})


def two_spellings(root: Path) -> None:
    for name in ("train", "Training"):
        write_pictures(root / name, {"a": 4, "b": 4})


def an_unknown_part(root: Path) -> None:
    for name in ("seg_train", "seg_test", "seg_pred"):
        write_pictures(root / name, {"a": 4, "b": 4})


def classes_beside_a_part(root: Path) -> None:
    write_pictures(root, {"Train": 4, "car": 4})


def folders_without_end(root: Path) -> None:
    (root / ("data/" * 700)).mkdir(parents=True)


def test_class(root: Path) -> None:
    write_pictures(root / "train", {"a": 4, "b": 4})
    write_pictures(root / "test", {"a": 4, "c": 4})


def two_spellings_of_a_class(root: Path) -> None:
    write_pictures(root / "train", {"a": 4, "caf\u00e9": 4})
    write_pictures(root / "test", {"a": 4, "cafe\u0301": 4})


def validation_gap(root: Path) -> None:
    write_pictures(root / "train", {"a": 4, "b": 4})
    write_pictures(root / "validation", {"a": 4})


test_class.__test__ = False  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (one_class, "too few classes: expected 2 to 1,000 classes, found 1 (only); put the pictures of each"),
        (one_picture, "too few pictures: expected one or more of each class for training, three of each if"),
        (empty_class, "c: a class without pictures: expected files that end in .jpg, .jpeg, .png"),
        (alike, "class names that look alike: expected names that differ in more than upper and lower case"),
        (accents, "class names that look alike"),
        (two_spellings_of_a_class, "class names that look alike"),
        (unprintable, r"invalid class name: expected up to 100 printable characters in UTF-8, no space at either end"),
        (no_text, r"invalid class name: expected up to 100 printable characters"),
        (spaces, "invalid class name"),
        (long_name, "invalid class name"),
        (beside_parts, "other folders beside splits: expected train, with or without validation and test"),
        (no_training, "other folders beside splits"),
        (two_validations, "other folders beside splits"),
        (
            one_folder_more,
            "a single folder that contains others: expected 2 class folders or more, found archive, and in",
        ),
        (
            pictures_beside_the_only_folder,
            "a single folder that contains others: expected 2 class folders or more, found im",
        ),
        (
            parts_without_classes,
            "splits without class folders: expected a folder for each class, found none in Test, T",
        ),
        (parts_within_classes, "splits within a class folder: expected class folders in each of train, val"),
        (parts_of_classes, "other folders beside splits"),
        (parts_within_a_part, "splits within a split: expected class folders in each of train, validation"),
        (parts_of_other_names, "folders that may be classes or splits: expected pictures in the class"),
        (two_spellings, "other folders beside splits: expected train, with or without validation and"),
        (an_unknown_part, "found seg_pred, seg_test (as test), seg_train (as train); move classes into train and"),
        (classes_beside_a_part, "other folders beside splits"),
        (folders_without_end, "data: a class without pictures: expected files that end in .jpg"),
        (test_class, "a class in test only: expected test pictures of a, b, found c; add pictures of it to"),
        (validation_gap, "too few pictures: expected one or more of each class for validation"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_folder_that_cannot_be_is_refused_in_one_line(
    make: Callable[[Path], None], said: str, tmp_path: Path
) -> None:
    make(tmp_path / "own")
    with pytest.raises(DataError) as caught:
        load_development(whole(tmp_path / "own"))
    message = str(caught.value)
    assert said in message
    assert str(tmp_path) in message
    assert message.isprintable()


class TestWhatCannotBeLookedAt:
    """Every command that reads data says in one line what the system refuses."""

    COMMANDS = (
        ("data",),
        ("data", "--data-folder"),
        ("data", "audit", "--folds=0", "--source"),
        ("train", "perceptron", "--data.source"),
        ("train", "perceptron", "--data-folder"),
        ("figures", "--data-folder"),
    )

    @pytest.fixture
    def complaint(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> Callable[..., str]:
        monkeypatch.chdir(tmp_path)

        def run(*words: object) -> str:
            with pytest.raises(SystemExit) as left:
                main.main([str(word) for word in words])
            (*_, line) = capsys.readouterr().err.splitlines()
            assert left.value.code == DataError.exit_code, line
            return line

        return run

    @pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
    @pytest.mark.parametrize("refused", ["stat", "scandir"])
    def test_a_folder_without_permission(
        self,
        command: tuple[str, ...],
        refused: str,
        folder: Path,
        complaint: Callable[..., str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """As of a folder that may not be listed, or of one that lies in such a one; Fashion-MNIST needs no list."""
        forbid(monkeypatch, refused, folder)
        if refused == "stat":
            expected = "cannot be accessed: expected a folder or a file, found Permission denied"
        elif "--data-folder" in command:
            expected = "no Fashion-MNIST in it: expected train-images-idx3-ubyte"
        else:
            expected = "unreadable: expected a folder, found Permission denied"
        assert f"{folder}: {expected}" in complaint(*command, folder)

    def test_a_class_without_permission(
        self, folder: Path, complaint: Callable[..., str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        forbid(monkeypatch, "scandir", folder / "cap")
        assert f"{folder / 'cap'}: unreadable: expected a folder, found Permission denied" in complaint("data", folder)

    def test_a_table_without_permission(
        self, folder: Path, complaint: Callable[..., str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        table = write_table(folder / "list.csv", [("path", "label"), ("boot/000.png", "boot")])
        forbid(monkeypatch, "stat", table)
        assert f"{table}: cannot be accessed: expected a folder or a file, found Permission" in complaint("data", table)

    def test_a_table_in_its_folder_without_permission(
        self, folder: Path, complaint: Callable[..., str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As of every file in a folder that may be listed and not entered."""
        forbid(monkeypatch, "stat", folder / "metadata.csv")
        expected = f"{folder / 'metadata.csv'}: cannot be accessed: expected a folder or a file, found Permission"
        assert expected in complaint("data", folder)

    @pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
    @pytest.mark.parametrize("name", ["x" * 300, "x" * 300 + ".csv", "x" * 300 + "/own", "own/" + "x" * 300])
    def test_a_name_too_long(self, command: tuple[str, ...], name: str, complaint: Callable[..., str]) -> None:
        assert "no such" in complaint(*command, name)

    @pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
    def test_links_in_a_circle(self, command: tuple[str, ...], tmp_path: Path, complaint: Callable[..., str]) -> None:
        (tmp_path / "loop").symlink_to("loop")
        assert "Too many levels of symbolic links" in complaint(*command, "loop")

    def test_a_link_to_the_folder_itself_is_no_class(self, folder: Path) -> None:
        (folder / "again").symlink_to(folder)
        (folder / "cap" / "again").symlink_to(folder)
        known = list_pictures(folder)
        assert dict(known.skipped) == {"again": "a link to a folder", "cap/again": "a link to a folder"}
        assert known.class_names == tuple(COUNTS)


def forbid(monkeypatch: pytest.MonkeyPatch, function: str, place: Path) -> None:
    """Let the system refuse a function for a path and all below it: root, as in a container, may do everything."""
    real = getattr(os, function)

    def refuse(path: object = ".", *others: object, **more: object) -> object:
        if not isinstance(path, int) and Path(os.fsdecode(path)).is_relative_to(place):  # type: ignore[arg-type]
            raise PermissionError(13, "Permission denied", os.fsdecode(path))  # type: ignore[arg-type]
        return real(path, *others, **more)

    monkeypatch.setattr(os, function, refuse)


class TestTwoPlaces:
    """A folder beside a source that is there would replace it without a word."""

    def test_are_refused_by_the_library(self, folder: Path, tiny_folder: Path) -> None:
        for other in (tiny_folder, folder / "cap"):
            with pytest.raises(
                DataError, match=r"two locations for the data: expected data\.source alone, or --data-folder"
            ):
                load_development(whole(folder), other)
        with pytest.raises(DataError, match="two locations for the data"):
            load_development(DataRecipe(source=str(tiny_folder)), folder)

    @pytest.mark.parametrize(
        "words",
        [
            ("data",),
            ("data", "audit", "--folds", "0"),
            ("train", "perceptron", "--data.source"),
            ("search", "perceptron", "epochs=integer(1,2)", "--trials", "1", "--data.source"),
        ],
    )
    def test_are_refused_by_every_command(
        self,
        folder: Path,
        tiny_folder: Path,
        words: tuple[str, ...],
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        named = [*words, str(folder)] if words[-1] == "--data.source" else [*words[:2], str(folder), *words[2:]]
        named = ["data", str(folder)] if words == ("data",) else named
        out = [] if words[0] == "data" else ["--out", str(tmp_path / "out")]
        with pytest.raises(SystemExit) as left:
            main.main([*named, *out, "--data-folder", str(tiny_folder)])
        assert left.value.code == DataError.exit_code
        assert "two locations for the data" in capsys.readouterr().err

    def test_may_be_the_same(self, folder: Path) -> None:
        assert load_development(whole(folder), folder / ".." / folder.name).name == "own"

    def test_data_that_have_moved_are_found(self, folder: Path, tiny_folder: Path) -> None:
        assert load_development(whole(folder.with_name("gone")), folder).class_names == tuple(COUNTS)
        assert load_development(DataRecipe(source="gone"), tiny_folder).name == "tiny"

    def test_fashion_mnist_does_not_stand_for_what_is_not_there(self, real_files: dict[str, Path]) -> None:
        place = next(iter(real_files.values())).parent
        with pytest.raises(
            DataError, match=r"gone: two locations for the data: .* found the source, which does not exist, and"
        ):
            load_development(DataRecipe(source="gone"), place)

    def test_fashion_mnist_is_not_looked_for_in_pictures(self, folder: Path) -> None:
        with pytest.raises(DataError, match="no Fashion-MNIST in it"):
            load_development(DataRecipe(), folder)


def test_every_command_says_the_same_of_the_data_folder() -> None:
    modules = [importlib.import_module(f"modiste.cli.{module.name}") for module in pkgutil.iter_modules(cli.__path__)]
    kinds = {kind for module in modules for kind in vars(module).values() if dataclasses.is_dataclass(kind)}
    having = {kind for kind in kinds if "data_folder" in {field.name for field in dataclasses.fields(kind)}}
    assert len(having) > 8
    own = {kind for kind in having if "data_folder" in kind.__annotations__}
    assert {kind.__name__ for kind in own} == {"DataFolderOption"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("shop.zip", "found an archive (.zip); unpack it and name the folder"),
        ("shop.tar.gz", "found an archive (.gz); unpack it"),
        ("mnist.npy", "found a NumPy array (.npy); write images and labels with numpy.savez"),
        ("emnist.mat", "found a MATLAB file (.mat); read it with scipy.io.loadmat and write images and labels with"),
        ("train.arrow", "found an Arrow table (.arrow); write it as a .parquet file"),
        ("digits.mat", "found a MATLAB file (.mat)"),
        ("shop.tsv", "write it as a .csv file with the columns path and label"),
        ("boot.JPG", "found a single picture (.JPG); name the folder that holds a folder for each class"),
        ("train-images-idx3-ubyte.gz", "found a single IDX file; name the folder that holds images and labels"),
        ("odd", "found a file; name a folder or a .csv file"),
    ],
)
def test_a_file_of_another_kind_is_named(name: str, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"content")
    with pytest.raises(DataError, match="not a readable data set: expected ") as caught:
        load_development(DataRecipe(source=str(tmp_path / name)))
    assert said in str(caught.value)
    assert str(tmp_path / name) in str(caught.value)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (
            ["a.jpg", "b.JPG", "c.png"],
            "found 2 of .jpg, 1 of .png; put the pictures of each class into a folder of its",
        ),
        (["a.heic"], "found 1 of .heic; put the pictures of each class into a folder of its own"),
        (["shop.zip"], "found 1 of .zip; unpack it and name the folder"),
        (["labels.csv"], "found 1 of .csv; name the table: labels.csv"),
        ([], "found nothing; name another folder"),
        (["boot/1.jxl", "boot/2.JXL", "cap/1.jxl"], "boot: a class without pictures: expected files that end in"),
        (["boot/1.jxl", "boot/2.JXL", "cap/1.jxl"], "found 2 of .jxl; save them as JPEG or PNG"),
    ],
)
def test_what_lies_in_a_folder_without_a_data_set_is_told(files: list[str], said: str, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    for name in files:
        (tmp_path / "own" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "own" / name).write_bytes(b"content")
    with pytest.raises(DataError) as caught:
        load_development(DataRecipe(source=str(tmp_path / "own")))
    assert said in str(caught.value)
    assert "ubyte" not in str(caught.value)


def test_a_picture_of_another_format_is_told_by_its_format(folder: Path) -> None:
    (folder / "boot" / "phone.JXL").write_bytes(b"content")
    reason = "a picture of an unsupported format (jxl); save it as JPEG or PNG"
    assert dict(list_pictures(folder).skipped) == {"boot/phone.JXL": reason}


def test_pictures_of_phones_and_scanners_are_read(folder: Path) -> None:
    picture = Image.open(folder / "boot" / "000.png").convert("RGB")
    for name in ("one.tif", "two.TIFF", "three.avif", "four.ppm", "five.jfif"):
        kind = {".tif": "TIFF", ".tiff": "TIFF", ".avif": "AVIF", ".ppm": "PPM", ".jfif": "JPEG"}
        picture.save(folder / "boot" / name, kind[Path(name).suffix.lower()])
    pillow_heif.from_pillow(picture).save(folder / "boot" / "six.HEIC")
    before, after = (len(load_development(whole(folder, decoder=number)).train.labels) for number in (1, 2))
    assert list_pictures(folder).skipped == ()
    assert len(list_pictures(folder).entries) == sum(COUNTS.values()) + 6
    assert after > before


def test_the_first_decoder_finds_the_pictures_that_it_always_found(folder: Path) -> None:
    before = load_development(whole(folder, decoder=1))
    Image.new("RGB", (30, 30)).save(folder / "boot" / "new.tif")
    now = load_development(whole(folder, decoder=1))
    assert now.fingerprint == before.fingerprint
    assert dict(list_pictures(folder, 1).skipped) == {"boot/new.tif": NOT_FIRST}
    rows = [(str(path.relative_to(folder)), path.parent.name) for path in folder.glob("*/*.*")]
    table = write_table(folder / "list.csv", [("path", "label"), *rows])
    recipe = whole(table, test_fraction=0.0)
    assert load_development_pictures(table, recipe).pictures.faults == ()
    faults = load_development_pictures(table, replace(recipe, decoder=1)).pictures.faults
    assert faults == (("boot/new.tif", NOT_FIRST),)


def test_a_decoder_and_no_other_changes_the_fingerprint(folder: Path) -> None:
    """Runs of earlier versions have the hash over way, side, channels and files."""
    old, two, three = (
        load_development_pictures(folder, whole(folder, decoder=number)).pictures for number in (1, 2, 3)
    )
    entries = divide(folder, list_pictures(folder), whole(folder)).entries
    digests = [hashlib.sha256((folder / entry.name).read_bytes()).hexdigest() for entry in entries]
    rows = [[one.name, one.class_name, one.split, digest, True] for one, digest in zip(entries, digests, strict=True)]
    recipe = whole(folder)
    start = [recipe.pictures, recipe.side, 3 if recipe.colour else 1]
    assert old.fingerprint == hashlib.sha256(json.dumps([*start, rows]).encode()).hexdigest()
    for number, new in ((2, two), (3, three)):
        assert new.fingerprint == hashlib.sha256(json.dumps([*start, number, rows]).encode()).hexdigest()


def test_a_heic_without_its_extra_is_left_out_by_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pillow_heif.from_pillow(Image.open(folder / "boot" / "000.png").convert("RGB")).save(folder / "boot" / "six.heic")
    recipe = whole(folder, test_fraction=0.0)
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "pillow_heif", None)
        without.setattr("modiste.photo.heif.version", lambda: "")
        ((name, reason),) = load_development_pictures(folder, recipe).pictures.faults
    assert name == "boot/six.heic"
    assert "pip install 'modiste[heif]'" in reason
    assert load_development_pictures(folder, recipe).pictures.faults == ()  # no fault of then is cached


HEADER = "path,label\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "line 1: wrong columns: expected a first line that names path and label once each, separated by a comma"),
        (b"path;label\na.png;a\n", "line 1: wrong columns: expected a first line that names path and label once each"),
        (b"path,label,label\n", "line 1: wrong columns"),
        (b"path,label\n", "no pictures: expected rows that name files, found no rows"),
        (b"path,label\nnone.png,a\n", "found 1 paths, the first none.png: no such file"),
        (b"path,label\n../x.png,a\n", "line 2: a path that leaves the folder"),
        (b"path,label\nboot/../../x.png,a\n", "line 2: a path that leaves the folder"),
        (b"path,label\n..\\x.png,a\n", "line 2: a path that leaves the folder"),
        (b"path,label\nboot\\..\\..\\x.png,a\n", "line 2: a path that leaves the folder"),
        (b"path,label\nC:\\x.png,a\n", "line 2: a path that leaves the folder"),
        (b"path,label\n\\\\server\\x.png,a\n", "line 2: a path that leaves the folder"),
        (b"path,label\nboot/000.png,a\nboot\\000.png,b\n", "line 3: a picture named twice"),
        (b"path,label\n/etc/passwd,a\n", "line 2: a path that leaves the folder: expected one below"),
        (b"path,label\nboot/000.png,\n", "line 2: an empty field: expected a path and a label"),
        (b"path,label\nboot/000.png\n", "line 2: wrong number of fields: expected 2, found more or fewer"),
        (b"path,label\nboot/000.png,a,b\n", "line 2: wrong number of fields"),
        (b"path,label\nboot/000.png,a\n./boot/000.png,b\n", "line 3: a picture named twice"),
        (b"path,label,split\nboot/000.png,a,spare\n", "line 2: an unknown split: expected train or validation or test"),
        (b"path,label,split\nboot/000.png,a,\n", "line 2: an unknown split"),
        (b"path,label\nboot/000.png,\xff\n", "line 2: not text: expected UTF-8, found byte 24 that is not"),
        (b'path,label\n"boot/000.png,a\n', "not a CSV file"),
        (b"path,label\nboot/000.png,a\nboot,b\n", "too few classes"),
    ],
)
def test_a_table_that_cannot_be_is_refused_in_one_line(content: bytes, said: str, folder: Path) -> None:
    table = folder / "list.csv"
    table.write_bytes(content)
    with pytest.raises(DataError) as caught:
        load_development(whole(table))
    assert said in str(caught.value)
    assert str(table) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_where_no_garment_is_seen_the_other_ways_are_named(folder: Path) -> None:
    for path in folder.rglob("*.png"):
        Image.new("RGB", (30, 30), (200, 200, 200)).save(path)
    with pytest.raises(DataError) as caught:
        load_development(whole(folder, pictures="garment"))
    assert "most files cannot be read" in str(caught.value)
    assert "nothing stands out from the background" in str(caught.value)
    assert "--data.pictures whole" in str(caught.value)
