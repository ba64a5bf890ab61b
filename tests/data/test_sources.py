import re
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from idx_files import GOOD, GOOD_IMAGES, GOOD_LABELS, GOOD_TEST, IMAGES, LABELS, idx, packed, write

from modiste.cli import main
from modiste.cli.doctor import EXTRAS
from modiste.data import held_out
from modiste.data.idx import idx_source
from modiste.data.idx.download import download
from modiste.data.idx.reader import read_idx
from modiste.errors import DataError

ROOT = Path(__file__).parents[2]
PAIR = {"train": (IMAGES, LABELS), "test": tuple(GOOD_TEST)}
PLACES = [
    ".cache/modiste/fashion-mnist",
    "data/FashionMNIST/raw",
    ".keras/datasets/fashion-mnist",
    "data/fashion",
    "fashion-mnist/data/fashion",
]


@pytest.fixture
def small_fashion(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, bytes]:
    """Let six small images be the published Fashion-MNIST, so that a search takes no time."""
    images, labels = (read_idx(write(tmp_path / "published", GOOD) / name) for name in (IMAGES, LABELS))
    small = replace(
        idx_source.TRAIN,
        images=replace(idx_source.TRAIN.images, sha256=images.sha256, size_bytes=images.size_bytes),
        labels=replace(idx_source.TRAIN.labels, sha256=labels.sha256, size_bytes=labels.size_bytes),
    )
    monkeypatch.setattr(idx_source, "TRAIN", small)
    return dict(GOOD)


def test_fashion_mnist_is_what_the_paper_says(real_files: dict[str, Path]) -> None:
    raw = idx_source.load_training("fashion-mnist", real_files[IMAGES].parent)
    assert raw.images.shape == (60_000, 28, 28)
    assert np.bincount(raw.labels).tolist() == [6_000] * 10
    assert raw.class_names[0] == "T-shirt/top"
    assert raw.class_names[9] == "Ankle boot"
    assert raw.images.mean() / 255 == pytest.approx(0.28604, abs=1e-5)
    assert all(file.published for file in raw.files)


def test_the_held_out_set_is_what_the_paper_says(real_files: dict[str, Path]) -> None:
    raw = held_out.load_held_out("fashion-mnist", real_files[IMAGES].parent)
    assert raw.images.shape == (10_000, 28, 28)
    assert np.bincount(raw.labels).tolist() == [1_000] * 10
    assert raw.fingerprint != idx_source.load_training("fashion-mnist", real_files[IMAGES].parent).fingerprint


def test_a_folder_with_the_published_files_is_recognised(real_files: dict[str, Path]) -> None:
    folder = real_files[IMAGES].parent
    for load in (idx_source.load_training, held_out.load_held_out):
        by_folder, by_name = load(str(folder)), load("fashion-mnist", folder)
        assert by_folder.name == "fashion-mnist"
        assert by_folder.class_names == idx_source.CLASS_NAMES
        assert by_folder.fingerprint == by_name.fingerprint


def test_training_never_needs_the_test_files(real_files: dict[str, Path], tmp_path: Path) -> None:
    for name in PAIR["train"]:
        (tmp_path / real_files[name].name).symlink_to(real_files[name])
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(b"whoever opens this fails")
    assert len(idx_source.load_training("fashion-mnist", tmp_path).labels) == 60_000


def test_only_one_file_names_the_test_files() -> None:
    folder = Path(idx_source.__file__).parents[1]
    naming = {path.name for path in folder.parent.rglob("*.py") if "t10k" in path.read_text(encoding="utf-8")}
    assert naming == {"held_out.py"}
    for path in folder.glob("*.py"):
        if path.name not in ("__init__.py", "held_out.py"):
            assert "import held_out" not in path.read_text(encoding="utf-8"), path


def test_importing_brings_nothing_heavy() -> None:
    code = "import sys, modiste.data.idx.idx_source; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "pooch", "requests", "rich", "platformdirs"} & set(run.stdout.split())


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("pack", [False, True], ids=["raw", "gzip"])
def test_the_usual_places_are_searched(nowhere: Path, small_fashion: dict[str, bytes], place: str, pack: bool) -> None:
    files = {f"{name}.gz": packed(content) for name, content in small_fashion.items()} if pack else small_fashion
    write(nowhere / place, files)
    raw = idx_source.load_training("fashion-mnist")
    assert raw.folder.resolve() == nowhere / place
    assert raw.notes == ()


