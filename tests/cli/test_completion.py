"""Shell completion, asked of the real shells."""

import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

from modiste.cli import completion, main
from modiste.recipes.named import RECIPES

PERCEPTRON = ["--model.activation", "--model.batch-norm", "--model.dropout", "--model.hidden"]
ASKED = [
    ("modiste tr", ["train"]),
    ("modiste train sprint-95", ["sprint-95", "sprint-95-gpu"]),
    ("modiste train sprint --epo", ["--epochs"]),
    ("modiste train sprint --l", ["--label-smoothing", "--loss", "--lr"]),
    ("modiste train sprint --precision ", ["auto", "bfloat16", "float32"]),
    ("modiste train --seed 3 sprint --optimizer.name ad", ["adam", "adamw"]),
    ("modiste data au", ["audit"]),
    ("modiste data audit --fo", ["--folds"]),
    ("modiste data fetch cl", ["clothing"]),
    ("modiste help ev", ["evaluate"]),
    ("modiste evaluate runs/x --split te", ["test"]),
    ("modiste recipes dbn", ["dbn", "dbn-frozen"]),
    ("modiste train perceptron --model.", PERCEPTRON),
    ("modiste train --seed 3 perceptron --model.", PERCEPTRON),
    ("modiste search perceptron --model.h", ["--model.hidden"]),
    ("modiste train folder --model.ke", ["--model.kernel-size", "--model.keypoints"]),
    ("modiste train perceptron --model.activation ta", ["tanh"]),
]

NO_RECIPES = ("--out paper", "--name = paper", "--mirror --out paper --quiet")
"""Words before a recipe in which the name of another is the value of a flag; bash splits words at an equals sign."""


@cache
def script(shell: str) -> str:
    return completion.script(shell, main.COMMANDS)


def needed(shell: str) -> str:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    return program


def test_bash_offers_what_fits(tmp_path: Path) -> None:
    ask = 'ask() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _modiste; echo "${COMPREPLY[*]}"; }'
    asked = [*ASKED, *((f"modiste train {words} perceptron --model.", PERCEPTRON) for words in NO_RECIPES)]
    lines = [" ".join(f"'{word}'" for word in line.split(" ")) for line, _ in asked]
    (tmp_path / "try").write_text(
        "\n".join([script("bash"), ask, *(f"ask {line}" for line in lines)]), encoding="utf-8"
    )
    done = subprocess.run([needed("bash"), "try"], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr == ""
    assert [sorted(line.split()) for line in done.stdout.splitlines()] == [offered for _, offered in asked]


def test_bash_completes_a_value_behind_an_equals_sign(tmp_path: Path) -> None:
    """Bash splits words there."""
    ask = "COMP_WORDS=(modiste train sprint --precision = bf); COMP_CWORD=5; _modiste; echo ${COMPREPLY[*]}"
    (tmp_path / "try").write_text(f"{script('bash')}\n{ask}\n")
    done = subprocess.run([needed("bash"), "try"], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "bfloat16\n"


def test_fish_offers_what_fits(tmp_path: Path) -> None:
    (tmp_path / "m.fish").write_text(script("fish"), encoding="utf-8")
    lines = ["source m.fish", *(f"complete -C '{line}' | string split -f1 \\t; echo ." for line, _ in ASKED)]
    (tmp_path / "try.fish").write_text("\n".join(lines), encoding="utf-8")
    command = [needed("fish"), "--no-config", "try.fish"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60)
    answers = [sorted(set(part.split())) for part in done.stdout.split(".\n")[:-1]]
    assert answers == [offered for _, offered in ASKED]


def test_zsh_can_read_its_script(tmp_path: Path) -> None:
    (tmp_path / "m.zsh").write_text(
        script("zsh") + "\nprint ${+functions[_modiste]} ${_comps[modiste]}\n", encoding="utf-8"
    )
    command = [needed("zsh"), "-f", "m.zsh"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.startswith("1 _bash_complete")


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_a_script_names_every_command_recipe_and_flag(shell: str) -> None:
    words = set(re.findall(r"[\w.-]+", script(shell)))
    assert {*main.COMMANDS, *RECIPES, "audit", "fetch"} <= words
    dashes = "" if shell == "fish" else "--"
    assert {f"{dashes}{name}" for name in ("epochs", "lr", "optimizer.learning-rate", "model.dropout")} <= words


@pytest.mark.parametrize("name", main.COMMANDS)
def test_every_command_is_known_to_completion(name: str) -> None:
    """A new command needs an entry there."""
    assert isinstance(completion.options_of(name), tuple)


@pytest.mark.parametrize("words", [["--print-completion"], ["--print-completion", "tcsh"]])
def test_another_shell_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        main.main(words)
    assert leaving.value.code == 2
    assert "--print-completion: expected bash, zsh, fish, found" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--print-completion", "bash"], ["--print-completion=bash"]])
def test_the_script_is_printed(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    main.main(words)
    assert capsys.readouterr().out == script("bash")
