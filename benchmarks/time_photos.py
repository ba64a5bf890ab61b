"""Time photographs: ``modiste serve`` beside a plain server, and ``modiste predict``; write ``records/serving/photos``.

    python benchmarks/time_photos.py PHOTOS [--rounds 3] [--seconds 5] [--runs runs/serving] [--out records/serving]

PHOTOS is a folder of photographs. They are measured as they are, enlarged to product photos of 1,080 x 1,440, and
enlarged to 200 photos of a phone, 4,032 x 3,024. Clients and servers share the machine. The plain server
(``peers/plain_onnx_server.py``) only scales a photo; Modiste finds the garment in it.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from clients import load
from clock import MODISTE, PEERS, spread, time_process
from modiste.photo import segmentation
from modiste.photo.opening import open_photo
from record import Record, describe_machine, parser, provenance, rows, with_range
from time_serving import WARM_UP_SECONDS, figures, in_a_form, listening, trained

SIZES = {"as they are": None, "product": (1080, 1440), "phone": (3024, 4032)}
"""Width and height of each kind of photo; the longer side of a photo stays the longer one."""
COUNTS = {"as they are": 200, "product": 64, "phone": 200}
SERVED = ("as they are", "product")
CLIENTS = (1, 8, 64)
QUALITY = 90
SERVERS: dict[str, Callable[[Path, int], Sequence[object]]] = {
    "modiste serve": lambda model, port: (*MODISTE, "serve", model, "--port", port),
    "plain": lambda model, port: (sys.executable, PEERS / "plain_onnx_server.py", model, port),
    "plain, in threads": lambda model, port: (sys.executable, PEERS / "plain_onnx_server.py", model, port, "threads"),
}
NETWORK_RUNS = 10
Measured = dict[tuple[str, ...], list[float]]
"""Photos a second, or seconds a photo, in each round."""


def main() -> None:
    arguments = parser(__doc__, "records/serving", rounds=3)
    arguments.add_argument("photos", type=Path)
    arguments.add_argument("--seconds", type=float, default=5)
    arguments.add_argument("--runs", type=Path, default=Path("runs/serving"))
    options = arguments.parse_args()
    model = trained("sprint", options.runs) / "model.onnx"
    with tempfile.TemporaryDirectory() as place:
        folders = {kind: made(options.photos, kind, Path(place) / kind) for kind in SIZES}
        origin = provenance()
        command = origin["command"].replace(
            str(options.photos), "PHOTOS"
        )  # a path of this machine says nothing elsewhere
        record = origin | {
            "command": command,
            "serving": measured(lambda: serving(model, folders, options), options.rounds),
            "predict": measured(lambda: prediction(model, folders), options.rounds),
            "network": measured(lambda: networks(folders["as they are"]), options.rounds),
        }
    Record(options.out, "photos.json", "photos.md").save(record, as_markdown(record))


def measured(once: Callable[[], Iterator[tuple[tuple[str, ...], float]]], rounds: int) -> list[dict[str, Any]]:
    """Return the median and range over the rounds of what ``once`` yields, each with its names."""
    found: Measured = {}
    for number in range(rounds):
        for names, value in once():
            found.setdefault(names, []).append(value)
            print(f"round {number + 1}, {', '.join(names)}: {value:.4g}", flush=True)
    return [{"names": names, **spread(values)} for names, values in found.items()]


def made(photos: Path, kind: str, folder: Path) -> Path:
    """Write COUNTS photos of a kind into a folder; some are made of the same photograph."""
    folder.mkdir()
    found = sorted(photos.rglob("*.jpg"))
    for number in range(COUNTS[kind]):
        source, target = found[number * len(found) // COUNTS[kind]], folder / f"{number:03d}.jpg"
        if (size := SIZES[kind]) is None:
            target.write_bytes(source.read_bytes())
            continue
        with Image.open(source) as photo:
            turned = size if photo.width <= photo.height else size[::-1]
            photo.convert("RGB").resize(turned, Image.Resampling.BICUBIC).save(target, quality=QUALITY)
    return folder


def serving(
    model: Path, folders: dict[str, Path], options: argparse.Namespace
) -> Iterator[tuple[tuple[str, ...], float]]:
    """Yield kind of photo, clients and server, with the photos a second."""
    requests = {kind: [in_a_form(path.read_bytes()) for path in sorted(folders[kind].iterdir())] for kind in SERVED}
    for server, command in SERVERS.items():
        with listening(partial(command, model)) as (port, _):
            for kind, clients in product(SERVED, CLIENTS):
                load(port, requests[kind], clients=clients, seconds=WARM_UP_SECONDS)
                seen = figures(load(port, requests[kind], clients=clients, seconds=options.seconds))
                yield (kind, str(clients), server), seen["requests_per_second"]


def prediction(model: Path, folders: dict[str, Path]) -> Iterator[tuple[tuple[str, ...], float]]:
    """Yield kind of photo, with the photos a second of ``modiste predict``, without its start."""
    for kind in ("as they are", "phone"):
        paths = sorted(folders[kind].iterdir())
        start, whole = (time_process((*MODISTE, "predict", model, one, "--csv")) for one in (paths[0], folders[kind]))
        yield (kind, "--background plain"), (len(paths) - 1) / (whole.seconds - start.seconds)


def networks(folder: Path) -> Iterator[tuple[tuple[str, ...], float]]:
    """Yield each segmentation network here, with the seconds that it takes for a photo: alone, and with its masks."""
    photos = [open_photo(path) for path in sorted(folder.iterdir())[:NETWORK_RUNS]]
    built_in = segmentation.BUILT_IN
    for named in [built_in.name] if segmentation.choose_network() is built_in else [built_in.name, ""]:
        loaded = segmentation.load_network(named)
        side = loaded.network.side
        feed = {loaded.session.get_inputs()[0].name: np.zeros((1, 3, side, side), np.float32)}
        alone = partial(loaded.session.run, None, feed)
        masks = partial(segmentation.segment, network=loaded)
        yield (loaded.network.name, "alone"), seconds_each(lambda _, run=alone: run(), photos)
        yield (loaded.network.name, "mask"), seconds_each(masks, photos)


def seconds_each(run: Callable[[Any], object], items: Sequence[Any]) -> float:
    """Return the seconds that ``run`` takes for one of the items, after a warm-up."""
    run(items[0])
    begun = time.perf_counter()
    for item in items:
        run(item)
    return (time.perf_counter() - begun) / len(items)


def as_markdown(record: dict[str, Any]) -> str:
    """Return the page."""
    served = {tuple(one["names"]): one for one in record["serving"]}
    lines = [
        (kind, clients, *(with_range(served[kind, clients, server], ".0f") for server in SERVERS))
        for kind, clients in product(SERVED, map(str, CLIENTS))
    ]
    predicted = [(*one["names"], with_range(one, ".0f")) for one in record["predict"]]
    found = [(*one["names"], with_range(one, ".0f", 1e3)) for one in record["network"]]
    return f"""# Photographs served

Photos a second, one in each request, from clients on the same machine that wait for a response before their next
request: medians over {record["serving"][0]["n"]} rounds, and their range. The photos are real ones as they are (256
pixels), and enlarged to product photos of 1,080 x 1,440 pixels. The plain server is FastAPI with ONNX Runtime
(`benchmarks/peers/plain_onnx_server.py`): it only scales a photo, while `modiste serve` finds the garment.

Made by `{record["command"]}`.

| photos | clients | {" | ".join(SERVERS)} |
|---|---|{"---|" * len(SERVERS)}
{rows(lines)}

`modiste predict` without its start, on 200 photos; those of a phone are 4,032 x 3,024:

| photos | option | photos a second |
|---|---|---|
{rows(predicted)}

A segmentation network for a photo, in milliseconds: ONNX Runtime alone, and with scaling the photo and its mask:

| network | what | ms |
|---|---|---|
{rows(found)}

{describe_machine(record["machine"])}
"""


if __name__ == "__main__":
    main()
