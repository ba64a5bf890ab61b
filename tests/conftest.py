"""A recipe that trains on the small data set in a second, and one finished run of the two."""

import fcntl
import gc
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import jaxtyping
import platformdirs
import pytest

from commands_and_data import tiny_files
from fork_server import ForkServer

if TYPE_CHECKING:  # Nothing here imports torch: of several processes, the first hands out tests and runs none.
    from modiste.recipes.plain import Part
    from modiste.recipes.recipe import Recipe

pytest_plugins = ["chromium", "fault_counter", "network_guard"]
# Else each run takes as many threads as there are free cores, and two runs that are compared differ in their last bits.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # who asks for several threads may have fewer cores free
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")  # else "auto" takes a GPU, whose last bits are others
SHARED = ("tiny_folder", "finished_run", "exported_run", "photo_run", "exported_photo_run")
"""Fixtures that are folders of all tests."""
READ_FROM_CACHE = ("fashion-mnist", "backbones", "onnxruntime-web")
"""What tests read of the folder that Modiste keeps for the user."""


def pytest_configure(config: pytest.Config) -> None:
    if "PYTEST_XDIST_WORKER" not in os.environ:  # else the first process has done it
        config.add_cleanup(own_cache().cleanup)


def own_cache() -> "tempfile.TemporaryDirectory[str]":
    """Let the tests keep what they decode in a folder of their own, where what is in the user's is found too."""
    user, own = Path(platformdirs.user_cache_dir()), tempfile.TemporaryDirectory(prefix="modiste-cache-")
    (Path(own.name) / "modiste").mkdir()
    others = [path for path in user.glob("*") if path.name != "modiste"]
    for path in [*others, *(user / "modiste" / name for name in READ_FROM_CACHE)]:
        if path.exists():
            (Path(own.name) / path.relative_to(user)).symlink_to(path)
    os.environ["XDG_CACHE_HOME"] = own.name
    return own


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection(session: pytest.Session) -> Iterator[None]:
    """Collect the tests without the garbage collector, which would take a fifth of the time to find nothing.

    What was collected stays to the end: later collections need not look at it.
    """
    if not session.config.pluginmanager.has_plugin("dsession"):
        let_recipes_check_themselves()
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def let_recipes_check_themselves() -> None:
    """Let every part of a recipe check its fields itself: it takes lists for tuples, which the type checker refuses."""
    from modiste.recipes.plain import Part
    from modiste.searches.plan import Plan  # noqa: F401 - a part of its own, beside those of a recipe

    for part in parts(Part):
        part.__init__.__no_type_check__ = True  # type: ignore[misc]


def parts(base: "type[Part]") -> "Iterator[type[Part]]":
    for kind in base.__subclasses__():
        yield kind
        yield from parts(kind)


def of_all_workers(folders: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return this worker's copy of a folder that the first worker makes which needs it; the others wait for it."""
    own = folders.mktemp(name) / "run"
    common = folders.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        common = common.parent
    made = common / f"{name}-of-all-workers"
    with (common / f"{name}.lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            make(own)
            shutil.copytree(own, own.with_name("copy")).rename(made)
            return own
    shutil.copytree(made, own)
    return own


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], object]], Path]:
    """Make a folder, from its name and what fills it, in the first worker alone; every worker has a copy."""
    return partial(of_all_workers, tmp_path_factory)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the small data set; never changed."""
    folder = tmp_path_factory.mktemp("images") / "tiny"
    folder.mkdir()
    for name, content in tiny_files().items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(scope="session")
def tiny_recipe() -> "Recipe":
    """A small network for three epochs of 25 steps, with dropout; its data are named by ``data_folder``."""
    from modiste.recipes.networks import CNNRecipe
    from modiste.recipes.recipe import DataRecipe, Recipe

    return Recipe(
        name="tiny",
        epochs=3,
        batch_size=16,
        data=DataRecipe(source="tiny", validation_fraction=1 / 6),
        model=CNNRecipe(filters=(4, 8), pools=1, hidden=(16,), dropout=0.25),
    )


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory, tiny_recipe: "Recipe", tiny_folder: Path) -> Path:
    """Folder of a run that has finished; copy it to change it."""
    from modiste.training import trainer
    from modiste.training.setup import Inputs

    train = partial(trainer.train, tiny_recipe, inputs=Inputs(tiny_folder), device="cpu")
    return of_all_workers(tmp_path_factory, "tiny", train)


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of the finished run that a test may change."""
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


