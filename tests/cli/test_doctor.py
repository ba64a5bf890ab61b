"""``modiste doctor`` asks nothing of the network."""

from pathlib import Path

import pytest

from commands_and_data import PROGRAMS, run_without_modiste
from modiste.cli.main import main

REFUSE_NETWORK = PROGRAMS / "refuse_network.py"


def test_it_needs_no_network_and_writes_nothing(tmp_path: Path) -> None:
    home = {name: str(tmp_path / name) for name in ("HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME")}
    done = run_without_modiste(REFUSE_NETWORK, "doctor", cwd=tmp_path, MODISTE_OFFLINE="", **home)
    assert (done.returncode, done.stderr) == (0, "")
    assert {"processor", "torch", "serve", "network", "data"} <= {line.split()[0] for line in done.stdout.splitlines()}
    assert list(tmp_path.rglob("*")) == []


def test_the_refusal_is_real(tmp_path: Path) -> None:
    assert "a socket was opened" in run_without_modiste(REFUSE_NETWORK, cwd=tmp_path).stderr


def test_without_pillow_an_export_is_not_ready(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "PIL" else name)
    main(["doctor"])
    rows = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert rows["export"] == "missing: pip install 'modiste[export]'"
    assert rows["train"] == "ready"
