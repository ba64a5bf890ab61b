"""Flags as people type them: help, aliases, any order, hints for mistakes."""

import dataclasses
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from commands_and_data import check_flags
from modiste.cli import arguments, command_help, flags, main
from modiste.cli.evaluate import _EvaluateOptions
from modiste.cli.report import _ShowOptions
from modiste.cli.train import RECIPE_OF_RUN, _TrainOptions
from modiste.errors import RecipeError
from modiste.recipes import named
from modiste.recipes.networks import CapsNetRecipe, CNNRecipe, MLPRecipe, SprintRecipe
from modiste.recipes.plain import flatten, to_plain
from modiste.recipes.recipe import Recipe
from modiste.runs import run_folder

SPRINT = named.get("sprint")


def of_train(recipe: Recipe = SPRINT) -> list[flags.Flag]:
    return [*flags.flags_of(_TrainOptions), *flags.flags_of(recipe)]


class TestDescription:
    @pytest.mark.parametrize("name", named.RECIPES)
    def test_every_field_of_a_recipe_is_a_flag_with_its_value_and_its_docstring(self, name: str) -> None:
        recipe = named.get(name)
        described = {flag.name: flag for flag in flags.flags_of(recipe)}
        plain = {key: value for key, value in flatten(to_plain(recipe)) if key != "model.kind"}
        assert list(described) == [key.replace("_", "-") for key in plain]
        assert all(flag.about for flag in described.values())
        for key, value in plain.items():
            default = described[key.replace("_", "-")].default
            assert (list(default) if isinstance(default, tuple) else default) == value

    def test_a_class_has_the_flags_of_every_network(self) -> None:
        names = {flag.name for flag in flags.flags_of(Recipe)}
        for kind in (CNNRecipe, MLPRecipe, SprintRecipe):
            assert {f"model.{item.name.replace('_', '-')}" for item in dataclasses.fields(kind)} <= names

    def test_docstrings_of_bases_are_known(self) -> None:
        docs = flags.field_docs(_EvaluateOptions)
        assert docs["data_folder"].startswith("Folder of Fashion-MNIST")
        assert docs["json"] == "Print JSON."

    def test_tyro_knows_every_spelling(self) -> None:
        """The description and the parser agree: each switch can be switched both ways, and each value be given."""
        described = flags.flags_of(SPRINT)
        switches = [flag for flag in described if flag.is_switch]
        valued = [flag for flag in described if not flag.is_switch and flag.default not in ((), "")]
        for number, state in enumerate((True, False)):
            given = [f"--{flag.variants()[-1 if number else 0]}" for flag in switches]
            recipe = _parsed([*given, *(["--data.pictures", "whole"] if state else [])])
            assert [_value(flag.name, recipe) for flag in switches] == [state] * len(switches)
        values = [(f"--{flag.name}", *_words(flag.default)) for flag in valued]
        assert _parsed([word for words in values for word in words]) == SPRINT


def _parsed(given: list[str]) -> Recipe:
    recipe: Recipe = arguments.parse_with_recipe(arguments.NoOptions(), SPRINT, given, "modiste train")[0]
    return recipe


def _value(name: str, found: object) -> object:
    for part in name.split("."):
        found = getattr(found, part.replace("-", "_"))
    return found


def _words(value: object) -> list[str]:
    return list(map(str, value)) if isinstance(value, tuple) else [str(value)]


class TestOrder:
    @pytest.mark.parametrize(
        ("words", "positional"),
        [
            ("sprint --epochs 3 --mirror", "sprint"),
            ("--epochs 3 sprint --mirror", "sprint"),
            ("--epochs=3 --mirror sprint", "sprint"),
            ("--lr 0.1 sprint", "sprint"),
            ("--batch_size 8 sprint", "sprint"),
            ("--model.hidden 4 3 sprint", "sprint"),
            ("--no-mirror sprint", "sprint"),
            ("--optimizer.no-nesterov sprint", "sprint"),
            ("--transfer.freeze a b --mirror sprint", "sprint"),
            ("--quiet -- --sprint", "--sprint"),
            ("--track mlflow wandb -- sprint", "sprint"),
            ("--out -- sprint", "sprint"),
            ("--help sprint", "sprint"),
            ("--help-all", ""),
        ],
    )
    def test_what_is_no_flag_and_no_value_is_positional(self, words: str, positional: str) -> None:
        found, chosen = flags.split(words.split(), [*flags.flags_of(_TrainOptions), *flags.flags_of(Recipe)])
        assert found == positional.split()
        assert sorted([*found, *chosen]) == sorted(word for word in words.split() if word != "--")

    def test_runs_may_stand_before_between_and_after_flags(self) -> None:
        for words in ("a b --split test --json", "--split test a b --json", "a --json b --split test"):
            options = arguments.parse(_EvaluateOptions, words.split(), "modiste evaluate")
            assert (list(map(str, options.runs)), options.split, options.json) == (["a", "b"], "test", True)