@pytest.mark.parametrize("below", ["", "FashionMNIST/raw", "fashion-mnist", "data/fashion", "raw"])
@pytest.mark.parametrize("how", ["argument", "variable"])
def test_a_named_folder_is_taken_first(
    nowhere: Path, small_fashion: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, below: str, how: str
) -> None:
    write(nowhere / PLACES[0], small_fashion)
    write(nowhere / "mine" / below, small_fashion)
    if how == "variable":
        monkeypatch.setenv("MODISTE_DATA", "~/mine")
    raw = idx_source.load_training("fashion-mnist", Path("~/mine") if how == "argument" else None)
    assert raw.folder == nowhere / "mine" / below


def test_the_argument_goes_before_the_variable(
    nowhere: Path, small_fashion: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODISTE_DATA", str(nowhere / "absent"))
    folder = write(nowhere / "mine", small_fashion)
    assert idx_source.load_training("fashion-mnist", folder).folder == folder


def test_a_faulty_copy_in_a_usual_place_is_passed_over_and_noted(
    nowhere: Path, small_fashion: dict[str, bytes]
) -> None:
    write(nowhere / PLACES[0], {IMAGES: GOOD_IMAGES})
    write(nowhere / PLACES[1], small_fashion | {LABELS: idx([0, 1, 2, 0, 2, 1])})
    write(nowhere / PLACES[2], small_fashion)
    raw = idx_source.load_training("fashion-mnist")
    assert raw.folder == nowhere / PLACES[2]
    incomplete, damaged = raw.notes
    assert "missing: expected train-labels-idx1-ubyte" in incomplete
    assert "not the published file" in damaged


def test_when_nothing_is_right_one_short_line_says_what_helps(nowhere: Path, small_fashion: dict[str, bytes]) -> None:
    write(nowhere / PLACES[1], small_fashion | {LABELS: b""})
    with pytest.raises(DataError) as caught:
        idx_source.load_training("fashion-mnist")
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400
    for remedy in (
        "MODISTE_OFFLINE",
        "a copy is faulty",
        "apt install dataset-fashion-mnist",
        "--data-folder",
        "doctor",
    ):
        assert remedy in message


def test_where_no_mirror_answers_the_line_is_short_as_well(
    nowhere: Path, small_fashion: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MODISTE_OFFLINE")
    monkeypatch.setattr(
        "modiste.data.idx.idx_source.download", lambda *_: download([idx_source.TRAIN.images], nowhere / "new")
    )
    monkeypatch.setattr("modiste.data.idx.download._retrieve", unreachable)
    with pytest.raises(DataError) as caught:
        idx_source.load_training("fashion-mnist")
    assert "not downloaded (storage.googleapis.com cannot be reached, github.com cannot be reached); " in str(
        caught.value
    )
    assert len(str(caught.value)) < 400


def unreachable(*_: object) -> Path:
    raise DataError("cannot be reached")


class TestDoctor:
    """It looks, and neither fetches nor fails."""

    @pytest.fixture(autouse=True)
    def no_download(self, nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("MODISTE_OFFLINE")
        monkeypatch.setattr("modiste.data.idx.idx_source.download", lambda *_: pytest.fail("the doctor fetches"))
        monkeypatch.setattr("modiste.data.paths.cache_folder", lambda: nowhere / PLACES[0])

    def lines(self, capsys: pytest.CaptureFixture[str]) -> list[str]:
        main.main(["doctor"])
        return [
            line.removeprefix("data").strip() for line in capsys.readouterr().out.splitlines() if line[:4] == "data"
        ]

    def test_says_where_the_data_are(
        self, nowhere: Path, small_fashion: dict[str, bytes], capsys: pytest.CaptureFixture[str]
    ) -> None:
        write(nowhere / PLACES[1], small_fashion | {LABELS: b""})
        write(nowhere / PLACES[2], small_fashion)
        faulty, found = self.lines(capsys)
        assert "empty: expected training labels, found 0 bytes" in faulty
        assert found == str(nowhere / PLACES[2])

    def test_says_where_it_looked(self, nowhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
        first, *rest = self.lines(capsys)
        assert first == "Fashion-MNIST is not on this machine; download it with: modiste data"
        for place in PLACES:
            assert f"searched {nowhere / place}" in rest
        assert sorted(path.name for path in nowhere.rglob("*")) == []

    def test_tells_of_a_folder_that_is_named_and_wrong(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("MODISTE_DATA", "absent")
        (line,) = self.lines(capsys)
        assert line.startswith("absent: no such folder: expected a folder, found nothing; check MODISTE_DATA")

    def test_quotes_what_is_to_be_installed(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
        main.main(["doctor"])
        missing = re.findall(r"^(\w+) +missing: (.*)$", capsys.readouterr().out, re.MULTILINE)
        assert missing == [(extra, f"pip install 'modiste[{extra}]'") for extra in EXTRAS]


def test_the_doctor_knows_every_extra() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert set(EXTRAS) == set(extras) - {"all", "dev", "docs"}
    assert extras["all"] == [f"modiste[{','.join(sorted(EXTRAS))}]"]


def test_every_hint_to_install_an_extra_is_quoted() -> None:
    """A shell such as zsh takes brackets for a pattern."""
    texts = [*(ROOT / "src").rglob("*.py"), *ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    content = (path.read_text(encoding="utf-8") for path in texts)
    hints = [hint for text in content for hint in re.findall(r"pip install [^\n`]*\[[^\n`]*", text)]
    assert len(hints) > 10
    assert [hint for hint in hints if not re.search(r"'[^']*\[[^']*\]'", hint)] == []


def test_another_set_is_read_with_numbered_classes(tmp_path: Path) -> None:
    raw = idx_source.load_training(str(write(tmp_path / "shapes", GOOD)))
    assert (raw.name, raw.class_names) == ("shapes", ("0", "1", "2"))
    assert raw.images.shape == (6, 4, 5)
    assert not any(file.published for file in raw.files)


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (IMAGES + ".gz", LABELS),
        ("train-images.idx3-ubyte", "train-labels.idx1-ubyte"),
        ("emnist-digits-train-images-idx3-ubyte.gz", "emnist-digits-train-labels-idx1-ubyte.gz"),
    ],
)
def test_the_usual_names_are_known(tmp_path: Path, images: str, labels: str) -> None:
    contents = {images: GOOD_IMAGES, labels: GOOD_LABELS}
    files = {name: packed(content) if name.endswith(".gz") else content for name, content in contents.items()}
    write(tmp_path, files | {f"._{images}": b"a Mac's shadow"})
    assert idx_source.load_training(str(tmp_path)).files[0].path == tmp_path / images


def with_point(name: str) -> str:
    return name.replace("-idx", ".idx")


WHOLE = GOOD | GOOD_TEST
LAYOUTS = {  # as archives lay the files, Kaggle's MNIST first
    "a folder of the other spelling beside each": {with_point(name): content for name, content in WHOLE.items()}
    | {f"{name}/{name}": content for name, content in WHOLE.items()},
    "each in a folder of its name": {f"{name}/{name}": content for name, content in WHOLE.items()},
    "each in a folder of the other spelling": {f"{with_point(name)}/{name}": c for name, c in WHOLE.items()},
    "an archive beside each folder": {f"{name}.gz": packed(content) for name, content in WHOLE.items()}
    | {f"{name}/{name}": content for name, content in WHOLE.items()},
    "both spellings": WHOLE | {with_point(name): content for name, content in WHOLE.items()},
}


def write_below(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        write((folder / name).parent, {Path(name).name: content})
    return folder


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_file_may_lie_in_a_folder_of_its_name(tmp_path: Path, layout: str) -> None:
    plain = write(tmp_path / "plain", WHOLE)
    laid = write_below(tmp_path / "laid", LAYOUTS[layout] | {"classes.txt": b"a\nb\nc"})
    assert idx_source.load_training(str(laid)).fingerprint == idx_source.load_training(str(plain)).fingerprint
    assert held_out.load_held_out(str(laid)).fingerprint == held_out.load_held_out(str(plain)).fingerprint
    assert held_out.load_held_out(str(laid)).class_names == ("a", "b", "c")


@pytest.mark.parametrize("twin", [with_point(IMAGES), f"{with_point(IMAGES)}/{IMAGES}", f"{IMAGES}.gz/{IMAGES}"])
def test_two_sets_of_one_name_are_still_two(tmp_path: Path, twin: str) -> None:
    write_below(tmp_path, GOOD | {twin: GOOD_IMAGES[:-1] + b"x"})
    with pytest.raises(DataError, match=rf"more than one set: expected one .*, found {IMAGES}, {twin};"):
        idx_source.load_training(str(tmp_path))


def test_fashion_mnist_too_may_lie_so(nowhere: Path, small_fashion: dict[str, bytes]) -> None:
    for number, layout in enumerate(LAYOUTS):
        laid = write_below(nowhere / str(number), LAYOUTS[layout])
        assert idx_source.load_training("fashion-mnist", laid).files[0].path.is_relative_to(laid), layout


def test_the_raw_twin_is_taken(tmp_path: Path) -> None:
    write(tmp_path, GOOD | {f"{IMAGES}.gz": b"never opened"})
    assert idx_source.load_training(str(tmp_path)).files[0].path.name == IMAGES


def test_the_fingerprint_follows_the_content_only(tmp_path: Path) -> None:
    raw = idx_source.load_training(str(write(tmp_path / "raw", GOOD)))
    gz = {f"{name}.gz": packed(content) for name, content in GOOD.items()}
    assert idx_source.load_training(str(write(tmp_path / "gz", gz))).fingerprint == raw.fingerprint
    other = write(tmp_path / "other", GOOD | {LABELS: idx([1, 0, 2, 0, 1, 2])})
    assert idx_source.load_training(str(other)).fingerprint != raw.fingerprint


def test_class_names_come_from_their_file(tmp_path: Path) -> None:
    write(tmp_path, GOOD | {"classes.txt": "\ufeffcat\r\ndog \nthé\nunseen\n\n".encode()})
    assert idx_source.load_training(str(tmp_path)).class_names == ("cat", "dog", "thé", "unseen")


def test_the_held_out_part_of_another_set_has_the_classes_of_its_training_part(tmp_path: Path) -> None:
    few = {"test-images-idx3-ubyte": idx(np.zeros((2, 4, 5))), "test-labels-idx1-ubyte": idx([0, 0])}
    raw = held_out.load_held_out(str(write(tmp_path, GOOD | few)))
    assert raw.class_names == ("0", "1", "2")
    write(tmp_path, {"classes.txt": b"a\nb\nc\nd"})
    assert held_out.load_held_out(str(tmp_path)).class_names == ("a", "b", "c", "d")


def test_a_folder_argument_moves_another_set(tmp_path: Path) -> None:
    folder = write(tmp_path / "moved", GOOD)
    assert idx_source.load_training("/where/it/was", folder).folder == folder


def test_a_folder_without_test_files_is_described_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main.main(["data", str(write(tmp_path / "set", GOOD))])
    printed = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("well formed") for line in printed) == 2
    assert [line.partition(",")[0] for line in printed if line.startswith("training: ")] == [
        "training: 6 images of 4 x 5"
    ]
    assert printed[-1].startswith(f"test: {tmp_path / 'set'}: no such file: expected one *t10k-images*idx3-ubyte")


@pytest.mark.parametrize("name", GOOD_TEST)
def test_damaged_test_files_are_a_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    folder = write(tmp_path / "set", GOOD | GOOD_TEST)
    for content in (GOOD_TEST[name][:-3], None):
        (folder / name).write_bytes(content) if content else (folder / name).unlink()
        with pytest.raises(SystemExit) as caught:
            main.main(["data", str(folder)])
        assert caught.value.code == DataError.exit_code
        assert str(folder) in capsys.readouterr().err


def test_fashion_mnist_without_its_test_files_is_a_fault(
    nowhere: Path, small_fashion: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    write(nowhere / PLACES[1], small_fashion)
    with pytest.raises(SystemExit) as caught:
        main.main(["data"])
    assert caught.value.code == DataError.exit_code
    assert "test files: not found" in capsys.readouterr().err


def test_the_four_files_are_verified(real_files: dict[str, Path]) -> None:
    files = held_out.verify_all(real_files[IMAGES].parent)
    assert [file.path for file in files] == [real_files[name] for name in (*PAIR["train"], *PAIR["test"])]
    assert [file.size_bytes for file in files] == [47_040_016, 60_008, 7_840_016, 10_008]
