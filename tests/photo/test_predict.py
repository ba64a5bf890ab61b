"""Photographs of the real images, brought back and answered as the originals are; and the command on real files."""

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import pytest
import torch
from PIL import Image

import modiste
import other_things
import photographs
from commands_and_data import PROGRAMS, child_environment, run_modiste, run_script
from fault_counter import slow_case
from modiste.cli import main
from modiste.cli.answer_writers import TableWriter
from modiste.cli.streams import ERASE, ProgressBar
from modiste.data.pictures.folder_layout import visible
from modiste.errors import DataError, PhotoError, RecipeError, RunError, printable
from modiste.inference.answers import AHEAD, BATCH, FileAnswer, answers, find_pictures
from modiste.inference.classifier import Scores
from modiste.inference.predictor import Predictor
from modiste.photo.garment import Prepared, prepare
from modiste.reports.photo import steps_figure

COUNT = 60


@pytest.fixture
def run(photo_run: Path) -> Path:
    return photo_run


@pytest.fixture(scope="module")
def originals() -> np.ndarray:
    return modiste.load_dataset().validation.images[:COUNT, 0].numpy()


@pytest.mark.parametrize("ground", [slow_case("shop"), slow_case("coloured"), slow_case("dark"), "JPEG"])
def test_a_photograph_of_an_image_is_answered_as_the_image(ground: str, run: Path, originals: np.ndarray) -> None:
    """Networks of five seeds answered 55 of 60 alike or more; 80 % is three standard errors, of 2 images each, below.

    In a shop the background is white, and the naive way does almost as well.
    """
    predictor, random = Predictor.load(run, device="cpu"), np.random.default_rng(0)
    brought_back = [prepare(photographs.MAKERS[ground](image, random)) for image in originals]
    assert all(one.separated for one in brought_back)
    same = predictor.logits(np.stack([one.image for one in brought_back])).argmax(1) == predictor.logits(
        originals
    ).argmax(1)
    assert same.float().mean() >= 0.8
    without = [np.asarray(photographs.naive(photographs.MAKERS[ground](image, random))) for image in originals]
    naive = predictor.logits(np.stack(without)).argmax(1) == predictor.logits(originals).argmax(1)
    assert same.sum() > naive.sum() or ground == "shop"


def test_an_image_of_the_data_set_goes_through_as_it_is(originals: np.ndarray) -> None:
    for image in originals:
        prepared = prepare(photographs.as_file(np.repeat(image[..., None].astype(float), 3, 2), "PNG"))
        assert np.array_equal(prepared.image, image)


def test_probabilities_are_tempered_and_sorted(run: Path, originals: np.ndarray) -> None:
    predictor = Predictor.load(run, device="cpu")
    (answer,) = answers(predictor, [("a", photographs.MAKERS["shop"](originals[0], np.random.default_rng(0)))])
    values = [value for _, value in answer.probabilities]
    assert values == sorted(values, reverse=True)
    assert sum(values) == pytest.approx(1, abs=1e-5)
    assert answer.prepared is not None
    logits = predictor.logits(answer.prepared.image)
    assert max(values) == pytest.approx((logits / predictor.temperature).softmax(1).max().item(), abs=1e-6)
    assert predictor.temperature != 1
    untempered = Predictor.load(run / "model.safetensors", device="cpu")
    assert untempered.temperature == 1


@pytest.fixture(scope="module")
def twenty_photos(originals: np.ndarray) -> list[bytes]:
    random = np.random.default_rng(1)
    return [photographs.MAKERS["JPEG"](image, random) for image in originals[:20]]


@pytest.fixture
def folder(tmp_path: Path, twenty_photos: list[bytes]) -> Path:
    """Twenty pictures, two of them damaged, in folders, and a letter."""
    place = tmp_path / "pictures"
    (place / "more").mkdir(parents=True)
    for number, content in enumerate(twenty_photos):
        where = place / "more" if number % 2 else place
        (where / f"{number:02d}.jpg").write_bytes(content[:200] if number in (3, 8) else content)
    (place / "letter.txt").write_text("no picture")
    return place


