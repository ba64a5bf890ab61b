"""The wheel in an empty environment, with what the extra ``serve`` names and nothing else: it serves without torch."""

import json
import re
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from collections.abc import Iterator
from email.parser import Parser
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from server_process import listening

from commands_and_data import child_environment, run_python

ROOT = Path(__file__).parents[2]
TORCH_FREE = ("heif", "parquet", "photo", "segmentation", "serve")
"""Extras that a machine without torch can use."""


def required(extras: tuple[str, ...], requirements: list[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the name and extras of each requirement that holds here with these extras."""
    for requirement in map(Requirement, requirements):
        if requirement.marker is None or any(requirement.marker.evaluate({"extra": one}) for one in ("", *extras)):
            yield canonicalize_name(requirement.name), tuple(requirement.extras)


def closure(extra: str, requirements: list[str]) -> set[str]:
    """Return the names of all distributions that ``modiste[extra]`` brings, itself left out."""
    found, waiting = {("modiste", (extra,))}, [("modiste", (extra,))]
    while waiting:
        name, extras = waiting.pop()
        own = requirements if name == "modiste" else metadata.requires(name) or []
        new = set(required(extras, own)) - found
        found |= new
        waiting += new
    return {name for name, _ in found} - {"modiste"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    done = run_python("-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    (found,) = folder.glob("*.whl")
    return found


def requirements_of(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [one for one in archive.namelist() if one.endswith(".dist-info/METADATA")]
        return Parser().parsestr(archive.read(name).decode()).get_all("Requires-Dist", [])


@pytest.fixture(scope="module")
def server_python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of an environment that holds the wheel and what its extra ``serve`` requires, taken from this one."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=60)
    paths = {"base": str(folder), "platbase": str(folder)}
    packages = Path(sysconfig.get_path("purelib", vars=paths))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    for name in closure("serve", requirements_of(wheel)):
        distribution = metadata.distribution(name)
        for top in {file.parts[0] for file in distribution.files or () if file.parts[0] not in ("..", "__pycache__")}:
            if not (packages / top).exists():
                (packages / top).symlink_to(Path(str(distribution.locate_file(top))))
    return folder / "bin" / "python"


def run(python: Path, *words: object, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    command = [python, "-P", *map(str, words)]
    return subprocess.run(
        command, cwd=cwd, env=child_environment(), capture_output=True, text=True, timeout=120, check=False
    )


def test_only_the_extras_that_train_bring_torch() -> None:
    """Read from pyproject.toml: what is installed here may be of an older one."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    requirements = [*project["dependencies"]]
    requirements += [f"{one} ; extra == '{name}'" for name, more in extras.items() for one in more]
    for extra in TORCH_FREE:
        assert "torch" not in closure(extra, requirements), extra
    assert "torch" in closure("train", requirements)


def test_the_server_asks_for_a_starlette_whose_forms_it_can_read() -> None:
    """Before 0.44.0 its parser had no limit of a part's size, before 0.46 another name for the size in memory."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    required = {one.name: one.specifier for one in map(Requirement, project["optional-dependencies"]["serve"])}
    assert not required["starlette"].contains("0.45.3")
    assert required["starlette"].contains(metadata.version("starlette"))


@pytest.mark.slow
def test_the_wheel_serves_and_predicts_without_torch(
    server_python: Path, model_file: Path, photos: list[bytes], tmp_path: Path
) -> None:
    assert run(server_python, "-c", "import torch").returncode == 1
    assert run(server_python, "-c", "import modiste; print(modiste.Recipe(name='x').name)").stdout == "x\n"
    (tmp_path / "photo.png").write_bytes(photos[0])
    predicted = run(server_python, "-m", "modiste", "predict", model_file, tmp_path / "photo.png", "--json")
    assert predicted.returncode == 0, predicted.stderr
    with listening(model_file, python=server_python) as server, server.client() as client:
        answers = client.post("/v1/predict", files={"images": photos[0]}).json()["answers"]
    probabilities = answers[0]["probabilities"]
    assert max(probabilities, key=probabilities.get) == json.loads(predicted.stdout)[0]["class"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [("train", "sprint"), ("evaluate", "run"), ("export", "run"), ("predict", "run", "photo.png")]
)
def test_a_command_that_needs_torch_says_what_to_install(
    server_python: Path, words: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "photo.png").write_bytes(b"")
    done = run(server_python, "-m", "modiste", *words, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (4, "")
    assert re.fullmatch(r"modiste: .*needs torch: pip install 'modiste\[train\]'\n", done.stderr)


@pytest.mark.slow
def test_a_function_that_needs_torch_says_what_to_install(server_python: Path) -> None:
    script = "import modiste\ntry: modiste.train\nexcept modiste.ModisteError as error: print(error)"
    assert run(server_python, "-c", script).stdout == "modiste.train: needs torch: pip install 'modiste[train]'\n"
