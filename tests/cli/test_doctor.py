"""``modiste doctor`` asks nothing of the network."""

from pathlib import Path

from commands_and_data import run_python

REFUSED = """
import socket
def refuse(*words, **more):
    raise AssertionError("a socket was opened")
class Refused(socket.socket):
    __init__ = refuse
socket.socket = Refused
socket.getaddrinfo = socket.gethostbyname = refuse
"""


def test_it_needs_no_network_and_writes_nothing(tmp_path: Path) -> None:
    script = REFUSED + "from modiste.cli.main import main; main(['doctor'])"
    home = {name: str(tmp_path / name) for name in ("HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME")}
    done = run_python("-c", script, cwd=tmp_path, MODISTE_OFFLINE="", **home)
    assert (done.returncode, done.stderr) == (0, "")
    assert {"processor", "torch", "serve", "network", "data"} <= {line.split()[0] for line in done.stdout.splitlines()}
    assert list(tmp_path.rglob("*")) == []


def test_the_refusal_is_real(tmp_path: Path) -> None:
    script = REFUSED + "import http.client; http.client.HTTPConnection('localhost', 9).request('GET', '/')"
    assert "a socket was opened" in run_python("-c", script, cwd=tmp_path).stderr