def test_a_folder_is_answered_to_its_end_and_bad_files_are_named(run: Path, folder: Path, tmp_path: Path) -> None:
    done = run_modiste("predict", run, folder, "--device", "cpu")
    assert done.returncode == 3
    assert len(done.stdout.splitlines()) == 18
    assert "2 of 20 files could not be read" in done.stderr
    for name in ("more/03.jpg", "08.jpg"):
        assert f"{folder / name}: " in done.stderr
    found = json.loads(run_modiste("predict", run, "--json", folder, "--device", "cpu").stdout)
    assert len(found) == 20
    assert sum("fault" in one for one in found) == 2
    table = run_modiste("predict", run, folder, "--csv", "--device", "cpu").stdout
    rows = list(csv.DictReader(io.StringIO(table)))
    assert [row["class"] for row in rows] == [one.get("class", "") for one in found]
    assert [row["file"] for row in rows] == [one["file"] for one in found]
    for row, one in zip(rows, found, strict=True):
        shared = ("answer", "class", "fault", "advice")
        assert [row[name] for name in shared] == [one.get(name, "") for name in shared]
        assert row["refused"] == json.dumps(one["refused"]) == json.dumps(bool(row["fault"]))
        assert row["separated"] == (json.dumps(one["separated"]) if row["class"] else "")
        assert row["probability"] == (f"{one['probability']:.6f}" if row["class"] else "")
        assert (row["answer"] == "none") == bool(row["novelty"] and float(row["novelty"]) > 1)
        assert row["answer"] in ("none", row["class"])
    answered = [row for row in rows if row["class"]]
    for line, row in zip(done.stdout.splitlines(), answered, strict=True):
        assert line.startswith(f"{row['file']}: ")
        assert f"{row['class']} " in line
        assert ("none of the 10 classes" in line) == (float(row["novelty"]) > 1)


@pytest.fixture
def predict(run: Path, capsys: pytest.CaptureFixture[str]):
    """Run the command in this process; the model's file alone, which learns nothing at its first photo."""

    def call(*words: object) -> tuple[int, str, str]:
        code = 0
        try:
            main.main(["predict", str(run / "model.safetensors"), "--device", "cpu", *map(str, words)])
        except SystemExit as leaving:
            code = int(leaving.code or 0)
        return code, *capsys.readouterr()

    return call


def test_what_a_folder_holds_is_answered_or_named_or_hidden(predict, folder: Path) -> None:
    photo = (folder / "00.jpg").read_bytes()
    inside, links = folder / "inside", folder / "links"
    for name in ("a.jfif", "b.JPE", "c.jxl", "d.JP2", ".e.jpg", "__MACOSX/f.jpg", ".git/g.jpg", "h.txt"):
        (inside / name).parent.mkdir(parents=True, exist_ok=True)
        (inside / name).write_bytes(photo)
    links.mkdir()
    (links / "out.jpg").symlink_to(Path(__file__))
    (links / "nothing.jpg").symlink_to(links / "none")
    (links / "own.jpg").symlink_to(inside / "a.jfif")
    os.mkfifo(links / "pipe.jpg")
    code, out, err = predict(inside)
    assert code == 3
    assert [line.partition(": ")[0] for line in out.splitlines()] == [str(inside / "a.jfif"), str(inside / "b.JPE")]
    assert f"{inside / 'c.jxl'}: a picture of an unsupported format (jxl); save it as JPEG or PNG\n" in err
    assert f"{inside / 'd.JP2'}: a picture of an unsupported format (jp2)" in err
    assert "2 of 4 files could not be read" in err
    code, out, err = predict(links)
    assert (code, out) == (3, "")
    assert "out.jpg: a link that leads out of the folder" in err
    assert "nothing.jpg: a link to nothing" in err
    assert "pipe.jpg: a pipe, socket or device" in err


