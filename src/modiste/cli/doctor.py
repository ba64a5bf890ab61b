"""``modiste doctor``."""

from collections.abc import Iterator

from modiste.cli.arguments import NoOptions, parse
from modiste.cli.streams import say
from modiste.errors import DataError, shown

EXTRAS = {
    "evaluation": ("scipy",),
    "export": ("onnx", "onnxscript", "onnxruntime"),
    "hub": ("huggingface_hub",),
    "photo": ("PIL", "scipy"),
    "postgresql": ("psycopg",),
    "ray": ("ray",),
    "report": ("matplotlib", "jinja2"),
    "search": ("optuna",),
    "serve": ("fastapi", "httptools", "multipart", "onnx", "onnxruntime", "prometheus_client", "uvicorn"),
    "tensorboard": ("tensorboard",),
}


def doctor(words: list[str]) -> None:
    """Tell what is installed and what works on this machine; nothing is fetched or written."""
    parse(NoOptions, words, "modiste doctor")
    from importlib.util import find_spec

    from modiste import machine

    for name, value in machine.facts(machine.choose_device()).items():
        _tell(name, value)
    for extra, packages in EXTRAS.items():
        missing = [package for package in packages if find_spec(package) is None]
        _tell(extra, f"missing: pip install 'modiste[{extra}]'" if missing else "ready")
    for line in _data():
        _tell("data", line)


def _data() -> Iterator[str]:
    """Say where Fashion-MNIST is, or where it was looked for."""
    from modiste.data import paths, sources

    try:
        found, notes = sources.find_published(sources.TRAIN)
    except DataError as error:  # in the folder that MODISTE_DATA names
        yield str(error)
        return
    yield from (f"passed over: {note}" for note in notes)
    if found:
        yield str(found.folder)
    else:
        yield "Fashion-MNIST is not on this machine; modiste data fetches it"
        yield from (f"looked in {shown(folder)}" for folder in paths.usual_folders())


def _tell(name: str, value: object) -> None:
    say(f"{name:14} {value}")