SWITCH = "expected no value, found"


class TestCorrection:
    @pytest.mark.parametrize("spelling", ["--lr 0.5", "--lr=0.5", "--learning_rate 0.5", "--learning-rate=0.5"])
    def test_short_names_are_understood(self, spelling: str) -> None:
        recipe, _ = arguments.parse_with_recipe(arguments.NoOptions(), SPRINT, spelling.split(), "modiste train")
        assert recipe == replace(SPRINT, optimizer=replace(SPRINT.optimizer, learning_rate=0.5))

    @pytest.mark.parametrize(
        ("typed", "hint"),
        [
            ("--epoch", "no flag --epoch in modiste train sprint; did you mean --epochs?"),
            ("-epochs", "did you mean --epochs?"),
            ("--Epochs=3", "did you mean --epochs?"),
            ("--batchsize", "did you mean --batch-size?"),
            ("--momentum", "did you mean --optimizer.momentum or --pretraining.momentum?"),
            ("--hidden", "did you mean --model.hidden?"),
            ("--model.hiden", "did you mean --model.hidden?"),
            ("--weight_decay", "--optimizer.weight-decay"),
            ("--optimizer.lr", "did you mean --lr?"),
            ("--transfer-form", "did you mean --transfer-from?"),
            ("--xyzzy", "modiste train sprint --help lists them"),
        ],
    )
    def test_an_unknown_flag_is_answered_with_the_right_one(self, typed: str, hint: str) -> None:
        with pytest.raises(LookupError, match=re.escape(hint)):
            flags.correct([typed, "3"], of_train(), "modiste train sprint")

    @pytest.mark.parametrize(
        ("words", "hint"),
        [
            ("--epochs three", "--epochs: expected a whole number, found three"),
            ("--epochs 2.5", "--epochs: expected a whole number, found 2.5"),
            ("--seed=1e3", "--seed: expected a whole number, found 1e3"),
            ("--model.filters 4 3.5", "--model.filters: expected a whole number, found 3.5"),
            ("--lr=fast", "--optimizer.learning-rate: expected a number, found fast"),
            (
                "--precision float23",
                "--precision: expected float32 or bfloat16 or auto, found float23; did you mean float32?",
            ),
            ("--seed", "--seed: expected N, found nothing"),
            ("--out --quiet", "--out: expected PATH, found the flag --quiet"),
            ("--teacher --quiet", "--teacher: expected PATH ..., found the flag --quiet"),
            ("--track", "--track: expected TEXT ..., found nothing"),
            (
                "--standardize=false",
                f"--standardize: {SWITCH} false; --standardize switches it on, --no-standardize off",
            ),
            ("--no-mirror=true", f"--mirror: {SWITCH} true; --mirror switches it on, --no-mirror off"),
            ("--optimizer.betas 0.9", "--optimizer.betas: expected 2 values, found 0.9"),
            ("--optimizer.betas=0.9", "--optimizer.betas: expected 2 values, found 0.9"),
            ("--optimizer.betas 0.9 0.99 0.9", "--optimizer.betas: expected 2 values, found 0.9 0.99 0.9"),
            ("--optimizer.betas", "--optimizer.betas: expected 2 values, found nothing"),
            ("--epochs None", "--epochs: expected a whole number, found None"),
            ("--precision None", "--precision: expected float32 or bfloat16 or auto, found None"),
            ("--precision=", "--precision: expected float32 or bfloat16 or auto, found nothing"),
            ("--out -- sprint", "--out: expected PATH, found nothing"),
            ("--teacher a --teacher b", "--teacher: given twice; give it once, with all its values behind it"),
            (
                "--model.filters 8 8 --model.filters=4",
                "--model.filters: given twice; give it once, with all its values behind it",
            ),
        ],
    )
    def test_a_value_that_cannot_be_is_one_line(self, words: str, hint: str) -> None:
        with pytest.raises(LookupError) as refused:
            flags.correct(words.split(), of_train(), "modiste train sprint")
        assert str(refused.value) == hint

    @pytest.mark.parametrize(
        ("words", "hint"),
        [
            ("doctor now", "modiste doctor: now is one argument too many"),
            ("serve a b", "modiste serve: b is one argument too many"),
            ("serve", "modiste serve: expected SOURCE; see modiste serve --help"),
            ("export", "which run? modiste export RUN"),
            ("show runs/a shoe", "IMAGES: expected a whole number, found shoe"),
            ("evaluate runs/a --split None", "--split: expected validation or test, found None"),
            ("train sprint --quiet --mirror --epochs x", "--epochs: expected a whole number, found x"),
            ("train sprint --epochs 0", "--epochs: expected at least 1, or 0 with linear_probe, found 0"),
            ("train sprint --optimizer.learning-rate=-1", "--optimizer.learning-rate: expected above 0, found -1"),
            ("train sprint --lr -1", "--optimizer.learning-rate: expected above 0, found -1"),
            ("search sprint x=1,2 --model.filters 0 9", "--model.filters: expected at least 1, found (0, 9)"),
        ],
    )
    def test_a_mistake_is_one_line(self, words: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as leaving:
            main.main(words.split())
        error = capsys.readouterr().err
        assert (leaving.value.code, error.count("\n")) == (2, 1)
        assert hint in error

    @pytest.mark.parametrize(("kind", "text"), [(int | None, "None"), (Literal["", "fast"], ""), (Literal["a"], "a")])
    def test_a_value_that_the_type_has_is_taken(self, kind: Any, text: str) -> None:
        flag = flags.Flag("x", kind, "", None)
        assert flags.correct([f"--x={text}"], [flag], "modiste train") == [f"--x={text}"]

    def test_a_negative_number_stays_where_a_number_is_expected(self) -> None:
        shown, measured = (flags.flags_of(kind) for kind in (_ShowOptions, _EvaluateOptions))
        assert flags.as_positional(["runs/a", "-1", "-x", "-"], shown) == ["runs/a", "-1", "./-x", "-"]
        assert flags.as_positional(["-1", "a"], measured) == ["./-1", "a"]

    def test_values_and_what_follows_two_dashes_stay(self) -> None:
        words = ["--balance", "-1", "-", "--out=--quiet", "--transfer.freeze", "--seed=3", "--", "--xyzzy"]
        assert flags.correct(words, of_train(), "modiste train") == words


class TestHelp:
    def text(self, recipe: Recipe, *, complete: bool = False) -> str:
        lines = command_help.render("modiste train sprint", "About.", _TrainOptions, recipe, complete=complete)
        return "\n".join(lines)

    def flags(self, recipe: Recipe, *, complete: bool = False) -> str:
        return self.text(recipe, complete=complete).partition("without effect here")[0]

    def test_the_most_used_come_first(self) -> None:
        order = [self.text(SPRINT).index(f"\n  --{name} ") for name in ("epochs", "lr,", "batch-size", "seed", "out")]
        assert order == sorted(order)
        assert "--lr, --optimizer.learning-rate X" in self.text(SPRINT)

    def test_defaults_are_the_recipes_own(self) -> None:
        assert "Images per step. [256]" in self.text(named.get("sprint-95"))
        assert "[on; off: --no-standardize]" in " ".join(self.text(SPRINT).split())

    @pytest.mark.parametrize(
        ("flag", "shown", "folded"),
        [
            ("--pretraining.gibbs-steps", "dbn", "sprint"),
            ("--self-supervised.temperature", "simclr", "sprint"),
            ("--optimizer.momentum", "sprint-95", "sprint"),
            ("--optimizer.betas", "sprint", "sprint-95"),
            ("--schedule.final-factor", "sprint", "paper"),
            ("--data.side", "photo-clothing", "sprint"),
            ("--transfer.rename", "backbone-linear", "sprint"),
            ("--ema-warm-up", "backbone-tuned", "sprint"),
            ("--data-pruning", "sprint-93", "sprint"),
            ("--by-class.outliers", "photo-home", "sprint"),
        ],
    )
    def test_what_cannot_matter_folds(self, flag: str, shown: str, folded: str) -> None:
        assert f"\n  {flag} " in self.flags(named.get(shown))
        assert f"\n  {flag} " not in self.flags(named.get(folded))
        assert f"\n  {flag} " in self.flags(named.get(folded), complete=True)

    @pytest.mark.parametrize(
        ("flag", "when", "change"),
        [
            ("optimizer.momentum", "with --optimizer.name sgd", {"optimizer.name": "sgd"}),
            ("optimizer.sam-adaptive", "with --optimizer.sam-rho", {"optimizer.sam_rho": 0.05}),
            ("ema-warm-up", "with --ema-decay", {"ema_decay": 0.99}),
            ("data-pruning", "with --epochs 2 or more: the first pass takes every image", {"epochs": 2}),
            ("data.subset-seed", "with --data.images-per-class", {"data.images_per_class": 10}),
            ("transfer.rename", "with --transfer-from", {"transfer.source": 64 * "0"}),
            ("distillation.weight", "with --teacher", {"distillation.teachers": [64 * "0"]}),
        ],
    )
    def test_a_flag_without_effect_is_told(self, flag: str, when: str, change: dict[str, Any]) -> None:
        given = flags.given([f"--{flag}", "0", "--epochs=3"], flags.flags_of(SPRINT))
        assert list(command_help.idle(SPRINT, given)) == [f"--{flag} has no effect here, only {when}"]
        assert not list(command_help.idle(SPRINT.with_(**change), given))

    @pytest.mark.parametrize(
        ("name", "flag", "when", "change"),
        [
            ("backbone-linear", "batch-size", "with --epochs 1 or more", {"epochs": 1}),
            ("backbone-linear", "optimizer.learning-rate", "with --epochs 1 or more", {"epochs": 1}),
            ("backbone-linear", "augmentation.cutmix", "with --epochs 1 or more", {"epochs": 1}),
            (
                "backbone-tuned",
                "standardize",
                "with another network than EfficientNet-Lite, which has a standardisation of its own",
                {"model": CNNRecipe(), "transfer": {}},
            ),
            (
                "capsnet-deep",
                "model.iterations",
                "with --model.routing agreement",
                {"model": CapsNetRecipe(stem="deep")},
            ),
            (
                "capsnet-deep",
                "model.kernel-size",
                "with --model.stem single",
                {"model": CapsNetRecipe(routing="attention")},
            ),
        ],
    )
    def test_a_flag_without_effect_on_another_recipe_is_told(
        self, name: str, flag: str, when: str, change: dict[str, Any]
    ) -> None:
        recipe = named.get(name)
        given = flags.given([f"--{flag}"], flags.flags_of(recipe))
        assert list(command_help.idle(recipe, given)) == [f"--{flag} has no effect here, only {when}"]
        assert not list(command_help.idle(recipe.with_(**change), given))

    def test_without_epochs_an_augmentation_of_single_images_still_matters(self) -> None:
        """The detector of other pictures learns what the recipe allows."""
        recipe = named.get("backbone-linear")
        changes = [flag for flag in flags.flags_of(recipe) if flag.name.startswith("augmentation.")]
        idle = [line.split()[0] for line in command_help.idle(recipe, changes)]
        assert idle == ["--augmentation.mixup", "--augmentation.cutmix", "--augmentation.fmix"]
        assert "--batch-size" not in self.flags(recipe)

    def test_a_flag_of_two_folds_is_told_once(self) -> None:
        recipe = named.get("backbone-linear")
        given = [flag for flag in flags.flags_of(recipe) if flag.name.startswith(("optimizer.", "schedule."))]
        assert len(list(command_help.idle(recipe, given))) == len(given)
        folded = self.text(recipe).partition("without effect here")[2]
        counts = [1 + int(more) for more in re.findall(r"--[\w.-]+ and (\d+) more", folded)]
        counts += [int(count) for count in re.findall(r"\.\* \((\d+)\)", folded)]
        single = re.findall(r"^  --[\w.-]+(?= {2,}|$)", folded, re.MULTILINE)
        assert sum(counts) + len(single) == len(list(command_help.idle(recipe, flags.flags_of(recipe))))

    def test_steps_fold_unless_the_schedule_has_them(self) -> None:
        in_steps = replace(SPRINT, schedule=replace(SPRINT.schedule, shape="step"))
        assert "\n  --schedule.step-factor X" in self.flags(in_steps)
        assert "\n  --schedule.step-every and 1 more" in self.text(SPRINT)
        assert "--help-all" not in self.text(SPRINT, complete=True)

    def test_no_flag_is_lost(self) -> None:
        names = {f"--{flag.name}" for flag in of_train()}
        assert names <= set(re.findall(r"--[\w.-]+", self.text(SPRINT, complete=True)))

    def test_every_fold_holds_flags_that_exist(self) -> None:
        known = [flag.name for flag in flags.flags_of(Recipe)]
        for fold in command_help.FOLDS:
            for name in fold.names:
                assert any(name == one or one.startswith(name.removesuffix("*")) for one in known), name

    def test_lines_fit_the_terminal(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COLUMNS", "72")
        about = [line for line in self.text(SPRINT).splitlines() if line.startswith(" " * command_help.INDENT)]
        assert max(map(len, about)) < 72


@pytest.mark.usefixtures("without_type_checks")
class TestCommands:
    @pytest.mark.parametrize("name", main.COMMANDS)
    def test_every_help_has_examples_whose_flags_exist(self, name: str, capsys: pytest.CaptureFixture[str]) -> None:
        examples = re.findall(
            rf"^ +(modiste {name} ?.*)$", _after(main.COMMANDS[name].__doc__ or "", "Examples:"), re.M
        )
        assert examples
        for example in examples:
            words = shlex.split(example)[1:]
            check_flags(words)
            if words[1:2] in (["fetch"], ["shop"]):
                continue
            with pytest.raises(SystemExit) as leaving:
                main.main([*words, "--help"])
            assert (leaving.value.code, capsys.readouterr().err) == (0, ""), example

    @pytest.mark.parametrize("words", ["help train", "train --help", "train -h"])
    def test_help_before_a_command_is_its_help(self, words: str, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            main.main(words.split())
        assert "usage: modiste train RECIPE [options]" in capsys.readouterr().out

    def test_flags_beside_help_change_what_folds(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            main.main(["train", "--warm-start", "simclr", "sprint", "--help"])
        assert "\n  --self-supervised.temperature X" in capsys.readouterr().out

    def test_two_recipes_are_one_too_many(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as leaving:
            main.main(["train", "sprint", "--epochs", "3", "paper"])
        assert leaving.value.code == 2
        assert "expected one recipe or folder, found sprint and paper" in capsys.readouterr().err

    def test_the_folder_of_a_run_is_no_recipe(
        self, finished_run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(finished_run.parent)
        with pytest.raises(SystemExit) as leaving:
            main.main(["train", finished_run.name])
        assert (leaving.value.code, RECIPE_OF_RUN) == (RecipeError.exit_code, run_folder.RECIPE)
        error = capsys.readouterr().err
        assert f"to train it on: modiste train --continue-from {finished_run.name} --epochs N" in error
        assert f"to repeat it: modiste train {finished_run.name}/{run_folder.RECIPE}" in error

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            ("--seeds 2 --seed 1", "--seed: expected without --seeds, "),
            ("--transfer-from=", "no model file to transfer from"),
            ("--seeds 2 --transfer-from=", "no model file to transfer from"),
        ],
    )
    def test_no_flag_of_train_is_passed_over(
        self,
        words: str,
        message: str,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SystemExit) as leaving:
            main.main(["train", "sprint", "--data.source", "none", *words.split()])
        assert leaving.value.code == RecipeError.exit_code
        assert message in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("words", "told"),
        [
            ("--transfer.rename a=b", "--transfer.rename has no effect here, only with --transfer-from\n"),
            ("--transfer.rename a=b --quiet", ""),
            ("--transfer.rename a=b --transfer-from none", ""),
            ("--distillation.weight 1 --teacher none", ""),
        ],
    )
    def test_train_tells_which_flags_have_no_effect(
        self,
        words: str,
        told: str,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SystemExit):
            main.main(["train", "sprint", "--data.source", "none", *words.split()])
        *lines, _error = capsys.readouterr().err.splitlines(keepends=True)
        assert "".join(lines) == told


def _after(text: str, heading: str) -> str:
    return text.partition(heading)[2]
