"""Networks, losses and augmentations that are not Modiste's: trained, resumed, refused in one line, never imported."""

import hashlib
import inspect
import logging
import re
import shutil
import sys
import threading
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from run_equality import assert_same
from test_resume import Crash, Trouble
from torch import Tensor, nn

import code_of_others as others
import modiste
from commands_and_data import run_modiste
from modiste.api import own
from modiste.cli import train as cli_train
from modiste.data.dataset import load_development
from modiste.errors import RecipeError, RunError, StoppedError
from modiste.inference.predictor import Predictor
from modiste.models.registry import Task, build_model
from modiste.recipes import own_code
from modiste.recipes.networks import CNNRecipe, OwnNetworkRecipe
from modiste.recipes.recipe import DataRecipe, Recipe, SelfSupervisedRecipe, TransferRecipe
from modiste.runs import checkpoint, run_folder
from modiste.training import trainer
from modiste.training.setup import Inputs

BASE = Recipe(
    name="x",
    epochs=3,
    batch_size=25,
    data=DataRecipe(source="tiny"),
    model=CNNRecipe(filters=(2,), pools=1, hidden=(4,)),
)
SHAPE, CLASSES = (1, 12, 12), 5


def train(out: Path, images: Path, **arguments: Any) -> modiste.Run:
    return modiste.train(BASE, out, device="cpu", data_folder=images, quiet=True, **arguments)


