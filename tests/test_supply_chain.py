"""What Modiste is built from: all locked, nothing known to be vulnerable; and what it is built to, twice the same."""

import re
import shutil
import socket
from importlib import metadata
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name
from packaging.version import Version

from commands_and_data import run_python

ROOT = Path(__file__).parents[1]
UNLOCKED = {"torch"}
"""Its builds are many, and lie on several indexes; the Makefile says which is taken."""
LEAST = {
    "aiohttp": "3.13.3",
    "brotli": "1.2.0",  # CVE-2025-6176
    "filelock": "3.20.3",  # CVE-2026-22701
    "fonttools": "4.60.2",  # CVE-2025-66034
    "h11": "0.16.0",  # CVE-2025-43859
    "jinja2": "3.1.6",  # CVE-2025-27516
    "keras": "3.12.0",  # CVE-2025-12058
    "onnx": "1.21",
    "pillow": "13",
    "protobuf": "6.31.1",  # CVE-2025-4565
    "python-multipart": "0.0.27",
    "ray": "2.56",  # CVE-2025-62593
    "requests": "2.32.4",  # CVE-2024-47081
    "starlette": "0.49.1",  # CVE-2025-62727
    "torch": "2.11",  # CVE-2025-32434, CVE-2026-24747
    "urllib3": "2.6.3",
    "werkzeug": "3.1.4",
}
"""The first versions without a fault that was known in November 2026; make audit asks for newer ones."""
NEVER = {"lightning", "pytorch-lightning"}
"""Releases of 2026 stole credentials."""


def pins(path: Path) -> dict[str, str]:
    found = re.findall(r"^([\w.-]+)==([^\s;\\]+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {canonicalize_name(name): version for name, version in found}


def test_every_pin_is_locked_by_hash() -> None:
    """If this fails after a change of constraints.txt: make lock."""
    pinned, locked = pins(ROOT / "constraints.txt"), pins(ROOT / "constraints.lock")
    assert locked == {name: version for name, version in pinned.items() if name not in UNLOCKED}
    entries = re.split(r"\n(?=\S)", (ROOT / "constraints.lock").read_text(encoding="utf-8").strip())
    assert len(entries) == len(locked)
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}\b", entry) for entry in entries)


def test_what_is_installed_is_what_is_pinned() -> None:
    pinned = pins(ROOT / "constraints.txt")
    installed = {canonicalize_name(one.name): Version(one.version).public for one in metadata.distributions()}
    known = installed.keys() & pinned.keys()
    assert {name: installed[name] for name in known} == {name: pinned[name] for name in known}
    assert not installed.keys() & NEVER


def test_nothing_pinned_is_known_to_be_vulnerable() -> None:
    pinned = pins(ROOT / "constraints.txt")
    assert {name: pinned[name] for name, least in LEAST.items() if Version(pinned[name]) < Version(least)} == {}
    assert not pinned.keys() & NEVER


def test_the_wheel_built_twice_is_the_same_file(tmp_path: Path) -> None:
    built = []
    for name in ("one", "other, later and elsewhere"):
        source = tmp_path / name
        source.mkdir()
        shutil.copytree(
            ROOT / "src", source / "src", ignore=shutil.ignore_patterns("__pycache__"), copy_function=shutil.copy
        )
        for file in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / file, source)
        done = run_python("-m", "hatchling", "build", "-t", "wheel", cwd=source, SOURCE_DATE_EPOCH="1700000000")
        assert done.returncode == 0, done.stderr
        (wheel,) = (source / "dist").glob("*.whl")
        built.append(wheel.read_bytes())
    assert built[0] == built[1]


@pytest.mark.parametrize("address", ["198.51.100.7", "2001:db8::1"])
def test_the_guard_of_the_tests_refuses(address: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Here, and in every process that the tests start."""
    monkeypatch.setenv("MODISTE_OUTSIDE", str(tmp_path / "notes"))
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        socket.socket(family).close()
    except OSError as error:
        pytest.skip(f"this system makes no socket of {family.name}: {error}")
    with socket.socket(family) as connection, pytest.raises(PermissionError, match="connect to no other machine"):
        connection.connect((address, 80))
    script = f"import socket; socket.socket(socket.{family.name}).connect(({address!r}, 80))"
    assert "connect to no other machine" in run_python("-c", script).stderr
    assert len((tmp_path / "notes").read_text(encoding="utf-8").splitlines()) == 2
