"""Progress in a notebook: rows and a bar in one output of the cell, replaced as training goes on."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from commands_and_data import PROGRAMS, run_python
from modiste.recipes.recipe import Recipe
from modiste.runs.run_folder import EpochRow, PretrainingRow
from modiste.training.tracking import Timing, make_progress, progress
from modiste.training.tracking.progress import ConsoleLog, NotebookLog
from modiste.training.transfer.transfer import TransferReport

ROW = EpochRow(
    epoch=1,
    step=5,
    learning_rate=0.001,
    train_loss=1.0,
    train_accuracy=0.5,
    validation_loss=1.0,
    validation_accuracy=0.5,
)


class Screen:
    """Stands for IPython's display and its handle; keeps what was drawn."""

    def __init__(self) -> None:
        self.drawn: list[dict[str, str]] = []

    def show(self, content: dict[str, str], *, raw: bool, display_id: bool) -> "Screen":
        assert raw
        assert display_id
        assert not self.drawn, "one output"
        self.drawn.append(content)
        return self

    def update(self, content: dict[str, str], *, raw: bool) -> None:
        assert raw
        self.drawn.append(content)


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    made = Screen()
    monkeypatch.setattr("IPython.display.display", made.show)
    return made


def test_a_bar_follows_the_steps_and_is_gone_at_the_end(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "REDRAW_SECONDS", 0)
    log = NotebookLog("seed 3")
    log.pretraining_started("simclr", 4)
    log.pretraining_step_done(2)
    log.pretraining_epoch_done(PretrainingRow(part="network", epoch=1, quantity="loss <nats>", value=0.5))
    assert '<progress value="2" max="4"' in screen.drawn[-1]["text/html"]
    log.started(Recipe(name="x", epochs=2), 5, [], 0)
    log.step_done(4)
    assert '<progress value="4" max="10"' in screen.drawn[-1]["text/html"]
    assert "x: step 4 of 10, " in screen.drawn[-1]["text/html"]
    assert screen.drawn[-1]["text/html"].endswith(" s left</div>")
    log.epoch_done(ROW, Timing(1.0, 0.5, 100.0, 10))
    log.stopped()
    last = screen.drawn[-1]
    assert "<progress" not in last["text/html"]
    assert "loss &lt;nats&gt; 0.5000" in last["text/html"]
    rows = last["text/plain"].splitlines()
    assert rows[:2] == ["seed 3", "simclr: 4 steps before the first epoch"]
    assert rows[-2] == NotebookLog.HEADER
    assert rows[-1].split() == ["1/2", "1.0000", "50.00%", "1.0000", "50.00%", "100", "1.0"]


def test_it_is_drawn_at_most_a_few_times_a_second(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    log = NotebookLog()
    log.started(Recipe(name="x", epochs=2), 500, [], 0)
    before = len(screen.drawn)
    for step in range(1, 1001):
        now[0] += 0.001
        log.step_done(step)
    assert 4 <= len(screen.drawn) - before <= 5


def test_a_terminal_shows_one_bar_at_a_time_beneath_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    log = ConsoleLog("seed 3")
    log.pretraining_started("simclr", 4)
    log.started(Recipe(name="x", epochs=2), 5, [], 3)
    before = len(terminal.getvalue())
    log.step_done(7)
    log._progress.refresh()
    log.stopped()
    first, last = terminal.getvalue()[:before], terminal.getvalue()[before:]
    assert (
        first.index("seed 3")
        < first.index("simclr: 4 steps")
        < first.index("step 0 of 4")
        < first.index("step 3 of 10")
    )
    assert "step 7 of 10" in last
    assert "step 0 of 4" not in last


def test_the_names_of_a_strangers_tensors_move_no_cursor(capsys: pytest.CaptureFixture[str], screen: Screen) -> None:
    report = TransferReport({"network.0": "taken"}, ("\x1b[2J\x1b]0;x\x1b\\", "a\nmodiste: b", "c\u202ed"))
    for log in (ConsoleLog(), NotebookLog()):
        log.transferred(report)
    line = r"transfer: 1 taken; no place for: \x1b[2J\x1b]0;x\x1b\, a\nmodiste: b, c\u202ed"
    assert capsys.readouterr().err == f"{line}\n"
    assert screen.drawn[-1]["text/plain"] == line


@pytest.mark.parametrize("at_terminal", [False, True])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), BrokenPipeError()])
def test_training_goes_on_where_nobody_reads_the_rows(
    error: OSError, at_terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unwritable(io.StringIO):
        def isatty(self) -> bool:
            return at_terminal

        def write(self, _text: str) -> int:
            raise error

    monkeypatch.setattr("sys.stderr", Unwritable())
    monkeypatch.setenv("TERM", "xterm")
    log = ConsoleLog("seed 3")
    log.started(Recipe(name="x", epochs=2), 5, [], 0)
    log.step_done(4)
    log.epoch_done(ROW, Timing(1.0, 1.0, 1.0, 1))
    log.stopped()


def test_outside_a_notebook_it_is_a_line_an_epoch() -> None:
    assert isinstance(make_progress(), ConsoleLog)


@pytest.mark.slow
def test_a_real_kernel_shows_a_bar_and_keeps_the_rows(tiny_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("nbclient")
    done = run_python(PROGRAMS / "train_in_kernel.py", tiny_folder, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found: dict[str, list[Any]] = json.loads(done.stdout.splitlines()[-1])
    kinds, pages = zip(*found["shown"], strict=True)
    assert kinds[0] == "display_data"
    assert set(kinds[1:]) == {"update_display_data"}, found["shown"]
    assert any('<progress value="' in page for page in pages)
    (kept,) = found["kept"]
    assert "<progress" not in kept["text/html"]
    header, *rows = kept["text/plain"].splitlines()
    assert header == ConsoleLog.HEADER
    assert [row.split()[0] for row in rows] == ["1/2", "2/2"]