def test_a_photo_has_one_answer_in_every_format(predict, folder: Path) -> None:
    with Image.open(folder / "00.jpg") as opened:
        photo = opened.convert("RGB")
    inside = folder / "inside"
    inside.mkdir()
    for name, kind in (("a.png", "PNG"), ("b.tif", "TIFF"), ("c.ppm", "PPM"), ("d.avif", "AVIF"), ("e.mpo", "MPO")):
        photo.save(inside / name, kind, quality=95)
    pillow_heif.from_pillow(photo).save(inside / "f.HEIC", quality=95)
    code, out, err = predict(inside, "--csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert (code, err) == (0, "")
    assert [Path(row["file"]).name for row in rows] == ["a.png", "b.tif", "c.ppm", "d.avif", "e.mpo", "f.HEIC"]
    assert len({row["class"] for row in rows}) == 1


def test_a_folder_that_cannot_be_opened_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(path: Path) -> list["os.DirEntry[str]"]:
        if path.name == "more":
            raise DataError("no permission")
        return visible(path)

    monkeypatch.setattr("modiste.inference.answers.visible", opened)
    faults = [(name, str(found)) for name, found in find_pictures(folder) if isinstance(found, PhotoError)]
    assert faults == [(str(folder / "more"), "a folder that cannot be opened; check its permissions")]


def test_the_order_is_that_of_the_paths(folder: Path) -> None:
    names = [name for name, _ in find_pictures(folder)]
    assert names == [str(path) for path in sorted(folder.rglob("*.jpg"))]


def test_a_place_that_is_not_there_is_told_before_any_answer(predict, folder: Path) -> None:
    code, out, err = predict(folder / "00.jpg", "nowhere.jpg")
    assert (code, out, err) == (3, "", "modiste: nowhere.jpg: no such file or folder\n")
    code, out, err = predict(folder / "00.jpg", "x" * 300)
    assert (code, out, err.endswith("cannot be read (File name too long)\n")) == (3, "", True)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--ray", "auto"), "--ray needs --out FOLDER"),
        (("--shard-rows", "5"), "--shard-rows needs --out FOLDER"),
        (("--json", "--csv"), "--json and --csv: expected one of them, found both"),
    ],
)
def test_options_that_would_do_nothing_are_refused(
    predict, folder: Path, words: tuple[str, ...], complaint: str
) -> None:
    code, out, err = predict(folder / "00.jpg", *words)
    assert (code, out) == (2, "")
    assert complaint in err


