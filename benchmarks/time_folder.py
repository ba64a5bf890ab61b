"""Time ``modiste predict`` on a folder of small pictures, some damaged; write ``records/photos/folder``.

    python benchmarks/time_folder.py RUN [--files 1000] [--damaged 50] [--rounds 3]

The whole command is timed, with the run's folder and with its exported ONNX file. Pictures are product photos of 200
pixels (JPEG) made from validation images; damaged files are truncated, empty, or not pictures at all.
"""

import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import photographs
from clock import MODISTE, spread, time_process
from modiste.data.dataset import load_development
from record import Record, describe_machine, parser, provenance, rows, with_range

BAD = 3
"""Exit code of the command when a picture cannot be read."""


def main() -> None:
    arguments = parser(__doc__, "records/photos", rounds=3)
    arguments.add_argument("run", type=Path)
    arguments.add_argument("--files", type=int, default=1000)
    arguments.add_argument("--damaged", type=int, default=50)
    options = arguments.parse_args()
    time_process((*MODISTE, "export", options.run))
    sources = {"run folder": options.run, "its ONNX file": options.run / "model.onnx"}
    found: dict[str, list[float]] = {name: [] for name in sources}
    starts: dict[str, list[float]] = {name: [] for name in sources}
    with tempfile.TemporaryDirectory() as place, tempfile.TemporaryDirectory() as lone:
        damaged = fill(Path(place), options.files, options.damaged)
        lone_damaged = fill(Path(lone), 1, 1)
        for number in range(options.rounds):
            for name, source in sources.items():
                starts[name].append(seconds(source, Path(lone), lone_damaged))
                found[name].append(seconds(source, Path(place), damaged))
                print(
                    f"round {number + 1}, {name}: {found[name][-1]:.2f} s, {starts[name][-1]:.2f} for one", flush=True
                )
    record = provenance() | {
        "files": options.files,
        "damaged": options.damaged,
        "seconds": {name: spread(values) for name, values in found.items()},
        "seconds_for_one": {name: spread(values) for name, values in starts.items()},
    }
    Record(options.out, "folder.json", "folder.md").save(record, as_markdown(record))


def fill(place: Path, files: int, damaged: int) -> set[str]:
    """Write the pictures; return the names of the damaged files."""
    random = np.random.default_rng(0)
    images = load_development().validation.images[:files, 0].numpy()
    chosen = {f"{number:04d}.jpg" for number in random.choice(files, damaged, replace=False)}
    for number, image in enumerate(images):
        content, name = photographs.compressed(image, random), f"{number:04d}.jpg"
        if name in chosen:
            content = (b"", content[: len(content) // 2], b"no picture at all")[number % 3]
        (place / name).write_bytes(content)
    return chosen


def seconds(source: Path, folder: Path, damaged: set[str]) -> float:
    """Return the seconds of one command; raises SystemExit unless it names exactly the damaged files."""
    command = [str(argument) for argument in (*MODISTE, "predict", source, folder, "--json", "--device", "cpu")]
    begun = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    taken = time.perf_counter() - begun
    named = {Path(answer["file"]).name for answer in json.loads(done.stdout) if answer.get("fault")}
    if done.returncode != BAD or named != damaged:
        raise SystemExit(f"expected exit code {BAD} and every damaged file named, found {done.returncode}, {named}")
    return taken


def as_markdown(record: dict[str, Any]) -> str:
    """Return the page."""
    lines = []
    for name, one in record["seconds"].items():
        whole, start = one["median"], record["seconds_for_one"][name]["median"]
        rates = (record["files"] / whole, record["files"] / (whole - start))
        lines.append((name, with_range(one, ".2f"), f"{start:.2f}", *(f"{rate:.0f}" for rate in rates)))
    return f"""# A folder of pictures

`modiste predict` on {record["files"]:,} product photos of 200 pixels (JPEG), {record["damaged"]} of them damaged, from
the start of the command to its end. It finishes, reports every damaged file with the reason, and exits with code {BAD}.
Medians and ranges over {next(iter(record["seconds"].values()))["n"]} rounds. Made by `{record["command"]}`.

| from | seconds | of which to start: a folder of one | files a second | after the start |
|---|---|---|---|---|
{rows(lines)}

{describe_machine(record["machine"])}
"""


if __name__ == "__main__":
    main()
