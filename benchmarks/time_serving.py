"""Time ``modiste serve`` with and without batching, and a plain server; write ``records/serving``.

    python benchmarks/time_serving.py [--rounds 3] [--seconds 4] [--runs runs/serving]

Clients and server share the machine. Pictures are product photos of 200 pixels as JPEG; a tensor is an image of the
data set, unchanged. The plain server (``peers/plain_server.py``) computes with PyTorch, one request at a time, and only
scales and inverts a picture. Runs that are missing are trained first, on few images: accuracy does not matter here.
"""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

import photographs
from clients import load, request
from clock import MODISTE, PEERS, spread, time_process
from modiste.data.dataset import load_development
from record import Record, describe_machine, parser, provenance, rows

NETWORKS = ("sprint", "paper", "resnet")
SERVERS = ("batched", "one by one", "plain")
CLIENTS = (1, 64)
ALONE = (
    "from modiste.serving.serve import serve; from modiste.serving.settings import Limits, ServerSettings; import sys; \
settings = ServerSettings(port=int(sys.argv[2])); \
serve(sys.argv[1], settings, limits=Limits(batch=1), say=lambda line: print(line, flush=True))"
)
WARM_UP_SECONDS = 0.5
PATIENCE_SECONDS = 60
"""Longest time that a server may take to start."""

Key = tuple[str, str, str, int]
"""Network, kind of request, server, clients."""


def main() -> None:
    arguments = parser(__doc__, "records/serving", rounds=3)
    arguments.add_argument("--seconds", type=float, default=4)
    arguments.add_argument("--runs", type=Path, default=Path("runs/serving"))
    options = arguments.parse_args()
    runs = {name: trained(name, options.runs) for name in NETWORKS}
    images = load_development().validation.images[:64, 0].numpy()
    found: dict[Key, list[dict[str, float]]] = {}
    starts: dict[str, list[float]] = {server: [] for server in SERVERS}
    for number, network, server in product(range(options.rounds), NETWORKS, SERVERS):
        asked = requests(images, network, plain=server == "plain")
        with listening(partial(command_of, server, runs[network])) as (port, seconds):
            starts[server].append(seconds)
            for kind, clients in product(asked, CLIENTS):
                load(port, asked[kind], clients=clients, seconds=WARM_UP_SECONDS)
                row = figures(load(port, asked[kind], clients=clients, seconds=options.seconds))
                found.setdefault((network, kind, server, clients), []).append(row)
                print(f"round {number + 1}, {network}, {server}, {kind}, {clients} clients: {row}")
    record = summary(found, starts)
    Record(options.out).save(record, as_markdown(record))


def trained(name: str, runs: Path) -> Path:
    """Return a run with its ONNX file and its PyTorch program; train it if it is missing."""
    run = runs / name
    few = ("--epochs", 1, "--data.images-per-class", 200)
    time_process((*MODISTE, "train", name, *few, "--quiet", "--out", run))
    for kind, file in (("onnx", "model.onnx"), ("torch", "model.pt2")):
        if not (run / file).exists():
            time_process((*MODISTE, "export", run, "--to", kind))
    return run


def command_of(server: str, run: Path, port: int) -> tuple[object, ...]:
    """Return the command of a server of SERVERS."""
    commands = {
        "batched": (*MODISTE, "serve", run / "model.onnx", "--port", port),
        "one by one": (sys.executable, "-c", ALONE, run / "model.onnx", port),
        "plain": (sys.executable, PEERS / "plain_server.py", run / "model.pt2", port),
    }
    return commands[server]


