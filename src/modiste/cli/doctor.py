"""``modiste doctor``."""

from modiste.cli.streams import say
from modiste.cli.words import NoOptions, parse

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
    """Tell what is installed and what works on this machine."""
    parse(NoOptions, words, "modiste doctor")
    from importlib.util import find_spec

    from modiste import runtime
    from modiste.data import sources

    for name, value in runtime.facts(runtime.choose_device()).items():
        say(f"{name:14} {value}")
    for extra, packages in EXTRAS.items():
        missing = [package for package in packages if find_spec(package) is None]
        say(f"{extra:14} {'ready' if not missing else f'missing: pip install modiste[{extra}]'}")
    say(f"{'data':14} {sources.load_training(sources.FASHION_MNIST).folder}")
