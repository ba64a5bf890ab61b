"""``modiste doctor`` asks nothing of the network."""

from pathlib import Path

from commands_and_data import PROGRAMS, run_without_modiste

REFUSE_NETWORK = PROGRAMS / "refuse_network.py"


def test_it_needs_no_network_and_writes_nothing(tmp_path: Path) -> None:
    home = {name: str(tmp_path / name) for name in ("HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME")}
    done = run_without_modiste(REFUSE_NETWORK, "doctor", cwd=tmp_path, MODISTE_OFFLINE="", **home)
    assert (done.returncode, done.stderr) == (0, "")
    assert {"processor", "torch", "serve", "network", "data"} <= {line.split()[0] for line in done.stdout.splitlines()}
    assert list(tmp_path.rglob("*")) == []


def test_the_refusal_is_real(tmp_path: Path) -> None:
    assert "a socket was opened" in run_without_modiste(REFUSE_NETWORK, cwd=tmp_path).stderr