@contextmanager
def listening(command: Callable[[int], Sequence[object]]) -> Iterator[tuple[int, float]]:
    """Start a server by its command for a port; yield the port and the seconds until it listened, and stop it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    begun = time.perf_counter()
    process = subprocess.Popen([str(word) for word in command(port)], stdout=subprocess.DEVNULL)
    try:
        wait_for(port, process)
        yield port, time.perf_counter() - begun
    finally:
        process.kill()
        process.wait()


def wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    """Wait until the port accepts connections; raises SystemExit if the server ends or takes too long."""
    for _ in range(100 * PATIENCE_SECONDS):
        with socket.socket() as tried:
            if tried.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None:
            break
        time.sleep(0.01)
    raise SystemExit(f"the server on port {port} did not come up")


def requests(images: np.ndarray, network: str, *, plain: bool) -> dict[str, list[bytes]]:
    """Return requests by kind, each with one image."""
    random = np.random.default_rng(0)
    pictures = [photographs.compressed(image, random) for image in images]
    if plain:
        return {
            "picture": [request("/picture", picture) for picture in pictures],
            "tensor": [request("/tensor", image.tobytes()) for image in images],
        }
    return {
        "picture": [in_a_form(picture) for picture in pictures],
        "tensor": [inference(image, network) for image in images],
    }


def in_a_form(picture: bytes) -> bytes:
    """Return a request for ``/v1/predict`` as an HTML form sends it."""
    head = b'--edge\r\ncontent-disposition: form-data; name="images"; filename="a.jpg"\r\n\r\n'
    kind = "multipart/form-data; boundary=edge"
    return request("/v1/predict", head + picture + b"\r\n--edge--\r\n", content_type=kind)


def inference(image: np.ndarray, network: str) -> bytes:
    """Return a request of the Open Inference Protocol with a binary tensor."""
    tensor = {"name": "images", "shape": [1, 1, *image.shape], "datatype": "UINT8"}
    asked = {"inputs": [{**tensor, "parameters": {"binary_data_size": image.size}}]}
    head = json.dumps({**asked, "outputs": [{"name": "probabilities"}]}).encode()
    return request(
        f"/v2/models/{network}/infer",
        head + image.tobytes(),
        content_type="application/octet-stream",
        inference_header_content_length=len(head),
    )


def figures(seen: Any) -> dict[str, float]:
    """Return requests per second, and the 50th, 95th and 99th percentile of latency in milliseconds."""
    half, most, nearly_all = (1e3 * np.percentile(seen.latencies, (50, 95, 99))).round(3).tolist()
    return {
        "requests_per_second": round(len(seen.latencies) / seen.seconds, 1),
        "p50_ms": half,
        "p95_ms": most,
        "p99_ms": nearly_all,
    }


def summary(found: dict[Key, list[dict[str, float]]], starts: dict[str, list[float]]) -> dict[str, Any]:
    """Return medians and ranges over the rounds, and ratios of throughput within each round."""
    arms = []
    for (network, kind, server, clients), rounds in found.items():
        arm: dict[str, Any] = {"network": network, "request": kind, "server": server, "clients": clients}
        arm |= {name: spread([row[name] for row in rounds]) for name in rounds[0]}
        for other in SERVERS[1:]:
            base = found[network, kind, other, clients]
            pairs = zip(rounds, base, strict=True)
            arm[f"times_{other.replace(' ', '_')}"] = spread(
                [row["requests_per_second"] / one["requests_per_second"] for row, one in pairs]
            )
        arms.append(arm)
    return provenance() | {
        "start_seconds": {server: spread(values) for server, values in starts.items()},
        "arms": arms,
    }


def as_markdown(record: dict[str, Any]) -> str:
    """Return the page."""
    starts = ", ".join(f"{server} {found['median']:.2f} s" for server, found in record["start_seconds"].items())
    return f"""# Serving

Requests of one image each, from clients on the same machine that wait for a response before their next request. The
numbers are medians over {record["arms"][0]["p50_ms"]["n"]} rounds; every round measures every server. *Batched* is
`modiste serve`; *one by one* is the same with batches of one image; *plain* is FastAPI with PyTorch, one forward pass
for each request (`benchmarks/peers/plain_server.py`). A picture is a product photo of 200 pixels (JPEG): Modiste finds
the garment in it, the plain server only scales it. A tensor is an image of the data set, unchanged. Ratios are of
requests per second in the same round.

Made by `{record["command"]}`. From the command until it listens: {starts}.

| network | request | clients | server | requests/s | half within, ms | 95 % | 99 % | times one by one | times plain |
|---|---|---|---|---|---|---|---|---|---|
{rows(line(arm) for arm in record["arms"])}

{describe_machine(record["machine"])}
"""


def line(arm: dict[str, Any]) -> tuple[object, ...]:
    """Return the row of a server under one load."""
    return (
        f"`{arm['network']}`",
        arm["request"],
        arm["clients"],
        arm["server"],
        f"{arm['requests_per_second']['median']:,.0f}",
        *(f"{arm[name]['median']:.1f}" for name in ("p50_ms", "p95_ms", "p99_ms")),
        *(f"{arm[name]['median']:.2f}" for name in ("times_one_by_one", "times_plain")),
    )


if __name__ == "__main__":
    main()
