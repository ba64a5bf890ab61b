"""What a stranger hands over is data: read, it imports nothing, starts nothing, and opens no file but its own."""

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import folders
import graphs
import pickles
import pyarrow
import pyarrow.parquet
import pytest
import tensors
import texts
from hostile_cases import Case, Shelf, Sound
from table_files import made, picture_table, write_kaggle, write_keras, write_parquet

from commands_and_data import child_environment
from fault_counter import Faults
from modiste.recipes.networks import MLPRecipe
from modiste.recipes.recipe import Recipe
from modiste.training import trainer
from modiste.training.setup import Inputs

BURGLAR = """
import pathlib
def enter(mark): pathlib.Path(mark).touch()
enter(__file__ + ".imported")
"""
DAMAGED = 200
"""Times that each case is damaged by chance, in the torture room."""


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory, tiny_recipe: Recipe, tiny_folder: Path) -> Sound:
    folder = tmp_path_factory.mktemp("sound") / "run"
    small = replace(tiny_recipe, epochs=1, model=MLPRecipe(hidden=(4,)))
    trainer.train(small, folder, Inputs(tiny_folder), device="cpu")
    exported = graphs.sound().SerializeToString()
    return Sound(folder, (folder / "model.safetensors").read_bytes(), exported, tiny_folder)


class Reader:
    """The process that reads."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    def read(self, case: Case, damage: int | None = None) -> dict[str, Any]:
        assert self.process.stdin
        assert self.process.stdout
        told = {"reader": case.reader, "path": str(case.path), "own": str(case.path.parent), "damage": damage}
        self.process.stdin.write(json.dumps(told) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, f"{case}: the process died"
        found: dict[str, Any] = json.loads(line)
        return found


@pytest.fixture(scope="module")
def reader(sound: Sound, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    folder = tmp_path_factory.mktemp("reader")
    (folder / f"{pickles.MODULE}.py").write_text(BURGLAR, encoding="utf-8")
    with subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("watched_reader.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=child_environment(PYTHONPATH=os.pathsep.join([str(folder), os.environ["PYTHONPATH"]])),
    ) as process:
        reader = Reader(process)
        for case in warm_up(sound, folder / "warm"):
            assert reader.read(case)["outcome"] == ("taken" if case.harmless else "refused"), case
        reader.read(Case("begin", "begin", folder))
        yield reader
        assert process.stdin
        process.stdin.close()
        assert process.wait(20) == 0
    assert not list(folder.glob("*.imported"))


def sound_tables(folder: Path) -> dict[str, bytes]:
    """A sound table of each kind, by the end of its name."""
    place = folder / "tables"
    place.mkdir(parents=True)
    parts = made(), made(18, seed=1)
    write_keras(place, *parts)
    write_kaggle(place, *parts)
    write_kaggle(place, *parts, packed=True)
    write_parquet(place, *parts, shards=1)
    names = {
        ".npz": "keras.npz",
        ".csv": "set_train.csv",
        ".csv.gz": "set_train.csv.gz",
        ".parquet": "train-00000-of-00001.parquet",
    }
    return {end: (place / name).read_bytes() for end, name in names.items()}


def warm_up(sound: Sound, folder: Path) -> list[Case]:
    """Return sound files and damaged ones, after which every module that is ever needed is there."""
    shelf = Shelf(folder)
    for cut in (0, 100):
        whole = cut == 0
        for reader in ("model", "weights"):
            shelf.file("own", reader, "given.safetensors", sound.model[cut:], harmless=whole)
        shelf.file("own", "exported", "model.onnx", sound.exported[cut // 10 :], harmless=whole)
        for suffix, text in {"json": '{"name": "x"}', "toml": 'name = "x"'}.items():
            shelf.file("own", "recipe", f"given.{suffix}", text[cut and 1 :], harmless=whole)
        shelf.file("own", "space", "given.json", '{"epochs": "integer(1,2)"}'[cut and 1 :], harmless=whole)
        shelf.file("own", "archive", "given.tar", folders.member("log.jsonl", size=4)[cut:], harmless=whole)
        shelf.file("own", "trained", "given.json", '{"name": "x", "data": {"source": "nowhere"}}')
    shelf.folder_of("own", "run", lambda place: shutil.copytree(sound.run, place), harmless=True)
    shelf.folder_of("own", "data", lambda place: shutil.copytree(sound.data, place), harmless=True)
    shelf.folder_of("own", "states", lambda place: shutil.copytree(sound.run / "checkpoints", place), harmless=True)
    shelf.file("own", "pictures", "given.png", b"no picture")
    for name, content in sound_tables(folder).items():
        for cut in (0, 100):
            shelf.file("own", "table", f"given{name}", content[cut:], harmless=not cut)
    broken = io.BytesIO()
    images, labels = made()
    pictures = [{"bytes": b"no picture", "path": None}] * len(images)
    pyarrow.parquet.write_table(picture_table((images, labels), image=pyarrow.array(pictures)), broken)
    shelf.file("own", "table", "given.parquet", broken.getvalue())
    return shelf.cases


GROUPS: dict[str, Callable[[Shelf, Sound, Path], None]] = {
    "malicious pickles": pickles.add,
    "tampered safetensors": lambda shelf, sound, _: tensors.add(shelf, sound),
    "hostile graphs": lambda shelf, sound, _: graphs.add(shelf, sound),
    "hostile tables": lambda shelf, _sound, mark: add_tables(shelf, mark.parent),
    "hostile recipes, spaces and searches": lambda shelf, _sound, _mark: texts.add(shelf),
    "hostile run folders and archives": lambda shelf, sound, _: folders.add(shelf, sound),
}


def add_tables(shelf: Shelf, folder: Path) -> None:
    """Sound tables, which are damaged by chance, and cut ones."""
    for end, content in sound_tables(folder).items():
        shelf.file(f"a sound {end}", "table", f"given{end}", content, harmless=True)
        shelf.file(f"a cut {end}", "table", f"given{end}", content[: len(content) // 2 - 1])


@pytest.mark.parametrize("group", GROUPS)
def test_what_is_read_runs_nothing(group: str, sound: Sound, reader: Reader, tmp_path: Path, faults: Faults) -> None:
    shelf, mark = Shelf(tmp_path / "cases"), tmp_path / "mark"
    GROUPS[group](shelf, sound, mark)
    count = len(shelf.cases)
    for number in faults(f"no code from files: {group}", few=count, many=count * (1 + DAMAGED)):
        case = shelf.cases[number % count]
        found = reader.read(case, None if number < count else number)
        assert not wrong(case, found, damaged=number >= count), f"{number}: {case.reader}, {case.name}"
    assert not mark.exists()


def wrong(case: Case, found: dict[str, Any], *, damaged: bool) -> str:
    """Tell what is wrong with how a case ended; nothing if it is as it should be."""
    if found["events"]:
        return f"tried {found['events']}"
    if found["outcome"] == "escaped" or (found["outcome"] == "taken" and not (case.harmless or damaged)):
        return f"{found['outcome']} {found['message'][:300]}"
    message = found["message"]
    if not message.isprintable() and found["outcome"] == "refused":
        return f"not one line: {message[:200]!r}"
    return "" if len(message) < 2000 else f"a message of {len(message):,} letters"
