"""A process that reads hostile files, and reports the result of each and whatever else the reading tried to do.

It is given a folder of sound files to warm up with; after that, whatever imports a module, starts a process, opens a
socket, runs code, or touches a file outside the case's own folder is an event, and told. One line in, one line out:

    {"reader": "model", "path": "/tmp/.../case/x.safetensors", "own": "/tmp/.../case", "damage": null}
"""

import encodings.utf_8_sig  # noqa: F401  (names of classes may begin with its mark)
import json
import os
import random
import resource
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from modiste.data.dataset import load_development
from modiste.data.idx.idx_source import load_training
from modiste.errors import ModisteError
from modiste.evaluation.out_of_distribution import run_detector
from modiste.inference.answers import find_pictures, prepared
from modiste.inference.onnx_model import OnnxModel
from modiste.inference.predictor import Predictor
from modiste.photo.preparation import Preparation
from modiste.recipes import recipe
from modiste.recipes.plain import build
from modiste.runs import checkpoint, run_folder, storage
from modiste.searches import outcomes, space
from modiste.searches.plan import PLAN, Plan
from modiste.searches.ray_cluster import unpack
from modiste.serving import serve
from modiste.training.transfer import transfer
from modiste.training.transfer.source import locate
from modiste.training.transfer.source import read as read_source

WATCHED = (
    "import",
    "exec",
    "subprocess.",
    "os.exec",
    "os.fork",
    "os.kill",
    "os.posix_spawn",
    "os.spawn",
    "os.system",
    "pty.",
    "socket.",
    "ssl.",
    "urllib.",
    "http.",
    "pickle.",
    "marshal.",
    "ctypes.",
    "code.",
)
FILES = ("open", "os.chmod", "os.link", "os.listdir", "os.mkdir", "os.remove", "os.rename", "os.scandir", "os.symlink")
SECONDS = 20
MORE_BYTES = 3 * 2**30


def read_run(path: Path) -> None:
    run = run_folder.open_run(path)
    run.load_info()
    run.load_model("last")
    run.pretraining(), run.timing(), run.facts()
    run_folder.read_logits(path / run_folder.logits_name("validation"))
    if run_folder.is_listed(run, run_detector.FILE):
        run_detector.of_run(run)
    if run_folder.is_listed(run, run_folder.TRANSFER):
        transfer.read_report(path)
    Predictor.load(path, device="cpu")


def read_weights(path: Path) -> None:
    for stored in read_source(locate(path).path).values():
        stored.read()


def read_exported(path: Path) -> None:
    model = OnnxModel.load(path)
    model.classify(np.zeros((2, *model.image_shape), np.uint8))


def read_trained(path: Path) -> None:
    load_training(recipe.load(path).data.source)


def read_search(path: Path) -> None:
    build(Plan, storage.read_json(path / PLAN))
    outcomes.read(path)


def read_pictures(path: Path) -> None:
    for _, picture in find_pictures(path):
        found = prepared(picture, Preparation())
        if isinstance(found, str):
            raise ModisteError(found)


READERS: dict[str, Callable[[Path], object]] = {
    "model": checkpoint.load_model,
    "weights": read_weights,
    "states": checkpoint.load_state,
    "run": read_run,
    "exported": read_exported,
    "served": lambda path: OnnxModel.load(serve.model_file(path)),
    "recipe": recipe.load,
    "trained": read_trained,
    "space": lambda path: space.parse(space.read([str(path)]), recipe.Recipe(name="x")),
    "search": read_search,
    "pictures": read_pictures,
    "table": lambda path: load_development(recipe.DataRecipe(source=str(path))),
    "data": lambda path: load_training(str(path)),
    "archive": lambda path: unpack(path.read_bytes(), path.parent / "unpacked"),
}


class Watch:
    """What this process has tried since it was last asked; nothing is noted while no folder is its own."""

    def __init__(self) -> None:
        self.own: Path | None = None
        self.events: list[str] = []
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.own is None:
            return
        if event.startswith(WATCHED):
            self.events.append(f"{event} {arguments[0] if arguments else ''!s}"[:200])
        elif event in FILES and isinstance(arguments[0], str | bytes):
            own, self.own = self.own, None  # looking at the path is no event
            path = Path(arguments[0] if isinstance(arguments[0], str) else arguments[0].decode())
            if not path.resolve().is_relative_to(own) and str(path) != "/dev/null":
                self.events.append(f"{event} {path}")
            self.own = own


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    """Give up what takes too long."""

    def give_up(*_: object) -> None:
        raise TimeoutError(f"hung for {seconds} seconds")

    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


def is_plain(path: Path) -> bool:
    """Tell whether a case holds neither links nor pipes, which cannot be copied."""
    return all((one.is_file() or one.is_dir()) and not one.is_symlink() for one in (path, *path.rglob("*")))


def damaged(path: Path, number: int) -> Path:
    """Copy a case beside itself with a few bytes of one of its files changed, cut, doubled or made up."""
    copy = path.parent / f"damaged-{path.name}"
    shutil.rmtree(copy, ignore_errors=True)
    (shutil.copytree if path.is_dir() else shutil.copy)(path, copy)
    chance = random.Random(number)
    files = sorted(one for one in copy.rglob("*") if one.is_file()) if copy.is_dir() else [copy]
    file = chance.choice(files)
    content = bytearray(file.read_bytes())
    for _ in range(chance.randint(1, 8)):
        place = chance.randrange(len(content) + 1)
        content[place : place + chance.randint(0, 4)] = chance.randbytes(chance.randint(0, 5))
    file.write_bytes(content)
    return copy


def tell(watch: Watch, reader: str, path: Path, own: Path) -> dict[str, Any]:
    """Read, and return what came of it: refused, taken, or an error that is not Modiste's."""
    watch.events, outcome, message = [], "taken", ""
    watch.own = own.resolve()
    try:
        with limited(SECONDS):
            READERS[reader](path)
    except ModisteError as error:
        outcome, message = "refused", str(error)
    except BaseException as error:
        outcome, message = "escaped", f"{type(error).__name__}: {error}"
    finally:
        watch.own = None
    return {"outcome": outcome, "message": message, "events": watch.events}


def main() -> None:
    watch = Watch()
    answers = os.fdopen(os.dup(1), "w")  # libraries may say things on the terminal
    os.dup2(2, 1)
    for line in sys.stdin:
        told = json.loads(line)
        if told["reader"] == "begin":
            used = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + MORE_BYTES, used + MORE_BYTES))
            found: dict[str, Any] = {}
        else:
            path = Path(told["path"])
            if told["damage"] is not None and is_plain(path):
                path = damaged(path, told["damage"])
            found = tell(watch, told["reader"], path, Path(told["own"]))
        print(json.dumps(found), file=answers, flush=True)


if __name__ == "__main__":
    main()
