"""What Windows lacks stands in one file, and the commands work where it is missing (tried here with it blocked)."""

import ast
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import modiste
from commands_and_data import PROGRAMS, run_python
from modiste.searches import outcomes
from modiste.system import posix

SOURCE = Path(modiste.__file__).parent
OWN = SOURCE / "system" / "posix.py"
ONE_SYSTEM_MODULES = {"fcntl", "grp", "msvcrt", "pwd", "resource", "termios", "winreg"}
ONE_SYSTEM_NAMES = {
    "os": {
        *("O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK"),
        *("chown", "fchmod", "fchown", "getpgid", "getpgrp", "getpriority", "killpg", "mkfifo", "mknod", "nice"),
        *("fork", "getegid", "geteuid", "getgid", "getloadavg", "getsid", "getuid", "pread", "pwrite", "sendfile"),
        *("setpgid", "setpriority", "setsid", "statvfs", "sync", "sysconf", "uname", "wait3", "wait4"),
    },
    "signal": {"SIGALRM", "SIGHUP", "SIGKILL", "SIGUSR1", "alarm", "pause", "setitimer", "sigwait"},
}
ALLOWED = {
    "searches/ray_cluster.py": {"SIGALRM", "setitimer"},  # on the nodes of a Ray cluster
    "system/processes.py": {"sysconf"},  # after /proc/stat was read
}


def names_of_one_system(path: Path) -> set[str]:
    """Return the modules and names of one system alone that a file mentions."""
    found = set[str]()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {one.name for one in node.names} & ONE_SYSTEM_MODULES
        elif isinstance(node, ast.ImportFrom):
            names = {one.name for one in node.names}
            found |= ({node.module} & ONE_SYSTEM_MODULES) | (names & ONE_SYSTEM_NAMES.get(node.module or "", set()))
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            found |= {node.attr} & ONE_SYSTEM_NAMES.get(node.value.id, set())
    return found


def test_one_file_alone_depends_on_the_system() -> None:
    files = {path.relative_to(SOURCE).as_posix(): path for path in SOURCE.rglob("*.py") if path != OWN}
    found = {name: names for name, path in files.items() if (names := names_of_one_system(path))}
    assert found == ALLOWED
    assert {"fcntl", "resource", "msvcrt", "setitimer"} <= names_of_one_system(OWN)


def test_a_lock_holds_other_processes_off_until_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    try_it = f"import modiste.system.posix as p; file = open({str(path)!r}, 'ab'); p.lock_file(file.fileno())"
    with path.open("wb") as file:
        posix.lock_file(file.fileno())
        assert "BlockingIOError" in run_python("-c", try_it).stderr
    assert run_python("-c", try_it).returncode == 0


def test_an_alarm_ends_the_process_and_can_be_stopped() -> None:
    script = "import time, modiste.system.posix as p; a = p.Alarm(); a.start(0.1); {} time.sleep(0.5); print('alive')"
    assert run_python("-c", script.format("")).returncode == -signal.SIGALRM
    assert run_python("-c", script.format("a.stop();")).stdout == "alive\n"


def without_posix(*words: object, cwd: Path) -> "subprocess.CompletedProcess[str]":
    return run_python(PROGRAMS / "without_posix.py", *words, cwd=cwd)


@pytest.mark.slow
def test_commands_work_where_posix_is_missing(tiny_folder: Path, tmp_path: Path) -> None:
    small = ("--epochs", 1, "--data-folder", tiny_folder, "--device", "cpu", "--data.source", "tiny")
    trained = without_posix("train", "mlp", *small, "--out", "run", cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    again = without_posix("train", "mlp", *small, "--out", "run", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    measured = without_posix("evaluate", "run", "--data-folder", tiny_folder, "--device", "cpu", cwd=tmp_path)
    assert measured.returncode == 0, measured.stderr
    assert [path.name for path in (tmp_path / "run").rglob("*.part")] == []


@pytest.mark.slow
def test_a_search_works_where_posix_is_missing(tiny_folder: Path, tmp_path: Path) -> None:
    words = ("epochs=choice(1,2)", "--trials", 2, "--data-folder", tiny_folder, "--data.source", "tiny")
    searched = without_posix("search", "mlp", *words, "--device", "cpu", "--out", "search", cwd=tmp_path)
    assert searched.returncode == 0, searched.stderr
    assert [one.state for one in outcomes.read(tmp_path / "search")] == ["complete", "complete"]


@pytest.mark.slow
def test_a_folder_in_use_is_refused_where_posix_is_missing(tmp_path: Path) -> None:
    script = PROGRAMS / "without_posix.py"
    with subprocess.Popen([sys.executable, script, "--hold", tmp_path / "run"], stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"held\n"
            done = without_posix("train", "mlp", "--out", "run", "--epochs", 1, cwd=tmp_path)
        finally:
            holder.kill()
    assert done.returncode == 7, done.stderr
    assert "another process is working in this folder" in done.stderr