@pytest.fixture(scope="session")
def exported_run(tmp_path_factory: pytest.TempPathFactory, finished_run: Path, tiny_folder: Path) -> Path:
    """Folder of the finished run with its ONNX file, ``model.onnx``; copy it to change it."""
    from modiste.exports.export import export

    def make(folder: Path) -> None:
        shutil.copytree(finished_run, folder)
        export(folder, data_folder=tiny_folder)

    return of_all_workers(tmp_path_factory, "exported", make)


@pytest.fixture(autouse=True)
def shared_folders_stay_as_they_are(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that changes a folder of all tests: later tests would depend on the order."""
    folders = [request.getfixturevalue(name) for name in SHARED if name in request.fixturenames]
    before = list(map(files, folders))
    yield
    for folder, found in zip(folders, before, strict=True):
        assert files(folder) == found, f"the test changed {folder}; copy it first"


def files(folder: Path) -> dict[Path, tuple[int, int]]:
    """Return the size and the time of change of every file."""
    every = [(path, path.stat()) for path in folder.rglob("*") if path.is_file()]
    return {path: (told.st_size, told.st_mtime_ns) for path, told in every}


@pytest.fixture(scope="session")
def photo_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a small network that has seen a tenth of Fashion-MNIST's training images, with its detector."""
    from modiste.evaluation.out_of_distribution.run_detector import of_run
    from modiste.recipes import named
    from modiste.runs.run_folder import open_run
    from modiste.training import trainer

    def train(folder: Path) -> None:
        sprint = named.get("sprint")
        few = replace(sprint.data, images_per_class=500)  # in small batches, or there would be few steps
        recipe = replace(sprint, epochs=2, batch_size=64, data=few, precision="float32")
        trainer.train(recipe, folder, device="cpu")
        of_run(open_run(folder))  # learned once, not by every worker

    return of_all_workers(tmp_path_factory, "photo", train)


@pytest.fixture(scope="session")
def exported_photo_run(tmp_path_factory: pytest.TempPathFactory, photo_run: Path) -> Path:
    """Folder of ``photo_run`` with its ONNX file, ``model.onnx``; copy it to change it."""
    from modiste.exports.export import export

    def make(folder: Path) -> None:
        shutil.copytree(photo_run, folder)
        export(folder)

    return of_all_workers(tmp_path_factory, "exported-photo", make)


@pytest.fixture
def without_type_checks() -> Iterator[None]:
    """Let wrong types reach Modiste's own checks, as they do outside the tests, where no type checker stands before."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The picture files that are read, in no order."""
    from modiste.data.pictures import picture_cache

    paths, read = list[Path](), picture_cache.read_file
    monkeypatch.setattr(picture_cache, "read_file", lambda path: (paths.append(path), read(path))[1])
    return paths


@pytest.fixture
def memory_path() -> Iterator[Path]:
    """Folder of files in memory, where there is room for them, so that thousands of saves wait for no disk."""
    shared = Path("/dev/shm")
    has_room = os.access(shared, os.W_OK) and shutil.disk_usage(shared).free > 2**28  # a container may have 64 MB
    with tempfile.TemporaryDirectory(dir=shared if has_room else None) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def fork_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    """Processes that begin in milliseconds, on a disk that can be told to fail."""
    if sys.platform != "linux" or not shutil.which("cc"):
        pytest.skip("needs Linux and a C compiler")
    folder = tmp_path_factory.mktemp("fork_server")
    library, source = folder / "faulty_disk.so", Path(__file__).parent / "faulty_disk.c"
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", library, source, "-ldl"], check=True, timeout=60)
    fork_server = ForkServer(folder, library)
    yield fork_server
    fork_server.close()
