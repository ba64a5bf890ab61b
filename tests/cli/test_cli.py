"""The command line: help, hints, exit codes, folders; a person's mistake never shows a traceback."""

import ast
import errno
import json
import logging
import os
import shlex
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

import modiste
from commands_and_data import PROGRAMS, child_environment, run_modiste, run_python, run_script, write_pictures
from fault_counter import slow_case
from modiste.cli import main
from modiste.cli.answer_writers import safe_cell
from modiste.cli.arguments import print_json, split_flags
from modiste.cli.main import MINIMUM_BYTES
from modiste.errors import (
    ClusterError,
    DataError,
    DivergedError,
    FolderInUseError,
    MemoryShortageError,
    MissingExtraError,
    ModisteError,
    RecipeError,
    RunError,
    StoppedError,
    StorageError,
)
from modiste.recipes.named import RECIPES
from modiste.recipes.plain import to_plain
from modiste.recipes.recipe import Recipe
from modiste.runs import run_folder
from modiste.training import setup, trainer
from modiste.training.free_folder import free_folder
from modiste.training.tracking import Listener

pytestmark = pytest.mark.usefixtures("without_type_checks")


class Result:
    """What a command printed and how it left."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Run a command in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODISTE_OFFLINE", "1")

    def run(*words: object) -> Result:
        code = 0
        try:
            main.main([str(word) for word in words])
        except SystemExit as leaving:
            code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
        except KeyboardInterrupt:
            code = 1
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return Result(code, out, err)

    return run


@pytest.fixture
def recipe_file(tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path) -> Path:
    """The small recipe, for one epoch, with the path of its data in it."""
    recipe = replace(tiny_recipe, epochs=1, data=replace(tiny_recipe.data, source=str(tiny_folder)))
    path = tmp_path / "tiny.json"
    path.write_text(json.dumps(to_plain(recipe)))
    return path


class TestHelp:
    @pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"]])
    def test_every_command_is_listed_with_what_it_does(self, command, words: list[str]) -> None:
        result = command(*words)
        assert result.code == 0
        assert {"train", "evaluate", "recipes"} <= set(main.COMMANDS)
        for name, function in main.COMMANDS.items():
            (line,) = [line for line in result.out.splitlines() if line.startswith(f"  {name} ")]
            assert (function.__doc__ or "").splitlines()[0] in line

    @pytest.mark.parametrize("name", main.COMMANDS)
    def test_every_command_explains_itself(self, command, name: str) -> None:
        result = command(name, "--help")
        assert result.code == 0
        assert len(result.out.splitlines()) > 2

    def test_the_help_of_train_names_every_recipe_and_every_field(self, command) -> None:
        assert all(name in command("train", "--help").out for name in RECIPES)
        text = command("train", "paper", "--help").out
        for flag in ("--epochs", "--seed", "--out", "--data-folder", "--optimizer.learning-rate", "--model.dropout"):
            assert flag in text
        assert "Passes over the training images" in text

    @pytest.mark.parametrize("name", main.COMMANDS)
    def test_every_command_lists_its_flags(self, command, name: str) -> None:
        text = command(name, "--help").out
        flags = {"train": "--quiet", "search": "--trials", "predict": "--csv", "recipes": "--help", "doctor": "--help"}
        flags["drift"] = "--since"
        assert flags.get(name, "--data-folder" if name != "serve" else "--port") in text

    @pytest.mark.parametrize("words", [["--version"], ["-V"], ["version"]])
    def test_version(self, command, words: list[str]) -> None:
        assert command(*words).out == f"modiste {modiste.__version__}\n"


@pytest.mark.parametrize(
    ("words", "code", "hint"),
    [
        (["trian"], 2, "no command 'trian'; did you mean 'train'?"),
        (["xyzzy"], 2, "known: "),
        (["--verbose"], 2, "no command '--verbose'"),
        (["train"], 2, "a recipe or a folder comes first: modiste train RECIPE"),
        (["train", "--epochs", "3"], 2, "a recipe or a folder comes first"),
        (["train", "papper"], 4, "recipe 'papper' is unknown; did you mean 'paper'?"),
        (["train", "none.toml"], 4, "none.toml: cannot be read (No such file or directory)"),
        (["train", "paper", "--epoch", "3"], 2, "--epochs"),
        (["train", "paper", "--epochs", "three"], 2, "three"),
        (["train", "paper", "--epochs", "0"], 2, "epochs"),
        (["train", "paper", "--optimizer.name", "adm"], 2, "adm"),
        (["train", "paper", "--model.dropout", "1"], 2, "dropout"),
        (["train", "paper", "surplus"], 2, "surplus"),
        (["train", "paper", "--device", "cuda:99"], 4, "device 'cuda:99' cannot be used here"),
        (["train", "paper", "--device", "toaster"], 4, "device 'toaster' cannot be used here"),
        (["train", "mlp", "--data.source", "no-such-folder"], 3, "no-such-folder: no such data set or folder"),
        (["train", "mlp", "--data-folder", "no-such-folder"], 3, "no-such-folder: no such folder"),
        (["train", "mlp", "--out", "/dev/null/run"], 5, "/dev/null/run: cannot be used as a run folder"),
        (["train", "mlp", "--data.colour"], 2, "pictures: expected whole or stretched with colour, found 'garment'"),
        (["train", "mlp", "--balance", "2"], 2, "balance: expected from 0 to 1, found 2.0"),
        (["data", "no-such.csv"], 3, "no-such.csv: no such data set or folder"),
        (["data", "audit", "no-such-folder"], 3, "no-such-folder: no such data set or folder"),
        (["data", "audit", "--folds", "1"], 4, "folds: expected 0, or from 2 to 60,000, one for each image, found 1"),
        (["data", "audit", "--recipe", "papper"], 4, "recipe 'papper' is unknown"),
        (["evaluate"], 2, "run"),
        (["evaluate", "no-such-run"], 4, "no-such-run: no run here"),
        (["evaluate", "x", "--split", "tset"], 2, "tset"),
        (["recipes", "papper"], 4, "recipe 'papper' is unknown; did you mean 'paper'?"),
        (["doctor", "surplus"], 2, "surplus"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_mistake_gets_its_code_and_a_hint(command, words: list[str], code: int, hint: str) -> None:
    result = command(*words)
    assert result.code == code, result.err
    assert hint in " ".join((result.out + result.err).split())


@pytest.mark.parametrize("words", ["compare", "evaluate", "evaluate --ensemble", "evaluate --averaging"])
def test_a_device_is_checked_before_anything_is_read(command, words: str) -> None:
    """Stored logits leave nothing to compute."""
    result = command(*words.split(), "a", "b", "--device", "toaster")
    assert (result.code, len(result.err.splitlines())) == (4, 1)
    assert "device 'toaster' cannot be used here" in result.err


@pytest.mark.parametrize(
    "words",
    ["evaluate", "compare other", "report", "report other", "show 1", "figures --run", "export", "serve", "predict -"],
)
def test_a_run_whose_name_is_too_long_is_one_line(command, words: str) -> None:
    name, *more = words.split()
    place = [*more, "x" * 300] if name == "figures" else ["x" * 300, *more]
    result = command(name, *place)
    assert (result.code, result.out, len(result.err.splitlines())) == (4, "", 1)
    assert "cannot be read (File name too long)" in result.err


def test_every_error_has_its_exit_code() -> None:
    codes = {
        ModisteError: 1,
        DataError: 3,
        RecipeError: 4,
        RunError: 4,
        MissingExtraError: 4,
        StorageError: 5,
        DivergedError: 6,
        FolderInUseError: 7,
        ClusterError: 8,
        MemoryShortageError: 1,
        StoppedError: 75,
    }
    assert {kind: kind.exit_code for kind in codes} == codes
    assert set(ModisteError.__subclasses__()) <= set(codes)
    assert main.USAGE == 2


def test_a_real_process_leaves_the_same_way(tmp_path: Path) -> None:
    for run in (run_modiste, partial(run_python, "-m", "modiste")):  # forked from a process, and from the beginning
        done = run("trian", cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == "modiste: no command 'trian'; did you mean 'train'?\n"


def test_interrupted_before_training_it_leaves_quietly(command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while the libraries load."""

    def interrupted(_words: list[str]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(main.COMMANDS, "recipes", interrupted)
    assert command("recipes").code == 130


def refuse(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Refuse to say whether a file is there, as where its folder may not be entered."""
    stat = Path.stat

    def refused(path: Path, **options: bool) -> os.stat_result:
        if str(path) == name:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", refused)


def shell(line: str, cwd: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run the real command, ``modiste`` in the line, as a shell does."""
    line = line.replace("modiste", f"{shlex.quote(sys.executable)} -m modiste")
    environment = child_environment(**variables)
    return subprocess.run(
        ["bash", "-c", line], cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=120
    )


class TestStreams:
    @pytest.mark.parametrize("words", ["recipes", "--help", "train paper --help"])
    @pytest.mark.parametrize("unbuffered", ["", "1"])
    def test_a_full_disk_under_the_output_is_one_line(self, tmp_path: Path, words: str, unbuffered: str) -> None:
        done = shell(f"modiste {words} > /dev/full", tmp_path, PYTHONUNBUFFERED=unbuffered)
        assert done.stderr == "modiste: the output cannot be written (No space left on device)\n"
        assert done.returncode == 5

    @pytest.mark.parametrize("where", ["2>&-", "2>/dev/full"])
    def test_a_complaint_that_nobody_can_read_keeps_its_code(self, tmp_path: Path, where: str) -> None:
        done = shell(f"modiste trian {where}", tmp_path)
        assert (done.returncode, done.stdout, done.stderr) == (2, "", "")

    def test_a_closed_output_is_no_fault(self, tmp_path: Path) -> None:
        done = shell("modiste recipes >&-", tmp_path)
        assert (done.returncode, done.stderr) == (0, "")

    def test_a_reader_that_has_left_ends_the_command_without_a_word(self, tmp_path: Path) -> None:
        reader, writer = os.pipe()
        os.close(reader)
        command = [sys.executable, "-m", "modiste", "recipes"]
        errors = subprocess.PIPE
        done = subprocess.run(
            command, cwd=tmp_path, env=child_environment(), stdout=writer, stderr=errors, check=False, timeout=120
        )
        os.close(writer)
        assert (done.returncode, done.stderr) == (1, b"")

    def test_no_file_takes_the_place_of_a_closed_stream(self, tmp_path: Path) -> None:
        """Whatever a library writes to standard error would end up in it."""
        (tmp_path / "look.py").write_text(
            "import os; from pathlib import Path; from modiste.cli.main import main\n"
            "main(['--version'])\n"
            "number = os.open('found', os.O_CREAT | os.O_WRONLY); os.write(number, b'%d' % number)\n"
        )
        line = f"{shlex.quote(sys.executable)} look.py <&- >&- 2>&-"
        subprocess.run(["bash", "-c", line], cwd=tmp_path, env=child_environment(), check=True, timeout=60)
        assert int((tmp_path / "found").read_text(encoding="utf-8")) > 2

    @pytest.mark.parametrize("encoding", [slow_case("ascii"), "iso-8859-2", slow_case("utf-8")])
    def test_names_beyond_the_letters_of_the_locale_are_escaped(self, tmp_path: Path, encoding: str) -> None:
        write_pictures(tmp_path / "set", {"błąd": 6, "衣服": 6})
        words = ("data", "set", "--pictures", "whole")
        done = subprocess.run(
            [sys.executable, "-m", "modiste", *words],
            cwd=tmp_path,
            env=child_environment(PYTHONIOENCODING=encoding),
            capture_output=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        printed = done.stdout.decode(encoding)
        assert ("błąd" if encoding != "ascii" else "b\\u0142\\u0105d") in printed
        assert ("衣服" if encoding == "utf-8" else "\\u8863\\u670d") in printed

    def test_a_name_that_is_no_utf8_is_escaped(self, tmp_path: Path) -> None:
        done = shell("modiste train $'bad\\xff.toml'; modiste evaluate $'bad\\xff'", tmp_path, LC_ALL="C.UTF-8")
        assert "bad\\udcff.toml: cannot be read" in done.stderr
        assert len(done.stderr.splitlines()) == 2

    def test_every_line_is_printed_by_say_or_warn(self) -> None:
        """Only streams.py prints lines; two other files print JSON and CSV for programs."""
        callers = set()
        for path in Path(main.__file__).parent.glob("*.py"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
            if any(isinstance(call.func, ast.Name) and call.func.id == "print" for call in calls):
                callers.add(path.name)
        assert callers == {"streams.py", "arguments.py", "answer_writers.py"}

    def test_the_help_of_a_strangers_recipe_moves_no_cursor(self, command) -> None:
        Path("r.toml").write_text(
            'name = "t"\n[model]\nkind = "mlp"\n[data]\nsource = "x\\u001b[2J\\u202ey\\u0007"\n', encoding="utf-8"
        )
        text = command("train", "r.toml", "--help").out
        assert "x\\x1b[2J\\u202ey\\x07" in text
        assert not {"\x1b", "\x07", "\u202e"} & set(text)

    def test_say_escapes_what_moves_a_cursor(self, capsys: pytest.CaptureFixture[str]) -> None:
        main.say("a\x1b[2Jb\rc\u202ed", "", "± 衣")
        assert capsys.readouterr().out == "a\\x1b[2Jb\\rc\\u202ed\n\n± 衣\n"


def test_json_knows_finite_numbers_alone(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"loss": float("inf"), "classes": [{"f1": float("nan")}, (0.5, 1, True, None, "NaN")]})
    assert json.loads(capsys.readouterr().out, parse_constant=pytest.fail) == {
        "loss": None,
        "classes": [{"f1": None}, [0.5, 1, True, None, "NaN"]],
    }


class TestMemory:
    def test_a_limit_that_is_too_low_is_one_line_before_anything_is_loaded(self, tmp_path: Path) -> None:
        done = shell("ulimit -v 614400; modiste evaluate runs/none", tmp_path)
        assert done.returncode == 1
        needed = f"{MINIMUM_BYTES / 1e6:,.0f} MB"
        told = (
            f"modiste: too little memory: expected at least {needed}, found a limit of 629 MB (ulimit -v); raise it\n"
        )
        assert done.stderr == told

    def test_help_needs_little(self, tmp_path: Path) -> None:
        done = shell("ulimit -v 614400; modiste train --help", tmp_path)
        assert (done.returncode, done.stderr) == (0, "")

    @pytest.mark.parametrize(
        "error",
        [
            MemoryError("Unable to allocate 23.4 GiB for an array"),
            MemoryError(),
            OSError(errno.ENOMEM, "Cannot allocate memory"),
            RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"),
            RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB\nand more"),
            RuntimeError("Storage size calculation overflowed with sizes=[4611686018427387904, 8]"),
            RuntimeError("can't start new thread"),
            ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        ],
        ids=repr,
    )
    @pytest.mark.parametrize("outer", [None, MissingExtraError("photos: needs Pillow: pip install it")], ids=repr)
    def test_running_out_is_one_line(
        self, command, monkeypatch: pytest.MonkeyPatch, error: Exception, outer: Exception | None
    ) -> None:
        def fail(_words: list[str]) -> None:
            if outer:
                raise outer from error
            raise error

        monkeypatch.setitem(main.COMMANDS, "recipes", fail)
        result = command("recipes")
        assert result.code == 1
        assert result.err.startswith("modiste: too little memory")
        assert "1,074 MB are needed" in result.err
        assert len(result.err.splitlines()) == 1

    def test_a_defect_keeps_its_traceback(self, command, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(_words: list[str]) -> None:
            raise RuntimeError("shapes differ")

        monkeypatch.setitem(main.COMMANDS, "recipes", fail)
        with pytest.raises(RuntimeError, match="shapes differ"):
            command("recipes")


class TestMissingExtras:
    @pytest.mark.parametrize(
        ("package", "words", "extra"),
        [
            ("PIL", ("data", "set"), "photo"),
            slow_case("matplotlib", ("report", "run"), "report"),
        ],
    )
    def test_a_package_that_is_missing_is_named_with_its_extra(
        self, tmp_path: Path, finished_run: Path, package: str, words: tuple[str, ...], extra: str
    ) -> None:
        write_pictures(tmp_path / "set", {"a": 3, "b": 3})
        (tmp_path / "run").symlink_to(finished_run)
        done = run_script(PROGRAMS / "without_packages.py", package, *words, cwd=tmp_path)
        assert done.returncode == 4, done.stderr
        assert f"pip install 'modiste[{extra}]'" in done.stderr
        assert len(done.stderr.splitlines()) == 1

    def test_one_that_no_command_expects_to_be_missing(self, command, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(_words: list[str]) -> None:
            raise ModuleNotFoundError("No module named 'optuna.samplers'", name="optuna.samplers")

        monkeypatch.setitem(main.COMMANDS, "recipes", fail)
        result = command("recipes")
        assert (result.code, result.err) == (4, "modiste: needs optuna: pip install 'modiste[search]'\n")


@pytest.mark.parametrize(
    ("words", "named", "flags"),
    [
        ("run a b --json", "run a b", "--json"),
        ("--json run a", "run a", "--json"),
        ("run --json a --device cpu b", "run a b", "--json --device cpu"),
        ("run a --show=here - --csv", "run a -", "--show=here --csv"),
        ("run --no-json a", "run a", "--no-json"),
        ("run --data_folder d a", "run a", "--data_folder d"),
        ("run --json -- --csv", "run --csv", "--json"),
        ("--help", "", "--help"),
        ("run a --device", "run a", "--device"),
    ],
)
def test_flags_may_stand_anywhere(words: str, named: str, flags: str) -> None:
    from modiste.cli.predict import _PredictOptions

    assert split_flags(words.split(), _PredictOptions) == (named.split(), flags.split())


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        (" =1", "' =1"),
        ("\uff1d1", "'\uff1d1"),
        ("\t=1", "\\t=1"),
        ("\r=1", "\\r=1"),
        ("\n=1", "\\n=1"),
        ("\x1b[2J", "\\x1b[2J"),
        ("-1", "-1"),
        ("+0.5", "+0.5"),
        ("T-shirt/top", "T-shirt/top"),
        ("", ""),
    ],
)
def test_no_cell_is_a_formula(text: str, cell: str) -> None:
    assert safe_cell(text) == cell


@pytest.mark.parametrize(
    ("words", "needed"),
    [
        ("predict model.onnx a.jpg", False),
        ("serve model.onnx", False),
        ("export runs/paper --out model.onnx", True),
        ("predict runs/paper a.jpg", True),
        ("train --help", False),
        ("recipes", False),
    ],
)
def test_commands_that_read_an_onnx_file_need_no_torch(words: str, needed: bool) -> None:
    name, *rest = words.split()
    assert main._needs_torch(name, rest) is needed


class TestTrain:
    def test_says_what_came_out_and_what_to_do_next(self, command, recipe_file: Path) -> None:
        result = command("train", recipe_file, "--device", "cpu")
        assert result.code == 0
        run = run_folder.open_run("runs/tiny")
        assert f"validation accuracy {run.picked.validation_accuracy:.2%} (95 % interval" in result.out
        assert "in runs/tiny\nnext: modiste report runs/tiny --open; " in result.out
        advice = result.out.splitlines()[-1]
        assert advice.endswith("modiste evaluate runs/tiny --split test")  # validation decides, test comes last
        assert " 1/1 " in result.err

    def test_quiet_is_quiet(self, command, recipe_file: Path) -> None:
        result = command("train", recipe_file, "--quiet", "--out", "here")
        assert (result.code, result.out, result.err) == (0, "", "")
        run_folder.open_run("here")

    @pytest.mark.parametrize("quiet", [True, False])
    def test_quiet_is_quiet_about_busy_cores_and_the_images_too(
        self,
        quiet: bool,
        command,
        recipe_file: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        monkeypatch.setattr(setup.CoreWatch, "free", lambda _watch: 1)
        monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
        monkeypatch.setattr(torch, "set_num_threads", lambda _number: None)
        load = setup.load_development
        monkeypatch.setattr(setup, "load_development", lambda *where: replace(load(*where), notes=("few bags",)))
        before = logging.getLogger("modiste").level
        assert command("train", recipe_file, *["--quiet"] * quiet, "--out", "here").code == 0
        told = [record.getMessage() for record in caplog.records if record.name.startswith("modiste")]
        assert [note.partition(":")[0] for note in told] == ([] if quiet else ["few bags", "other processes are busy"])
        assert logging.getLogger("modiste").level == before

    def test_quiet_is_quiet_about_files_left_out(self, command, tmp_path: Path) -> None:
        write_pictures(tmp_path / "set", {"a": 8, "b": 8})
        (tmp_path / "set" / "a" / "bad.png").write_bytes(b"nothing")
        words = [
            "--data.source",
            "set",
            "--data.pictures",
            "whole",
            "--epochs",
            1,
            "--batch-size",
            4,
            "--device",
            "cpu",
        ]
        loud = command("train", "perceptron", *words)
        assert "bad.png: not a readable image" in loud.err
        quiet = command("train", "perceptron", *words, "--quiet", "--out", "here")
        assert (quiet.code, quiet.out, quiet.err) == (0, "", "")
        assert logging.getLogger("modiste.data").isEnabledFor(logging.ERROR)

    def test_flags_change_the_recipe_and_nothing_else(self, command, recipe_file: Path, tiny_recipe: Recipe) -> None:
        words = ["--seed", 9, "--optimizer.learning-rate", 0.01, "--model.hidden", 4, 3, "--augmentation.flip"]
        assert command("train", recipe_file, "--quiet", "--out", "here", *words).code == 0
        plain = json.loads(Path("here/recipe.json").read_text(encoding="utf-8"))
        expected = json.loads(recipe_file.read_text(encoding="utf-8"))
        expected |= {"seed": 9}
        expected["optimizer"]["learning_rate"] = 0.01
        expected["model"]["hidden"] = [4, 3]
        expected["augmentation"]["flip"] = True
        assert plain == expected

    def test_a_toml_file_is_a_recipe_too(self, command, tiny_folder: Path, tmp_path: Path) -> None:
        (tmp_path / "r.toml").write_text(
            f'name = "t"\nepochs = 1\n[model]\nkind = "mlp"\n[data]\nsource = "{tiny_folder}"\n'
        )
        assert command("train", tmp_path / "r.toml", "--quiet").code == 0
        assert run_folder.open_run("runs/t").recipe.model == modiste.RECIPES["perceptron"]().model

    def test_folders_are_named_after_the_recipe_and_counted(self, command, recipe_file: Path) -> None:
        for name in ("tiny", "tiny-2", "tiny-3"):
            assert f"in runs/{name}\n" in command("train", recipe_file).out
        assert sorted(path.name for path in Path("runs").iterdir()) == ["tiny", "tiny-2", "tiny-3"]

    def test_a_folder_that_is_closed_to_this_process_is_not_taken(
        self, command, recipe_file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        Path("runs/tiny").mkdir(parents=True)
        refuse(monkeypatch, "runs/tiny/recipe.json")
        refuse(monkeypatch, "runs/tiny/manifest.json")
        assert "in runs/tiny-2\n" in command("train", recipe_file).out

    def test_a_damaged_recipe_is_named_where_its_folder_is_passed_over(
        self, command, recipe_file: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        Path("runs/tiny").mkdir(parents=True)
        Path("runs/tiny/recipe.json").write_text("{", encoding="utf-8")
        assert "in runs/tiny-2\n" in command("train", recipe_file).out
        assert "runs/tiny/recipe.json: damaged" in caplog.text

    def test_a_folder_of_a_recipes_name_does_not_hide_the_recipe(self, command, tiny_folder: Path) -> None:
        words = ("train", "perceptron", "--epochs", 1, "--data.source", tiny_folder, "--out", "perceptron")
        assert command(*words).code == 0
        again = command(*words)
        assert (again.code, "in perceptron\n" in again.out) == (0, True)

    def test_a_closed_folder_of_pictures_is_told_in_a_line(self, command, monkeypatch: pytest.MonkeyPatch) -> None:
        Path("shop").mkdir()
        refuse(monkeypatch, "shop/recipe.json")
        done = command("train", "shop")
        assert (done.code, "shop/recipe.json: cannot be read (Permission denied)" in done.err) == (4, True)

    def test_where_all_runs_are_closed_the_first_is_tried(
        self, tiny_recipe: Recipe, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        refuse(monkeypatch, "runs/tiny")
        assert free_folder(tiny_recipe, "cpu") == Path("runs/tiny")

    @pytest.mark.parametrize(
        "words",
        [
            ("--name", "n" * 300),
            ("--out", "n" * 300),
            ("--transfer-from", "n" * 300),
            ("--transfer-from", f"{'n' * 300}/x.safetensors"),
            ("--out", "runs/file"),
            ("--name", "file"),
        ],
    )
    def test_a_name_that_cannot_be_is_told_in_a_line(
        self, words: tuple[str, str], command, recipe_file: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "runs").mkdir()
        (tmp_path / "runs" / "file").touch()
        done = command("train", recipe_file, *words)
        assert done.code == (RunError if words[0] == "--transfer-from" else StorageError).exit_code
        assert (done.err.startswith("modiste: "), done.err.count("\n")) == (True, 1)

    def test_a_source_that_is_closed_is_told_in_a_line(
        self, command, recipe_file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        refuse(monkeypatch, "closed/model.safetensors")
        done = command("train", recipe_file, "--transfer-from", "closed/model.safetensors")
        assert (done.code, "closed/model.safetensors: cannot be read (Permission denied)" in done.err) == (4, True)

    def test_the_unfinished_run_of_this_recipe_is_taken_up(
        self, command, recipe_file: Path, tiny_recipe: Recipe, tiny_folder: Path
    ) -> None:
        class Stop(Listener):
            def step_done(self, step: int) -> None:
                raise StoppedError

        recipe = replace(tiny_recipe, epochs=1, data=replace(tiny_recipe.data, source=str(tiny_folder)))
        for folder, begun in (("runs/tiny", replace(recipe, seed=5)), ("runs/tiny-2", recipe)):
            with pytest.raises(StoppedError):
                trainer.train(begun, folder, device="cpu", listeners=[Stop()])
        assert "in runs/tiny-2\n" in command("train", recipe_file, "--device", "cpu").out
        assert "in runs/tiny\n" in command("train", recipe_file, "--device", "cpu", "--seed", 5).out
        assert "in runs/tiny-3\n" in command("train", recipe_file, "--device", "cpu").out

    def test_a_folder_without_a_run_in_it_is_free(self, command, recipe_file: Path) -> None:
        """As a look at a run that was not there yet, or a kill in the first moment, leaves it."""
        command("evaluate", "runs/tiny")
        assert "in runs/tiny\n" in command("train", recipe_file).out

    def test_a_run_that_cannot_be_read_does_not_stand_in_the_way(self, command, recipe_file: Path) -> None:
        Path("runs/tiny").mkdir(parents=True)
        Path("runs/tiny/recipe.json").write_text('{"name": "tiny", "invented_later": 3}', encoding="utf-8")
        assert "in runs/tiny-2\n" in command("train", recipe_file).out

    def test_a_name_too_long_for_a_folder(self, command, recipe_file: Path) -> None:
        result = command("train", recipe_file, "--name", "x" * 300)
        assert result.code == 5
        assert result.err.endswith("shorter name\n")

    def test_out_of_another_recipe_is_refused_with_the_difference(self, command, recipe_file: Path) -> None:
        command("train", recipe_file, "--out", "here", "--quiet")
        result = command("train", recipe_file, "--out", "here", "--seed", 3)
        assert result.code == 4
        assert "here: holds a run of another recipe (seed: 0 became 3)" in result.err

    def test_a_batch_of_one_image_under_batch_normalisation(self, command, tiny_folder: Path) -> None:
        """400 images in batches of 57 leave one over, which has no spread to normalise by."""
        words = ["--data.source", tiny_folder, "--model.batch-norm", "--batch-size", 57, "--epochs", 1, "--out", "here"]
        result = command("train", "mlp", *words)
        assert result.code == 4
        assert "batch_size: expected " in result.err
        assert result.err.endswith("found 57\n")

    def test_blank_images_that_are_standardised(self, command, tmp_path: Path) -> None:
        """They have no deviation to divide by."""
        from idx_files import IMAGES, LABELS, idx, write

        folder = write(tmp_path / "blank", {IMAGES: idx([[[7] * 4] * 4] * 60), LABELS: idx([0, 1] * 30)})
        result = command(
            "train", "perceptron", "--data.source", folder, "--standardize", "--epochs", 1, "--out", "here"
        )
        assert result.code == 3
        assert "every training pixel has the same value" in result.err


class TestEvaluate:
    @pytest.mark.parametrize("split", ["validation", "test"])
    @pytest.mark.parametrize("weights", ["picked", "last"])
    def test_json_equals_python(self, command, run: Path, tiny_folder: Path, split: str, weights: str) -> None:
        words = ["--split", split, "--weights", weights, "--data-folder", tiny_folder, "--json"]
        result = command("evaluate", run, *words)
        assert (result.code, result.err) == (0, "")
        printed = json.loads(result.out)
        measured = modiste.evaluate(run, split=split, weights=weights, data_folder=tiny_folder).as_plain()  # type: ignore[arg-type]
        if split == "test":
            assert measured.pop("test_openings") == printed.pop("test_openings") + 1 == 2
        assert printed == json.loads(json.dumps(measured))

    def test_for_people(self, command, run: Path, tiny_folder: Path) -> None:
        text = command("evaluate", run, "--split", "test", "--data-folder", tiny_folder).out
        measured = modiste.evaluate(run, data_folder=tiny_folder, split="test")
        assert f"accuracy {measured.accuracy:.2%}" in text
        assert "the test set has been opened once for this run" in text
        table = [line.split() for line in text.splitlines() if line[:1].isdigit()]
        assert [row[0] for row in table] == ["0", "1", "2", "3", "4"]
        assert [float(row[1]) for row in table] == pytest.approx(
            [score.precision for score in measured.per_class.values()], abs=5e-5
        )

    def test_a_damaged_run_names_the_file(self, command, run: Path) -> None:
        (run / "model.safetensors").write_bytes((run / "model.safetensors").read_bytes()[:-1])
        result = command("evaluate", run)
        assert result.code == 4
        assert result.err.startswith(f"modiste: {run}/model.safetensors: damaged")
        assert len(result.err.splitlines()) == 1
