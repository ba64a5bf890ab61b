"""Learning from teachers: the loss by hand, runs that go on, and every run that may not teach."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from math import log
from pathlib import Path

import numpy as np
import pytest
import torch
from run_equality import assert_same

from code_of_others import make_mlp
from commands_and_data import PROGRAMS, epoch_from, run_modiste, run_script, run_together
from fault_counter import slow_case
from modiste.api.own import with_own_code
from modiste.api.training import with_teachers
from modiste.data.batch import Batch, as_floats
from modiste.data.batches import Batches
from modiste.data.dataset import Development, load_development
from modiste.errors import RecipeError, RunError
from modiste.evaluation.inference import infer
from modiste.models.registry import build_model
from modiste.recipes import own_code
from modiste.recipes.networks import CapsNetRecipe, CNNRecipe, MLPRecipe
from modiste.recipes.plain import to_plain
from modiste.recipes.recipe import (
    AugmentationRecipe,
    ByClassRecipe,
    DistillationRecipe,
    OptimizerRecipe,
    OwnCodeRecipe,
    Recipe,
    Views,
    from_stored,
)
from modiste.runs import run_folder, storage
from modiste.runs.run_folder import open_run
from modiste.system.processes import Interruption
from modiste.training import continuation, distillation, trainer
from modiste.training.cross_validation import cross_validate
from modiste.training.cuda_graph import ResidentSteps, can_stay
from modiste.training.distillation import Teachers, distance, load_teachers, loss, taught
from modiste.training.distributed import Group
from modiste.training.seeds import seed_folder, train_every_seed, train_seeds
from modiste.training.setup import Inputs, describe_task
from modiste.training.state import Context, TrainingState, new_training_state
from modiste.training.step import Steps
from modiste.training.tracking import Listener
from modiste.training.transfer import feature_cache
from modiste.training.warm_start.progress import Progress

EVERY_MIXTURE = AugmentationRecipe(flip=True, shift=1, mixup=0.4, cutmix=0.4)
Train = Callable[..., Path]


class Killed(Exception):
    pass


class KilledAt(Listener):
    """Ends the process, as far as the run can tell, after a step or an epoch."""

    def __init__(self, *, step: int = -1, epoch: int = -1) -> None:
        self.step, self.epoch = step, epoch

    def step_done(self, step: int) -> None:
        if step == self.step:
            raise Killed

    def epoch_done(self, row: run_folder.EpochRow, *_: object) -> None:
        if row.epoch == self.epoch:
            raise Killed


@pytest.fixture
def development(tiny_recipe: Recipe, tiny_folder: Path) -> Development:
    return load_development(tiny_recipe.data, tiny_folder)


@pytest.fixture
def student(tiny_recipe: Recipe, finished_run: Path) -> Recipe:
    """The tiny recipe from another seed, taught by the finished run."""
    return with_teachers(replace(tiny_recipe, name="student", seed=4), finished_run)[0]


@pytest.fixture
def train(finished_run: Path, tiny_folder: Path, tmp_path: Path) -> Train:
    """Trains a recipe with the finished run as its teacher, into a folder of this name."""

    def train(recipe: Recipe, name: str, **changes: object) -> Path:
        teachers = changes.pop("teachers", [finished_run] if recipe.distillation.teachers else [])
        inputs = Inputs(tiny_folder, teachers=teachers)  # type: ignore[arg-type]
        trainer.train(recipe, tmp_path / name, inputs, device="cpu", **changes)  # type: ignore[arg-type]
        return tmp_path / name

    return train


def with_part(recipe: Recipe, **fields: object) -> Recipe:
    return replace(recipe, distillation=replace(recipe.distillation, **fields))  # type: ignore[arg-type]


def teachers_of(development: Development, *folders: Path, temperature: float = 2.0) -> Teachers:
    recipe = with_teachers(Recipe(name="x", distillation=DistillationRecipe(temperature=temperature)), folders)[0]
    found = load_teachers(recipe.distillation, folders, development)
    assert found is not None
    return found


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    found: np.ndarray = powers / powers.sum(1, keepdims=True)
    return found


class TestLoss:
    logits = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    answers = torch.randn(6, 5, generator=torch.Generator().manual_seed(1)).softmax(1)
    targets = torch.randn(6, 5, generator=torch.Generator().manual_seed(2)).softmax(1)
    weights = torch.tensor([0.5, 1.0, 1.5, 2.0, 0.0, 1.0])

    def test_distance_is_the_formula_of_the_paper(self) -> None:
        own, answers = softmax(self.logits.double().numpy() / 3), self.answers.double().numpy()
        each = 9 * (answers * (np.log(answers) - np.log(own))).sum(1)
        assert distance(self.logits, self.answers, 3.0).item() == pytest.approx(each.mean(), rel=1e-5)
        weighted = (each * self.weights.double().numpy()).mean()
        assert distance(self.logits, self.answers, 3.0, self.weights).item() == pytest.approx(weighted, rel=1e-5)

    @pytest.mark.parametrize("temperature", [0.5, 1.0, 8.0])
    def test_gradient_is_the_difference_of_the_probabilities_times_the_temperature(self, temperature: float) -> None:
        logits = self.logits.clone().requires_grad_()
        distance(logits, self.answers, temperature).backward()  # type: ignore[no-untyped-call]
        own = (self.logits / temperature).softmax(1)
        assert logits.grad is not None
        torch.testing.assert_close(logits.grad, temperature * (own - self.answers) / 6)

    def test_a_class_that_a_teacher_rules_out_costs_nothing(self) -> None:
        certain = torch.tensor([[1.0, 0.0]])
        assert distance(torch.zeros(1, 2), certain, 1.0).item() == pytest.approx(log(2))

    @pytest.mark.parametrize("objective", ["cross-entropy", "squared-error"])
    def test_labels_and_teachers_share_it_also_with_mixed_targets(self, objective: str) -> None:
        own = softmax(self.logits.double().numpy())
        targets, weights = self.targets.double().numpy(), self.weights.double().numpy()
        of_labels = -(targets * np.log(own)).sum(1) if objective == "cross-entropy" else ((own - targets) ** 2).sum(1)
        part = DistillationRecipe(weight=0.3, temperature=4.0)
        recipe = Recipe(name="x", objective=objective, distillation=part)  # type: ignore[arg-type]
        batch = Batch(torch.zeros(6, 1, 2, 2), self.targets, self.weights, self.answers)
        expected = 0.7 * (of_labels * weights).mean() + 0.3 * distance(self.logits, self.answers, 4.0, self.weights)
        assert loss(self.logits, batch, recipe).item() == pytest.approx(expected.item(), rel=1e-5)
        assert loss(self.logits, replace(batch, taught=None), recipe).item() == pytest.approx(
            (of_labels * weights).mean(), rel=1e-5
        )


class TestAnswers:
    @pytest.fixture(scope="class")
    @staticmethod
    def other(tiny_recipe: Recipe, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """A run in bfloat16 with standardised images that looks at mirror images and moved ones too."""
        folder = tmp_path_factory.mktemp("other") / "run"
        recipe = replace(tiny_recipe, seed=8, epochs=1, precision="bfloat16", standardize=True, mirror=True, shifts=1)
        trainer.train(recipe, folder, Inputs(tiny_folder), device="cpu")
        return folder

    def test_teachers_answer_as_their_runs_do(self, development: Development, finished_run: Path, other: Path) -> None:
        images, runs = development.train.images[:40], [open_run(finished_run), open_run(other)]
        found = teachers_of(development, finished_run, other, temperature=3.0).probabilities(as_floats(images))
        each = [(infer(run.load_model()[0], images, run.recipe) / 3).softmax(1) for run in runs]
        torch.testing.assert_close(found, (each[0] + each[1]) / 2, rtol=0, atol=1e-6)
        assert not torch.allclose(each[0], each[1], atol=1e-2)
        assert not found.requires_grad

    def test_a_share_of_a_batch_gets_the_answers_of_the_share(
        self, development: Development, finished_run: Path
    ) -> None:
        teachers, group = teachers_of(development, finished_run), Group(1, 2)
        images = as_floats(development.train.images[:33])
        batch, part = Batch(images, torch.full((33, 5), 0.2)), group.part(33)
        whole, mine = taught(batch, teachers), taught(batch[part.first : part.last], teachers)
        assert whole.taught is not None
        assert mine.taught is not None
        torch.testing.assert_close(mine.taught, whole.taught[part.first : part.last], rtol=0, atol=1e-6)
        torch.testing.assert_close(whole[part.first : part.last].taught, mine.taught, rtol=0, atol=1e-6)
        assert taught(batch, None) is batch

    def test_a_student_that_is_its_teacher_has_nothing_to_learn(
        self, student: Recipe, development: Development, tiny_folder: Path, tmp_path: Path
    ) -> None:
        model = CNNRecipe(filters=(4,), pools=1, hidden=(), dropout=0.0)
        sgd = OptimizerRecipe(name="sgd", learning_rate=0.1)  # Adam would take large steps along rounding errors
        plain = replace(student, distillation=DistillationRecipe(), model=model, optimizer=sgd, epochs=1)
        trainer.train(plain, tmp_path / "teacher", Inputs(tiny_folder), device="cpu")
        recipe = with_part(with_teachers(plain, tmp_path / "teacher")[0], weight=1.0)
        context = context_of(replace(recipe, augmentation=EVERY_MIXTURE), development, tmp_path / "teacher")
        state = state_of(context)
        before = open_run(tmp_path / "teacher").load_model()[0].state_dict()
        state.model.load_state_dict(before)
        take(Steps(state, context), 3)
        assert abs(state.loss_sum) < 1e-4
        fresh = state_of(context)
        take(Steps(fresh, context), 3)
        assert fresh.loss_sum > 1

    def test_with_all_the_weight_a_student_learns_in_spite_of_wrong_labels(
        self, tiny_recipe: Recipe, development: Development, tmp_path: Path
    ) -> None:
        plain = replace(tiny_recipe, model=MLPRecipe(hidden=(32,)), optimizer=OptimizerRecipe(learning_rate=0.003))
        wrong = replace(development, train=replace(development.train, labels=(development.train.labels + 1) % 5))
        teacher = trainer.train(plain, tmp_path / "teacher", Inputs(development), device="cpu")
        guided = with_part(with_teachers(replace(plain, seed=3), teacher.folder)[0], weight=1.0)
        student = trainer.train(guided, tmp_path / "s", Inputs(wrong, teachers=[teacher.folder]), device="cpu")
        misled = trainer.train(plain, tmp_path / "misled", Inputs(wrong), device="cpu")
        accuracies = [one.picked.validation_accuracy for one in (misled, student, teacher)]
        assert accuracies[0] < 0.2
        assert accuracies[1] > accuracies[2] - 0.1 > 0.7


class TestStored:
    @pytest.fixture
    def context(self, student: Recipe, development: Development, finished_run: Path) -> Context:
        return context_of(with_part(student, on="stored", temperature=3.0), development, finished_run)

    def store(self, context: Context) -> torch.Tensor:
        teachers = context.teachers
        assert teachers is not None
        progress = Progress(distillation.NAME, context.listener, context.interruption)
        distillation.store_answers(teachers, context.development, context.recipe, progress)
        assert teachers.answers is not None
        return teachers.answers

    def test_answers_are_those_to_the_images_and_with_flips_to_the_mirror_images_too(
        self, context: Context, finished_run: Path
    ) -> None:
        images, model = context.development.train.images, open_run(finished_run).load_model()[0]
        own, mirrored = ((infer(model, view, context.recipe) / 3).softmax(1) for view in (images, images.flip(3)))
        torch.testing.assert_close(self.store(context), own, rtol=0, atol=1e-6)
        flipped = replace(context, recipe=replace(context.recipe, augmentation=AugmentationRecipe(flip=True)))
        torch.testing.assert_close(self.store(flipped), (own + mirrored) / 2, rtol=0, atol=1e-6)
        assert not torch.allclose(own, mirrored, atol=1e-2)

    def test_they_are_mixed_as_the_labels_are(self, context: Context) -> None:
        train = context.development.train
        answers = torch.nn.functional.one_hot(train.labels, 5).float()
        recipe = replace(context.recipe, augmentation=EVERY_MIXTURE, balance=1.0)
        with_answers, without = Batches(train, recipe, 5, answers=answers), Batches(train, recipe, 5)
        for batch, plain in zip(epoch_from(with_answers, 0), epoch_from(without, 0), strict=True):
            assert batch.taught is not None
            assert torch.equal(batch.taught, batch.targets)
            assert torch.equal(batch.targets, plain.targets)
            assert torch.equal(batch.images, plain.images)
            assert not batch.targets.amax(1).eq(1).all()
            assert taught(batch, context.teachers) is batch

    def test_they_are_computed_once(
        self,
        context: Context,
        development: Development,
        finished_run: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        calls, honest = list[int](), distillation.answer

        def counted(network: torch.nn.Module, images: torch.Tensor, views: Views) -> torch.Tensor:
            calls.append(len(images))
            return honest(network, images, views)

        monkeypatch.setattr(distillation, "answer", counted)
        monkeypatch.setattr(feature_cache, "feature_cache_folder", lambda: tmp_path / "cache")
        monkeypatch.setattr(feature_cache, "SECONDS_BETWEEN_FILES", 0.0)
        first = self.store(context)
        assert calls == [250, 150]
        again = context_of(context.recipe, development, finished_run)
        assert torch.equal(self.store(again), first)
        assert calls == [250, 150]
        teachers = context.teachers
        assert teachers is not None
        teachers.each = (replace(teachers.each[0], sha256="another file with the same layers below the last"),)
        self.store(context)
        assert calls == [250, 150, 250, 150]

    def test_images_without_stored_answers_are_refused(self, student: Recipe) -> None:
        stored = with_part(student, on="stored")
        extra = replace(stored.data, extra="folder", extra_classes=("a=b",))
        for field, changes in (
            ("data.extra", {"data": extra}),
            ("by_class.outliers", {"by_class": ByClassRecipe(outliers=0.1)}),
            ("own.augmentation", {"own": OwnCodeRecipe(augmentation="a:b@0123456789abcdef")}),
        ):
            with pytest.raises(RecipeError, match=f"distillation.on: expected augmented with {field}, found 'stored'"):
                replace(stored, **changes)  # type: ignore[arg-type]
            replace(student, **changes)  # type: ignore[arg-type]


def context_of(recipe: Recipe, development: Development, *folders: Path) -> Context:
    teachers = load_teachers(recipe.distillation, folders, development)
    return Context(recipe, development, Path("nowhere"), Listener(), Interruption(), teachers=teachers)


def state_of(context: Context) -> TrainingState:
    task = describe_task(context.development, context.recipe)
    return new_training_state(build_model(context.recipe.model, task), context.recipe)


def take(steps: Steps, count: int) -> None:
    steps.state.model.train()
    for _, chosen in zip(range(count), steps.batches.choose(steps.state.step), strict=False):
        steps.take(chosen)
    steps.settle()


class TestRuns:
    def test_without_weight_it_is_the_run_without_a_teacher(self, student: Recipe, train: Train) -> None:
        alone = train(replace(student, distillation=DistillationRecipe()), "alone")
        weightless, guided = train(with_part(student, weight=0.0), "weightless"), train(student, "guided")
        assert (weightless / "log.jsonl").read_bytes() == (alone / "log.jsonl").read_bytes()
        weights = [open_run(folder).load_model("last")[0].state_dict() for folder in (alone, weightless, guided)]
        assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())
        assert not all(torch.equal(tensor, weights[2][name]) for name, tensor in weights[0].items())

    @pytest.mark.parametrize(
        ("kill", "on"), [slow_case({"step": 7}, "augmented"), ({"epoch": 1}, "augmented"), ({"step": 7}, "stored")]
    )
    def test_it_goes_on_to_the_same_bytes(self, kill: dict[str, int], on: str, student: Recipe, train: Train) -> None:
        recipe = replace(student, epochs=2, augmentation=EVERY_MIXTURE, ema_decay=0.9, balance=0.5)
        recipe = with_part(recipe, on=on)
        whole = train(recipe, "whole")
        with pytest.raises(Killed):
            train(recipe, "cut", listeners=[KilledAt(**kill)])
        with pytest.raises(
            RecipeError, match=r"expected the run whose model.safetensors .*, found none; name .*--teach"
        ):
            train(recipe, "cut", teachers=[])
        assert_same(train(recipe, "cut"), whole)

    def test_it_is_trained_on_with_the_same_teacher(
        self, student: Recipe, finished_run: Path, tiny_folder: Path, tmp_path: Path, train: Train
    ) -> None:
        one, two = train(replace(student, epochs=1), "one"), train(replace(student, epochs=2), "two")
        longer, inputs = tmp_path / "longer", Inputs(tiny_folder, teachers=[finished_run])
        with pytest.raises(RecipeError, match="found none; name its folder: --teacher, in Python teacher="):
            continuation.continue_run(one, longer, epochs=2, inputs=Inputs(tiny_folder), device="cpu")
        continuation.continue_run(one, longer, epochs=2, inputs=inputs, device="cpu")
        assert_same(tmp_path / "longer", two)

    @pytest.mark.parametrize("on", ["augmented", slow_case("stored")])
    def test_seeds_come_to_what_they_come_to_alone(
        self, on: str, student: Recipe, finished_run: Path, tiny_folder: Path, tmp_path: Path, train: Train
    ) -> None:
        recipe = with_part(student, on=on)
        recipe = replace(recipe, epochs=1, precision="bfloat16", augmentation=EVERY_MIXTURE)
        inputs = Inputs(tiny_folder, teachers=[finished_run])
        together = train_seeds(recipe, (3, 5), tmp_path / "together", inputs, device="cpu")
        train_every_seed(recipe, (3, 5), tmp_path / "in turn", inputs, device="cpu")
        for seed, side_by_side in zip((3, 5), together, strict=True):
            alone = open_run(train(replace(recipe, seed=seed), f"alone-{seed}"))
            in_turn = open_run(seed_folder(recipe, seed, tmp_path / "in turn"))
            assert in_turn.files["last.safetensors"] == alone.files["last.safetensors"]
            assert open_run(side_by_side).files["last.safetensors"] == alone.files["last.safetensors"]

    def test_steps_that_stay_on_a_gpu_come_to_the_same(
        self, student: Recipe, development: Development, finished_run: Path
    ) -> None:
        context = context_of(replace(student, augmentation=EVERY_MIXTURE), development, finished_run)
        watched, resident = state_of(context), state_of(context)
        take(Steps(watched, context), 5)
        take(ResidentSteps(resident, context), 5)
        assert resident.loss_sum == pytest.approx(watched.loss_sum, rel=1e-6)
        for name, tensor in watched.model.state_dict().items():
            torch.testing.assert_close(resident.model.state_dict()[name], tensor, rtol=1e-6, atol=1e-7)

    @pytest.mark.slow
    def test_two_processes_have_the_losses_of_one(
        self, student: Recipe, finished_run: Path, tiny_folder: Path, tmp_path: Path
    ) -> None:
        recipe = replace(student, epochs=1, batch_size=15, augmentation=EVERY_MIXTURE)
        storage.write_json(tmp_path / "recipe.json", to_plain(recipe))
        program = PROGRAMS / "train_and_note_losses.py"
        for folder, run in (("one", run_script), ("two", partial(run_together, 2))):
            done = run(program, folder, tiny_folder, finished_run, cwd=tmp_path, timeout=200)
            assert done.returncode == 0, done.stderr
        one, two = (
            json.loads((tmp_path / f"{folder}.losses").read_text(encoding="utf-8")) for folder in ("one", "two")
        )
        assert len(one) == 27
        assert two == pytest.approx(one, abs=1e-4)

    def test_the_command_and_a_student_that_lives_without_its_teacher(
        self, tiny_recipe: Recipe, finished_run: Path, tiny_folder: Path, tmp_path: Path
    ) -> None:
        shutil.copytree(finished_run, tmp_path / "teacher")
        storage.write_json(tmp_path / "r.json", to_plain(replace(tiny_recipe, epochs=1)))
        words = ["train", "r.json", "--teacher", "teacher", "--data-folder", tiny_folder, "--device", "cpu", "--out"]
        for more in (["student"], ["seeds", "--seeds", "2"]):
            done = run_modiste(*words, *more, cwd=tmp_path)
            assert done.returncode == 0, done.stderr
        run = open_run(tmp_path / "student")
        assert run.recipe.distillation.teachers == (open_run(finished_run).files["model.safetensors"],)
        assert open_run(tmp_path / "seeds" / "tiny-0").files["last.safetensors"] == run.files["last.safetensors"]
        shutil.rmtree(tmp_path / "teacher")
        for command in (
            ["evaluate", "student", "--data-folder", tiny_folder],
            ["export", "student", "--to", "safetensors", "--data-folder", tiny_folder],
        ):
            done = run_modiste(*command, cwd=tmp_path)
            assert done.returncode == 0, done.stderr
        [card] = (tmp_path / "student").glob("*.md")
        assert f"models with SHA-256 `{run.recipe.distillation.teachers[0]}`" in card.read_text(encoding="utf-8")
        gone = run_modiste(*words, "again", cwd=tmp_path)
        assert gone.returncode == RunError.exit_code
        assert gone.stderr.count("\n") == 1
        assert "teacher: no run here, recipe.json is missing" in gone.stderr


class TestRefusals:
    @pytest.fixture
    def refused(self, student: Recipe, tiny_folder: Path, tmp_path: Path) -> Callable[..., None]:
        """Trains with a teacher that may not teach, and looks at the message."""

        def refused(message: str, teacher: Path, kind: type[Exception] = RecipeError, **changes: object) -> None:
            recipe = with_teachers(replace(student, **changes), teacher)[0]  # type: ignore[arg-type]
            with pytest.raises(kind, match=message) as found:
                trainer.train(recipe, tmp_path / "s", Inputs(tiny_folder, teachers=[teacher]), device="cpu")
            assert "\n" not in str(found.value)
            assert not (tmp_path / "s" / "checkpoints").exists()

        return refused

    @pytest.fixture
    def teacher_on(self, tiny_recipe: Recipe, tmp_path: Path) -> Callable[..., Path]:
        """Trains a teacher for an epoch on changed images."""

        def teacher_on(images: Development, **changes: object) -> Path:
            recipe = replace(tiny_recipe, epochs=1, **changes)  # type: ignore[arg-type]
            trainer.train(recipe, tmp_path / "t", Inputs(images), device="cpu")
            return tmp_path / "t"

        return teacher_on

    def test_other_classes(
        self, refused: Callable[..., None], teacher_on: Callable[..., Path], development: Development
    ) -> None:
        names = ("0", "1", "2", "3", "coat")
        refused(
            r"^--teacher \S+: expected a run of the classes 0, 1, 2, 3, 4, found 0, 1, 2, 3, coat$",
            teacher_on(replace(development, class_names=names)),
        )

    def test_another_size_and_colour(
        self, refused: Callable[..., None], teacher_on: Callable[..., Path], development: Development
    ) -> None:
        def larger(images: torch.Tensor) -> torch.Tensor:
            return images.repeat(1, 3, 2, 1)

        train, validation = (
            replace(one, images=larger(one.images)) for one in (development.train, development.validation)
        )
        data = replace(development, train=train, validation=validation, unlabelled=train.images)
        refused(
            r"^--teacher \S+: expected a run on images of 1 x 12 x 12 \(channels, rows, columns\), found 3 x 24 x 12$",
            teacher_on(data),
        )

    def test_validation_images_that_the_teacher_may_have_learnt(
        self, refused: Callable[..., None], tiny_recipe: Recipe, tiny_folder: Path, teacher_on: Callable[..., Path]
    ) -> None:
        split = replace(tiny_recipe.data, split_seed=1)
        teacher = teacher_on(load_development(split, tiny_folder), data=split)
        refused("expected a run on the same data and split, found another split; it may have learnt", teacher)

    def test_other_data(
        self, refused: Callable[..., None], teacher_on: Callable[..., Path], development: Development
    ) -> None:
        refused("same data and split, found others", teacher_on(replace(development, fingerprint="0" * 64)))

    def test_capsules(
        self, refused: Callable[..., None], teacher_on: Callable[..., Path], development: Development
    ) -> None:
        teacher = teacher_on(development, model=CapsNetRecipe(filters=8, kernel_size=3))
        refused("expected a run whose network returns logits, found lengths of capsules", teacher)

    def test_capsules_as_students(self, refused: Callable[..., None], student: Recipe, finished_run: Path) -> None:
        """The recipe alone is no error, because an earlier version may have trained it."""
        capsules = CapsNetRecipe(filters=8, kernel_size=3)
        assert from_stored(to_plain(replace(student, model=capsules))).model == capsules
        refused("^model.kind: expected a network that returns logits with a teacher", finished_run, model=capsules)

    def test_outputs_of_the_margin_loss(
        self, refused: Callable[..., None], teacher_on: Callable[..., Path], development: Development
    ) -> None:
        teacher = teacher_on(development, objective="margin")
        refused("expected a run whose outputs are logits, found some that the margin loss trained", teacher)
        with pytest.raises(RecipeError, match="expected cross-entropy or squared-error with a teacher, found 'margin'"):
            with_teachers(Recipe(name="x", objective="margin"), teacher)

    def test_an_unfinished_run(self, student: Recipe, tiny_folder: Path, finished_run: Path, tmp_path: Path) -> None:
        with pytest.raises(Killed):
            trainer.train(
                student,
                tmp_path / "t",
                Inputs(tiny_folder, teachers=[finished_run]),
                device="cpu",
                listeners=[KilledAt(epoch=1)],
            )
        with pytest.raises(RunError, match="this run has not finished"):
            with_teachers(student, tmp_path / "t")

    def test_changed_bytes_and_another_model(
        self, student: Recipe, finished_run: Path, tiny_folder: Path, tmp_path: Path, train: Train
    ) -> None:
        copied = tmp_path / "copied"
        shutil.copytree(finished_run, copied)
        content = bytearray((copied / "model.safetensors").read_bytes())
        content[-1] ^= 1
        (copied / "model.safetensors").write_bytes(content)
        for teacher, fault in ((copied, "damaged, expected SHA-256"), (tmp_path / "gone", "no run here")):
            with pytest.raises(RunError, match=fault):
                train(student, "s", teachers=[teacher])
        other = train(replace(student, epochs=1, distillation=DistillationRecipe()), "other")
        with pytest.raises(
            RecipeError, match=rf"SHA-256 .*\.\.\., found {other}; name its folder: --teacher, in Python teacher="
        ):
            train(student, "s", teachers=[other])
        with pytest.raises(RecipeError, match="the recipe does not name this run; leave it out"):
            train(student, "s", teachers=[finished_run, other])
        with pytest.raises(RecipeError, match="teachers: expected each once"):
            with_teachers(student, [other, other])

    def test_no_steps_and_folds(self, student: Recipe, tiny_folder: Path, tmp_path: Path) -> None:
        with pytest.raises(RecipeError, match="epochs: expected at least 1 with a teacher, found 0"):
            replace(student, epochs=0, transfer=replace(student.transfer, linear_probe=True))
        with pytest.raises(RecipeError, match=r"distillation.teachers: expected none in a cross-validation, found 1"):
            cross_validate(student, tmp_path / "folds", folds=2, device="cpu", data_folder=tiny_folder)


class TestOwnNetworks:
    @dataclass(frozen=True)
    class OnGPU(Context):
        """A context that says its images are on a GPU."""

        @property
        def device(self) -> torch.device:
            return torch.device("cuda")

    @pytest.fixture
    def teacher(self, tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path) -> Path:
        recipe = with_own_code(replace(tiny_recipe, epochs=1), network=make_mlp)
        trainer.train(recipe, tmp_path / "own", Inputs(tiny_folder), device="cpu")
        return tmp_path / "own"

    def test_they_teach_but_in_no_cuda_graph(
        self,
        student: Recipe,
        teacher: Path,
        finished_run: Path,
        development: Development,
        tiny_folder: Path,
        tmp_path: Path,
    ) -> None:
        recipe = with_teachers(replace(student, epochs=1), teacher)[0]
        trainer.train(recipe, tmp_path / "s", Inputs(tiny_folder, teachers=[teacher]), device="cpu")
        with pytest.raises(RecipeError, match="several seeds at once: not possible with own code"):
            train_seeds(recipe, [0, 1], tmp_path, Inputs(tiny_folder, teachers=[teacher]), device="cpu")
        for folder, stays in ((teacher, False), (finished_run, True)):
            teachers = teachers_of(development, folder)
            context = self.OnGPU(recipe, development, tmp_path, Listener(), Interruption(), teachers=teachers)
            assert can_stay(context) is stays
            assert can_stay(replace(context, recipe=with_part(recipe, on="stored")))

    def test_one_that_is_not_registered_is_named(
        self, teacher: Path, development: Development, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(own_code, "_registered", {})
        with pytest.raises(RunError, match=r"network \S+:make_mlp is not part of Modiste; train from Python, after"):
            teachers_of(development, teacher)