@pytest.mark.parametrize("words", [("--device", "cpu"), ("--precision", "bfloat16")])
def test_an_onnx_file_takes_no_options_of_runs(
    folder: Path, words: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as leaving:
        main.main(["predict", "model.onnx", str(folder / "00.jpg"), *words])
    assert (leaving.value.code, f"{words[0]} does not go with an ONNX file" in capsys.readouterr().err) == (2, True)


def test_flags_stand_anywhere(predict, folder: Path) -> None:
    one, other = folder / "00.jpg", folder / "02.jpg"
    expected = predict(one, other, "--json")
    assert expected[0] == 0
    assert [item["file"] for item in json.loads(expected[1])] == [str(one), str(other)]
    assert predict("--json", one, other) == predict(one, "--json", other) == expected


@pytest.mark.parametrize(
    ("novelty", "separated", "answer", "advice"),
    [
        (0.5, True, "Coat", ""),
        (None, True, "Coat", ""),
        (1.5, True, "none", "look at the picture: it resembles none of the classes"),
        (0.5, False, "Coat", "photograph the garment on a plain background, or check the answer by eye"),
        (1.5, False, "none", "photograph the garment on a plain background, or check the answer by eye"),
    ],
)
def test_the_answer_and_what_to_do_follow_from_the_scores(
    novelty: float | None, separated: bool, answer: str, advice: str
) -> None:
    prepared = Prepared(np.zeros((28, 28), np.uint8), {}, separated, inverted=False)
    found = FileAnswer("a.jpg", (("Coat", 0.7), ("Bag", 0.3)), novelty, prepared)
    assert (found.answer, found.nearest, found.advice) == (answer, "Coat", advice)
    doubtful = replace(found, prepared=replace(prepared, doubt="several garments"))
    assert doubtful.advice == ("check the answer by eye" if separated else advice) + ": several garments"
    refused = FileAnswer("a.jpg", fault="damaged")
    assert (refused.answer, refused.nearest) == ("", "")
    assert refused.advice == "replace the file; its fault says what is wrong"


def test_a_class_called_none_is_not_taken_for_none_of_the_classes() -> None:
    found = FileAnswer("a.jpg", (("none", 0.7), ("Bag", 0.3)), novelty=0.5)
    novel = replace(found, novelty=1.5)
    assert (found.answer, found.verdict) == ("none", "none")
    assert (novel.answer, novel.verdict) == ("none of the 2 classes", "none of the 2 classes; nearest none")


@pytest.mark.skipif(sys.platform != "linux", reason="needs a pseudo-terminal")
def test_at_a_terminal_a_bar_shows_how_many_are_done_and_leaves_no_trace(run: Path, folder: Path) -> None:
    terminal, end = os.openpty()
    words = ["predict", run / "model.safetensors", folder, "--csv", "--device", "cpu"]
    with subprocess.Popen(
        [sys.executable, "-m", "modiste", *map(str, words)], env=child_environment(), stdout=subprocess.PIPE, stderr=end
    ) as process:
        os.close(end)
        printed = b"".join(iter(partial(read_terminal, terminal), b"")).decode()
        assert process.stdout
        assert len(process.stdout.read().splitlines()) == 21
    os.close(terminal)
    assert re.search(r"\[[#.]{24}\] \d+ of 20 pictures, [\d,]+ a second", printed)
    *_, last = printed.splitlines()
    assert last.endswith("2 of 20 files could not be read, see above")
    assert ERASE in printed[: printed.rindex("modiste: 2 of 20")][-len(ERASE) :]


def read_terminal(terminal: int) -> bytes:
    """Return what a terminal shows next; nothing when the other end is closed."""
    try:
        return os.read(terminal, 4096)
    except OSError:
        return b""


@pytest.mark.parametrize(
    ("done", "begun", "total", "line"),
    [
        (0, 0, 100, "[........................] 0 of 100 pictures, 0 a second"),
        (50, 0, 100, "[############............] 50 of 100 pictures, 25 a second, 2 s left"),
        (1_500, 1_000, 2_000, "[##################......] 1,500 of 2,000 pictures, 250 a second, 2 s left"),
        (100, 0, 100, "[########################] 100 of 100 pictures, 50 a second, 0 s left"),
    ],
)
def test_the_bar_says_how_fast_and_how_long(done: int, begun: int, total: int, line: str) -> None:
    bar = ProgressBar()
    bar.move_to(begun, total)
    bar.move_to(done, total)
    assert bar.line(seconds=2.0) == line
    unknown = ProgressBar()
    unknown.step(done)
    assert unknown.line(seconds=2.0) == f"{done:,} pictures, {done / 2:,.0f} a second"


def test_hostile_names_move_no_cursor_and_are_no_formula(
    predict, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of files, of files that cannot be read, and of a stranger's classes."""
    names = tuple(f"=class {number}\x1b[2J" for number in range(10))
    monkeypatch.setattr(Predictor, "class_names", property(lambda _self: names))
    monkeypatch.chdir(tmp_path)
    for name, content in (("=1+1\x1b[2J\r.jpg", (folder / "00.jpg").read_bytes()), ("-2\n\x07.jpg", b"nothing")):
        Path(name).write_bytes(content)
        for way in ((), ("--csv",), ("--json",)):
            _, out, err = predict("--", name) if not way else predict(*way, "--", name)
            assert not {"\x1b", "\x07", "\u202e"} & set(out + err)
            assert all(line.isprintable() for line in (out + err).replace("\r\n", "\n").splitlines())
            if way == ("--csv",):
                _, cells = csv.reader(io.StringIO(out, newline=""))
                assert all(cell[:1] not in "=+-@" for cell in cells if cell)
                assert cells[0].startswith("'")


def test_answers_come_as_the_pictures_do_and_keep_none(run: Path, originals: np.ndarray) -> None:
    predictor, asked = Predictor.load(run, device="cpu"), 0

    def pictures() -> Iterator[tuple[str, np.ndarray | PhotoError]]:
        nonlocal asked
        for asked in range(1, 4 * BATCH):
            yield str(asked), PhotoError("no") if asked % 2 else originals[0]

    for place, answer in enumerate(answers(predictor, pictures(), keep_steps=False)):
        assert asked <= (place // BATCH + 1) * BATCH + AHEAD + 1
        assert answer.prepared is None or answer.prepared.steps == {}


def test_the_function_keeps_no_steps_unless_asked(run: Path, twenty_photos: list[bytes]) -> None:
    predictor = Predictor.load(run, device="cpu")
    (bare,), (whole,) = (modiste.predict(predictor, twenty_photos[:1], keep_steps=kept) for kept in (False, True))
    (usual,) = modiste.predict(predictor, twenty_photos[:1])
    assert [list(one.prepared.steps) for one in (usual, bare) if one.prepared] == [[], []]
    assert whole.prepared is not None
    assert list(whole.prepared.steps) == ["photo", "garment alone", "cropped", "network's view"]
    assert usual.probabilities == whole.probabilities


def test_the_function_leaves_the_filters_of_warnings_as_they_were(
    run: Path, twenty_photos: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are the same all the while, so that what the network's code does to them nests."""
    predictor, classify, seen = Predictor.load(run, device="cpu"), Predictor.classify, list[object]()

    def noted(self: Predictor, images: np.ndarray) -> Scores:
        seen.append(warnings.filters[0])
        return classify(self, images)

    monkeypatch.setattr(Predictor, "classify", noted)
    before = list(warnings.filters)
    modiste.predict(predictor, twenty_photos)
    assert len(seen) == 2
    assert seen[0] == seen[1] != before[0]
    assert warnings.filters == before


def test_json_is_whole_where_an_error_ends_it(predict, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "bad-images-idx3-ubyte").write_bytes(b"nothing")
    code, out, err = predict(folder / "00.jpg", tmp_path / "bad-images-idx3-ubyte", "--json")
    assert (code, json.loads(out)) == (3, [])
    assert "bad-images-idx3-ubyte" in err


def test_standard_input_is_read_to_the_largest_photo(predict, monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, target: Any) -> int:
            return len(target)

    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BufferedReader(Endless()), encoding="utf-8"))
    code, _, err = predict("-")
    assert code == 3
    assert "standard input: the file has 20,971,521 bytes; expected at most 20,971,520" in err


@pytest.mark.parametrize(
    ("package", "words", "extra"),
    [("PIL", (), "photo"), slow_case("matplotlib", ("--show", "shown"), "report")],
)
def test_what_is_not_installed_is_named(
    run: Path, folder: Path, tmp_path: Path, package: str, words: tuple[str, ...], extra: str
) -> None:
    command = ["predict", run / "model.safetensors", folder / "00.jpg", "--device", "cpu", *words]
    done = run_script(PROGRAMS / "without_packages.py", package, *command, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.endswith(f"pip install 'modiste[{extra}]'\n")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("encoding", ["ascii", "iso-8859-2", "utf-8"])
@pytest.mark.parametrize("way", [(), ("--csv",), ("--json",)])
def test_any_name_is_printed_in_any_locale(
    predict, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str, way: tuple[str, ...]
) -> None:
    place = tmp_path / "names"
    place.mkdir()
    for name in (b"bad\xff.jpg", "b\u0142\u0105d.jpg".encode(), "\u8863.jpg".encode()):
        shutil.copy(folder / "00.jpg", os.path.join(os.fsencode(place), name))  # noqa: PTH118 - bytes
    output = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(output, encoding=encoding))
    code, _, err = predict(place, *way)
    assert (code, err) == (0, "")
    printed = output.getvalue().decode(encoding)
    assert "bad\\udcff.jpg" in printed
    if way == ("--json",):
        assert len(json.loads(printed)) == 3
    elif encoding == "iso-8859-2":
        assert "b\u0142\u0105d.jpg" in printed


@pytest.mark.slow
def test_the_command_computes_in_the_precision_asked_for(run: Path, folder: Path) -> None:
    told = {}
    for precision in ("trained", "float32", "bfloat16"):
        words = ("predict", run, folder / "00.jpg", "--json", "--device", "cpu", "--precision", precision)
        (told[precision],) = json.loads(run_modiste(*words).stdout)
    own = Predictor.load(run).info.recipe.precision
    other = {"float32": "bfloat16", "bfloat16": "float32"}[own]
    assert told[own] == told["trained"] != told[other]
    assert told[other]["probabilities"] == pytest.approx(told[own]["probabilities"], abs=0.02)


def test_pictures_of_other_things_are_told(run: Path, originals: np.ndarray) -> None:
    predictor = Predictor.load(run, device="cpu").with_novelty(run)
    assert predictor.novelty is not None
    assert 0.01 < predictor.novelty.false_alarms < 0.08
    assert predictor.novelty.images == 5000
    random = np.random.default_rng(0)
    told = {}
    for name, make in other_things.MAKERS.items():
        pictures = [(name, other_things.as_file(make(random))) for _ in range(30)]
        told[name] = np.mean([answer.is_novel for answer in answers(predictor, pictures)])
    # Of networks of three seeds 83 to 88 % of all, and of faces, which varied most, 53 to 93 %
    assert np.mean(list(told.values())) > 0.7
    assert min(told.values()) > 0.3, told
    own = [("own", photographs.as_file(np.repeat(image[..., None].astype(float), 3, 2), "PNG")) for image in originals]
    assert np.mean([answer.is_novel for answer in answers(predictor, own)]) < 0.15


def test_the_picture_says_that_it_is_none_of_the_classes(run: Path, originals: np.ndarray) -> None:
    predictor = Predictor.load(run, device="cpu")
    (known,) = answers(predictor, [("own", originals[0])])
    looked = np.zeros(originals[0].shape)
    titles = [steps_figure(replace(known, novelty=novelty), looked, {}).get_suptitle() for novelty in (0.5, 1.5)]
    best, probability = known.probabilities[0]
    assert titles == [f"{best}, {probability:.1%}", f"none of the 10 classes; nearest {best}, {probability:.1%}"]


def test_the_way_to_the_network_is_drawn(run: Path, folder: Path, tmp_path: Path) -> None:
    done = run_modiste("predict", run, folder / "00.jpg", "--show", tmp_path / "shown", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    (picture,) = (tmp_path / "shown").iterdir()
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("stem", ["靴" * 83, "\u200b" * 80], ids=["249 bytes", "240 bytes, all of them escaped"])
def test_a_long_name_of_a_photo_is_cut_where_the_system_could_not_take_it(
    stem: str, predict, folder: Path, tmp_path: Path
) -> None:
    photo = (folder / "00.jpg").rename(tmp_path / f"{stem}.jpg")
    code, _, err = predict(photo, "--show", tmp_path / "shown")
    assert code == 0, err
    (picture,) = (tmp_path / "shown").iterdir()
    assert picture.name.startswith(f"0000-{printable(stem[:1])}")


@pytest.mark.usefixtures("without_type_checks")
def test_the_function_takes_one_picture_in_every_form(
    run: Path, twenty_photos: list[bytes], originals: np.ndarray
) -> None:
    predictor, content = Predictor.load(run, device="cpu"), twenty_photos[0]
    (expected,) = modiste.predict(predictor, content)
    for form in (bytearray(content), memoryview(content)):
        (found,) = modiste.predict(predictor, form)
        assert (found.source, found.probabilities) == (expected.source, expected.probabilities)
    array, tensor = (modiste.predict(predictor, one) for one in (originals[0], torch.from_numpy(originals[0])))
    assert tensor[0].probabilities == array[0].probabilities
    for wrong in (None, 5):
        with pytest.raises(PhotoError, match=f"^pictures: expected a path, .* found {wrong}$"):
            modiste.predict(predictor, wrong)


def test_a_table_has_the_same_bytes_on_every_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard output writes two bytes for an end of line on Windows, as here."""
    written = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, "utf-8", newline="\r\n"))
    with TableWriter().opened() as writer:
        writer.write(FileAnswer("a.jpg", fault="empty"))
    header, row, rest = written.getvalue().split(b"\r\n")
    assert (header[:10], row[:6], rest) == (b"file,class", b"a.jpg,", b"")
    assert not {b"\r"[0], b"\n"[0]} & set(header + row)


@pytest.mark.parametrize(
    ("words", "complaint", "code"),
    [
        ((), "expected a run and pictures", 2),
        (("RUN",), "expected a run and pictures", 2),
        (("RUN", "nowhere.jpg"), "no such file or folder", 3),
        (("RUN", "EMPTY"), "no pictures in this folder", 3),
        (("RUN", "EMPTY", "--precision", "half"), "expected trained or float32 or bfloat16 or auto, found half", 2),
    ],
)
def test_the_command_refuses(words: tuple[str, ...], complaint: str, code: int, run: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    named = {"RUN": run, "EMPTY": tmp_path / "empty"}
    done = run_modiste("predict", *(named.get(word, word) for word in words), cwd=tmp_path)
    assert (done.returncode, complaint in done.stderr, "Traceback" in done.stderr) == (code, True, False)


def test_a_network_of_other_images_is_refused(finished_run: Path) -> None:
    predictor = Predictor.load(finished_run, device="cpu")
    wide = replace(predictor, info=replace(predictor.info, task=replace(predictor.info.task, image_shape=(3, 12, 12))))
    with pytest.raises(RecipeError, match="choose whole for colour"):
        list(answers(wide, []))


def test_a_person_chooses_how_many_garments_may_be_answered_none(
    run: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def scores(*words: str) -> np.ndarray:
        main.main(["predict", str(run), str(folder / "more"), "--json", "--device", "cpu", *words])
        return np.array([one["novelty"] for one in json.loads(capsys.readouterr().out) if "fault" not in one])

    (folder / "more" / "03.jpg").unlink()
    few, usual, many = scores("--accept", "0.001"), scores(), scores("--accept", "0.5")
    assert (few <= usual).all()
    assert (usual <= many).all()
    assert few.sum() < usual.sum() < many.sum()
    np.testing.assert_allclose(scores("--accept", "0.04"), usual)


def test_a_rate_that_cannot_be_chosen_is_refused_in_one_line(run: Path, folder: Path, predict: Any) -> None:
    code, printed, complaint = predict(folder / "00.jpg", "--accept", "0.1")
    assert (code, printed) == (RunError.exit_code, "")
    assert complaint.count("\n") == 1
    assert "--accept: there is no detector" in complaint
    with pytest.raises(RecipeError, match=r"--accept 0\.9: expected a share from 0\.001 to 0\.5"):
        Predictor.load(run, device="cpu").with_novelty(run).accepting(0.9)