@pytest.fixture(scope="module")
def own_run(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Path:
    out = tmp_path_factory.mktemp("own") / "run"
    train(out, tiny_folder, network=others.Net, loss=others.focal, augmentation=others.noisy)
    return out


def test_stopped_and_crashed_and_to_the_end_gives_the_same_bytes(
    own_run: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    """Its own dropout and noise draw from torch's global numbers, which a user draws from in between as well."""
    code = {"network": others.Net, "loss": others.focal, "augmentation": others.noisy}
    for trouble, error in ((Trouble(stop=5), StoppedError), (Trouble(crash=27), Crash)):
        torch.rand(7)
        with pytest.raises(error):
            train(tmp_path / "run", tiny_folder, listeners=[trouble], **code)
    torch.rand(3)
    train(tmp_path / "run", tiny_folder, **code)
    assert_same(tmp_path / "run", own_run)


def test_a_network_that_was_built_elsewhere_goes_on_from_its_first_weights(tiny_folder: Path, tmp_path: Path) -> None:
    """A new process builds it anew, with other weights; the run keeps those it began with."""
    torch.manual_seed(1)
    first = others.Net(SHAPE, CLASSES)
    train(tmp_path / "calm", tiny_folder, network=first)
    with pytest.raises(Crash):
        train(tmp_path / "run", tiny_folder, network=first, listeners=[Trouble(crash=3)])
    train(tmp_path / "run", tiny_folder, network=others.Net(SHAPE, CLASSES))
    assert_same(tmp_path / "run", tmp_path / "calm")


def test_training_leaves_the_users_random_numbers_as_they_were(tiny_folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(4)
    expected = torch.rand(3)
    torch.manual_seed(4)
    train(tmp_path / "run", tiny_folder, network=others.Net)
    assert torch.equal(torch.rand(3), expected)


def test_the_seed_decides_the_weights_of_a_class() -> None:
    recipe = OwnNetworkRecipe(code=own_code.register(others.Net))
    task = Task(image_shape=SHAPE, class_names=tuple("0123456789"))
    one, same, other = (build_model(recipe, task, seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["network.head.weight"], other["network.head.weight"])


@pytest.mark.parametrize("network", [others.Lazy, others.make_mlp, nn.Sequential(nn.Flatten(), nn.Linear(144, 5))])
def test_every_form_of_network_is_trained_read_and_asked(network: Any, tiny_folder: Path, tmp_path: Path) -> None:
    run = train(tmp_path / "run", tiny_folder, network=network, epochs=1)
    images = modiste.load_dataset(BASE.data, tiny_folder).validation.images
    logits = run.predictor("cpu").logits(images)
    assert torch.allclose(logits, run.measured().logits, atol=1e-4)


def test_shared_weights_stay_shared(own_run: Path) -> None:
    own_code.register(others.Net)
    weights = checkpoint.load_model(own_run / run_folder.WEIGHTS["picked"])[0].state_dict()
    assert torch.equal(weights["network.head.weight"], weights["network.again.weight"])


@pytest.mark.slow
def test_a_run_is_compared_reported_exported_and_answers_the_same(own_run: Path, tiny_folder: Path) -> None:
    run = modiste.Run.open(own_run)
    own_code.register(others.Net)
    page = modiste.report(run, data_folder=tiny_folder).read_text(encoding="utf-8")
    assert "Not part of Modiste: the network code_of_others:Net, the loss code_of_others:focal" in page
    done = modiste.export(run, data_folder=tiny_folder)
    assert "the augmentation `code_of_others:noisy`" in done.card.read_text(encoding="utf-8")
    assert done.proof.agreement == 1
    images = modiste.load_dataset(BASE.data, tiny_folder).validation.images[:20]
    onnx = modiste.predict(str(done.path), images[:, 0].numpy())
    assert [one.nearest for one in onnx] == Predictor.load(own_run).names(images)


FAULTY_NETWORKS = {
    others.ReturnsTuple: "expected one tensor of logits, found tuple",
    others.ReturnsTooMany: r"expected logits of shape \(N, 5\), here \(2, 5\), found \(2, 10\)",
    others.ReturnsFlat: r"expected logits of shape .*, found \(10,\)",
    others.ReturnsNothing: "expected one tensor of logits, found NoneType",
    others.ReturnsNaN: "expected finite logits of an untrained network, found infinity or NaN",
    others.ReturnsLabels: "expected logits as floats, found torch.int64",
    others.WithoutGradient: r"expected logits with a gradient, found none; look for detach\(\) or no_grad\(\)",
    others.Doubles: "expected parameters of type torch.float32, found torch.float64",
    others.Frozen: "expected parameters to train, found none",
    others.WithoutWeights: "expected parameters to train, found none",
    others.FailsInTraining: r"fails in training on a batch of shape \(2, 1, 12, 12\): ValueError: the moon is full \(",
    others.WantsMore: r"cannot be built for images of shape \(1, 12, 12\): TypeError: .*'width'",
    others.not_a_network: "expected a torch.nn.Module, found str",
}


@pytest.mark.parametrize(("network", "message"), FAULTY_NETWORKS.items(), ids=lambda one: getattr(one, "__name__", ""))
def test_a_faulty_network_is_refused_before_the_first_step(
    network: Any, message: str, tiny_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=f"^code_of_others:{network.__name__}: {message}") as caught:
        train(tmp_path / "run", tiny_folder, network=network)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run" / run_folder.LOG).exists()


def test_probabilities_are_warned_of(tiny_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train(tmp_path / "run", tiny_folder, network=others.Softmax, epochs=1)
    assert "its outputs look like probabilities; leave out the softmax" in caplog.text


@pytest.mark.parametrize("rewrites", [False, True])
def test_the_search_path_is_as_before_the_import(
    rewrites: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The current folder may stand in it already, as for ``python -c``, and the module may change it."""
    name, here = f"of_a_folder_{rewrites}", str(tmp_path)
    first = f"import sys; sys.path = [entry for entry in sys.path if entry != {here!r}]" if rewrites else ""
    (tmp_path / f"{name}.py").write_text(f"{first}\ndef make(): pass\n")
    monkeypatch.chdir(tmp_path)
    before = [here, *sys.path]
    monkeypatch.setattr(sys, "path", list(before))
    assert own_code.import_code(f"{name}:make").__name__ == "make"
    assert sys.path == (before[1:] if rewrites else before)


@pytest.mark.parametrize("folder", ["torch", "modiste"])
def test_a_fault_in_a_folder_named_like_a_library_is_named(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / folder / f"faulty_{folder}.py"
    file.parent.mkdir()
    file.write_text("import torch\n\n\ndef fails():\n    torch.zeros(2) @ torch.zeros(3)\n")
    monkeypatch.chdir(file.parent)
    code = own_code.import_code(f"faulty_{folder}:fails")
    place = rf"\({re.escape(str(file))}, line 5\)$"
    with pytest.raises(RecipeError, match=f"x: fails: RuntimeError: .* {place}"), own_code.faults_named("x", "fails"):
        code()


FAULTY_LOSSES = {
    others.loss_of_each: r"expected one finite number, a tensor of shape \(\), found shape \(2,\)",
    others.loss_as_number: r"expected one finite number, a tensor of shape \(\), found float",
    others.loss_is_nan: r"expected one finite number, .* nan",
    others.loss_ignores_logits: "expected a loss that depends on the logits, found one without a gradient",
    others.loss_fails: r"fails on logits and targets of shape \(2, 5\): RuntimeError: .*code_of_others.py, line \d+",
}


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(("loss", "message"), FAULTY_LOSSES.items(), ids=lambda one: getattr(one, "__name__", ""))
def test_a_faulty_loss_is_refused_before_the_first_step(
    loss: Any, message: str, tiny_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=f"^code_of_others:{loss.__name__}: {message}"):
        train(tmp_path / "run", tiny_folder, loss=loss)


FAULTY_AUGMENTATIONS = {
    others.crops: r"expected images as torch.float32 of shape \(2, 1, 12, 12\), found .* \(2, 1, 11, 12\)",
    others.returns_bytes: "expected images as torch.float32 .*, found torch.uint8",
    others.draws_elsewhere: "expected the same images from the same generator, found others",
    others.divides_by_zero: "expected finite pixels, found infinity or NaN",
    others.forgets_the_generator: r"fails on images of shape \(2, 1, 12, 12\): TypeError",
}


@pytest.mark.parametrize(
    ("augmentation", "message"), FAULTY_AUGMENTATIONS.items(), ids=lambda one: getattr(one, "__name__", "")
)
def test_a_faulty_augmentation_is_refused_before_the_first_step(
    augmentation: Any, message: str, tiny_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=f"^code_of_others:{augmentation.__name__}: {message}"):
        train(tmp_path / "run", tiny_folder, augmentation=augmentation)


def test_weights_of_classes_need_a_loss_that_takes_them(tiny_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"^balance: expected 0, because .*:focal takes no weights"):
        train(tmp_path / "run", tiny_folder, loss=others.focal, balance=0.5)
    train(tmp_path / "weighted", tiny_folder, loss=others.weighted_squares, balance=0.5, epochs=1)


def test_weights_of_images_need_a_loss_that_takes_them(tiny_folder: Path, tmp_path: Path) -> None:
    known = load_development(BASE.data, tiny_folder)
    weighted = replace(known, train=replace(known.train, weights=torch.ones(len(known.train))))
    recipe = modiste.with_own_code(BASE, loss=others.focal)
    with pytest.raises(RecipeError, match=r":focal: expected a third parameter for the weights that the images have"):
        trainer.train(recipe, tmp_path / "run", Inputs(weighted), device="cpu")


def test_what_is_made_for_the_recipes_own_network_is_left_out() -> None:
    frozen = replace(BASE, warm_start="class-prior", transfer=TransferRecipe(freeze=("network.conv",)))
    for recipe in (modiste.get_recipe("sprint"), modiste.get_recipe("sprint").with_(name="mine", epochs=2), frozen):
        found = modiste.with_own_code(recipe, network=others.Net)
        assert (found.warm_start, found.transfer) == ("none", TransferRecipe())
    with pytest.raises(RecipeError, match="epochs: expected at least 1"):
        modiste.with_own_code(modiste.get_recipe("backbone-linear"), network=others.Net)
    tuned = modiste.with_own_code(modiste.get_recipe("backbone-linear"), network=others.Net, epochs=2)
    assert (tuned.epochs, tuned.transfer) == (2, TransferRecipe())


def test_what_is_set_beside_a_network_stays() -> None:
    set_here = {"rename": ("conv1=network.conv",), "learning_rate_factor": 0.1, "linear_probe": True}
    fields = {"warm_start": "simclr", "name": "mine", **{f"transfer.{name}": value for name, value in set_here.items()}}
    found = modiste.with_own_code(modiste.get_recipe("simclr"), network=others.Net, **fields)
    assert (found.name, found.warm_start, found.transfer) == ("mine-net", "simclr", TransferRecipe(**set_here))
    again = modiste.with_own_code(found, network=others.Net)  # as from a recipe file, or for a search's trial
    assert again == found
    other = modiste.with_own_code(found, network=others.make_mlp, model=CNNRecipe())
    assert (other.own_code["network"], other.warm_start, other.transfer) == (
        "code_of_others:make_mlp",
        "none",
        TransferRecipe(),
    )
    with pytest.raises(RecipeError, match=r"model\.filters"):
        modiste.with_own_code(modiste.get_recipe("sprint"), network=others.Net, **{"model.filters": (8, 16)})


def test_flags_beside_a_network_stay(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = list[Recipe]()
    monkeypatch.setattr(trainer, "train", lambda recipe, *_, **__: seen.append(recipe) or stop())
    words = ["simclr", "--warm-start", "simclr", "--network", "code_of_others:Net", "--out", str(tmp_path / "run")]
    with pytest.raises(StoppedError):
        cli_train.train([*words, "--data-folder", str(tiny_folder), "--quiet"])
    assert seen[0].warm_start == "simclr"


def stop() -> None:
    raise StoppedError("stopped")


def test_a_warm_start_of_an_own_network_follows_from_the_seed_alone(tiny_folder: Path, tmp_path: Path) -> None:
    """Its dropout draws from torch's global numbers, which a user draws from too."""
    found = []
    for number in range(2):
        torch.manual_seed(number)
        expected = torch.rand(3)
        torch.manual_seed(number)
        run = modiste.train(
            BASE,
            tmp_path / str(number),
            epochs=1,
            warm_start="simclr",
            self_supervised=SelfSupervisedRecipe(epochs=1, batch_size=50),
            device="cpu",
            data_folder=tiny_folder,
            network=others.Net,
            quiet=True,
        )
        assert run.recipe.warm_start == "simclr"
        assert torch.equal(torch.rand(3), expected)
        found.append((tmp_path / str(number) / "last.safetensors").read_bytes())
    assert found[0] == found[1]


def test_a_loss_that_is_the_objective_gives_the_same_run(tiny_folder: Path, tmp_path: Path) -> None:
    own = train(tmp_path / "own", tiny_folder, loss=others.weighted_squares)
    built_in = train(tmp_path / "built in", tiny_folder, objective="squared-error")
    assert own.history == built_in.history


def test_an_augmentation_changes_what_is_learnt(tiny_folder: Path, tmp_path: Path) -> None:
    own = train(tmp_path / "own", tiny_folder, augmentation=others.halved)
    plain = train(tmp_path / "plain", tiny_folder)
    assert own.history[0].train_loss != plain.history[0].train_loss


class Power:
    """A loss with a number of its own; its text holds its address."""

    def __init__(self, power: Any) -> None:
        self.power = power

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        return (logits.softmax(1) - targets).abs().pow(self.power).sum(1).mean()


@dataclass(slots=True)
class Slotted:
    power: float

    __call__ = Power.__call__


class PowerModule(nn.Module):
    """The same as a torch module, whose text does not show the number."""

    def __init__(self, power: Any) -> None:
        super().__init__()
        self.power = power

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        return Power(self.power)(logits, targets)


class NamedPower(NamedTuple):
    """The same as a tuple."""

    power: float

    __call__ = Power.__call__


class SetOfNumbers(set[Any]):
    """A set with a name."""


class Sour(Power):
    """Raises what it likes where it is copied."""

    def __getstate__(self) -> Any:
        raise KeyError("cache")


HOLDS_ITSELF: list[Any] = []
HOLDS_ITSELF.append(HOLDS_ITSELF)


def make_focal() -> Any:
    """Return a function with the same source and another address at each call."""

    def focal(logits: Tensor, targets: Tensor, gamma: float = 2.0) -> Tensor:
        logs = logits.log_softmax(1)
        return -(targets * (1 - logs.exp()).pow(gamma) * logs).sum(1).mean()

    return focal


LOSSES_OF_NUMBERS = {
    "partial": lambda number: partial(make_focal(), gamma=number),
    "partial of an argument": lambda number: partial(make_focal(), torch.zeros(1), gamma=number),
    "object": Power,
    "object of a NumPy number": lambda number: Power(np.float32(number)),
    "object of many numbers": lambda number: Power({"a": [1, (number, None)], "b": make_focal}),
    "object of slots": Slotted,
    "module": PowerModule,
    "module of torch": lambda number: nn.CrossEntropyLoss(label_smoothing=number / 10),
    "module of weights": lambda number: nn.CrossEntropyLoss(weight=torch.tensor([1.0, number])),
    "module of parts": lambda number: nn.Sequential(nn.Identity(), PowerModule(number)),
    "named tuple": NamedPower,
    "method": lambda number: Power(number).__call__,
    "object of a pattern": lambda number: Power([re.compile("x" * int(number)), SetOfNumbers({"a", "b", number})]),
    "partial of a partial": lambda number: partial(make_focal(), gamma=partial(Power, number)),
    "object of an array": lambda number: Power(np.full((2, 3), number, dtype=np.float16)),
    "object of other types": lambda number: Power([torch.float16, Path("a"), {number, 1}, slice(3), Fraction(number)]),
}


@pytest.mark.parametrize("make", LOSSES_OF_NUMBERS.values(), ids=LOSSES_OF_NUMBERS)
def test_a_loss_of_the_same_numbers_is_the_same_and_of_others_another(make: Any) -> None:
    losses = [make(number) for number in (2.0, 2.0, 3.0)]  # kept, so that every object has another address
    first, same, other = (own_code.reference_to(loss, "loss") for loss in losses)
    assert own_code.is_reference(first)
    assert first == same
    assert first != other


def test_a_partial_is_named_by_its_function() -> None:
    reference = own_code.register(partial(others.focal), "loss")
    assert own_code.path_in(reference) == "code_of_others:focal"
    assert reference != own_code.reference_to(others.focal)


def test_the_weights_of_a_network_that_was_built_are_no_part_of_its_reference() -> None:
    networks = [others.Net(SHAPE, CLASSES) for _ in range(2)]
    assert len({own_code.reference_to(network) for network in networks}) == 1
    assert len({own_code.reference_to(network, "loss") for network in networks}) == 2


@pytest.mark.parametrize(
    ("loss", "found"),
    [
        (Power(threading.Lock()), "a Power: cannot pickle '_thread.lock' object"),
        (Power(torch.ones(2, device="meta")), "a Power: "),
        (Sour(1), "a Sour: 'cache'"),
        (Power(HOLDS_ITSELF), "a Power: maximum recursion depth exceeded"),
        ({"flip": True}, "an object to call, found a dict"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_a_loss_that_no_other_process_could_rebuild_is_refused(loss: Any, found: str) -> None:
    with pytest.raises(RecipeError, match=f"^loss: expected .*{re.escape(found)}") as caught:
        own_code.register(loss, "loss")
    assert "\n" not in str(caught.value)


def test_a_run_with_another_number_in_its_loss_is_another_run(tiny_folder: Path, tmp_path: Path) -> None:
    train(tmp_path / "run", tiny_folder, loss=PowerModule(2.0), epochs=1)
    again = train(tmp_path / "run", tiny_folder, loss=PowerModule(2.0), epochs=1)
    assert again.recipe.own.loss.startswith("test_own_code:PowerModule@")
    with pytest.raises(RunError, match=r"another recipe \(own\.loss: "):
        train(tmp_path / "run", tiny_folder, loss=PowerModule(3.0), epochs=1)


def test_runs_of_earlier_versions_find_their_objects(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those versions hashed the text of an object, which for a partial holds an address."""
    monkeypatch.setattr(own_code, "_registered", {})
    module, network = PowerModule(2.0), partial(make_focal(), gamma=object())
    source = inspect.getsource(PowerModule) + repr(module)
    earlier = f"test_own_code:PowerModule@{hashlib.sha256(source.encode()).hexdigest()[:16]}"
    own.register(network, module)
    assert own_code.find(earlier, "loss") is module
    assert own_code.find(own_code.reference_to(module, "loss"), "loss") is module
    assert not caplog.records
    assert own_code.find(f"functools:partial@{'0' * 16}", "network") is network


def test_code_without_a_name_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="expected a class or a function with a name, found a lambda"):
        train(tmp_path / "run", tiny_folder, loss=lambda logits, targets: (logits - targets).mean())


@pytest.mark.parametrize(
    ("path", "message"),
    {
        "nowhere_at_all:Net": "the module nowhere_at_all cannot be imported: ModuleNotFoundError",
        "code_of_others:Nut": "code_of_others has no Nut",
        "code_of_others": "expected MODULE:NAME",
        "../code:Net": "expected MODULE:NAME",
    }.items(),
)
def test_an_import_path_that_leads_nowhere(path: str, message: str, tiny_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=f"^{re.escape(path)}: {message}"):
        train(tmp_path / "run", tiny_folder, network=path)


def test_changed_source_is_used_with_a_warning(
    own_run: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = run_folder.open_run(own_run).recipe.model
    assert isinstance(recipe, OwnNetworkRecipe)
    path = own_code.path_in(recipe.code)
    monkeypatch.setattr(own_code, "_registered", {f"{path}@{'0' * 16}": others.Net})
    with caplog.at_level(logging.WARNING):
        checkpoint.load_model(own_run / run_folder.WEIGHTS["picked"])
    assert "its source or a number is not that of the run, and results may differ" in caplog.text


class TestCommand:
    """In the folder of a user's module, which writes a file when it is imported."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        source = Path(others.__file__).read_text(encoding="utf-8")
        (tmp_path / "user_code.py").write_text(f"{source}\n\nopen('imported', 'w').close()\n")
        return tmp_path

    @pytest.mark.slow
    def test_a_run_is_trained_and_read_where_the_code_is_named_and_never_imports_it_else(
        self, folder: Path, tiny_folder: Path
    ) -> None:
        words = ["--data-folder", str(tiny_folder), "--device", "cpu"]
        named = ["--network", "user_code:Net"]
        trained = run_modiste(
            *("train", "sprint", "--data.source", "tiny", "--epochs", "1", "--out", "run", *named, *words), cwd=folder
        )
        assert trained.returncode == 0, trained.stderr
        (folder / "imported").unlink()
        for command in ("report", "export"):
            refused = run_modiste(command, "run", "--data-folder", str(tiny_folder), cwd=folder)
            assert refused.returncode == RunError.exit_code
            assert "user_code:Net: this network is not part of Modiste, and files never import code" in refused.stderr
            assert "Traceback" not in refused.stderr
        assert not (folder / "imported").exists()
        done = run_modiste("export", "run", "--data-folder", str(tiny_folder), *named, cwd=folder)
        assert done.returncode == 0, done.stderr

    def test_the_current_folder_hides_no_installed_package(self, folder: Path, tiny_folder: Path) -> None:
        (folder / "numpy.py").write_text("raise SystemExit('a file of a stranger ran')\n")
        words = ["--data-folder", str(tiny_folder), "--device", "cpu", "--epochs", "1", "--data.source", "tiny"]
        done = run_modiste("train", "sprint", "--out", "run", "--network", "user_code:Net", *words, cwd=folder)
        assert done.returncode == 0, done.stderr


def test_a_copied_run_folder_is_refused_without_its_code(
    own_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = shutil.copytree(own_run, tmp_path / "run")
    monkeypatch.setattr(own_code, "_registered", {})
    with pytest.raises(RunError, match=r"name it: --network MODULE:NAME, or in Python network=\.\.\."):
        Predictor.load(copied)
