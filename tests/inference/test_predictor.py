"""A predictor's answers are the run's own, whatever form the images come in."""

import copy
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import modiste
from modiste import machine
from modiste.data.dataset import load_development
from modiste.errors import DataError, RunError, StorageError
from modiste.evaluation.assessment import evaluate
from modiste.inference.predictor import Predictor
from modiste.recipes.recipe import DataRecipe
from modiste.runs import checkpoint, manifest, run_folder, storage
from modiste.runs.run_folder import open_run
from networks import assert_rounded


@pytest.fixture(scope="module")
def images(tiny_folder: Path) -> torch.Tensor:
    return load_development(DataRecipe(source="tiny"), tiny_folder).validation.images


@pytest.mark.parametrize("source", [".", run_folder.WEIGHTS["picked"]])
def test_it_gives_the_logits_that_training_stored(finished_run: Path, images: torch.Tensor, source: str) -> None:
    stored, _ = run_folder.read_logits(finished_run / run_folder.logits_name("validation"))
    predictor = modiste.Predictor.load(finished_run / source, device="cpu")
    assert torch.equal(predictor.logits(images), stored)
    assert predictor.names(images) == [predictor.class_names[label] for label in stored.argmax(1).tolist()]
    torch.testing.assert_close(predictor.probabilities(images).sum(1), torch.ones(len(images)))


@pytest.mark.parametrize("error", [DataError("no images"), StorageError("no space left on device")])
def test_where_there_cannot_be_a_detector_it_answers_after_a_warning(
    finished_run: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(Predictor, "with_novelty", fail)
    predictor, told = Predictor.load(finished_run, device="cpu"), list[str]()
    assert predictor.with_novelty_or_warning(told.append) is predictor
    assert told == [f"images of none of the classes will not be recognised as such: {error}"]
    of_file = Predictor.load(finished_run / run_folder.WEIGHTS["picked"], device="cpu")
    assert of_file.with_novelty_or_warning(told.append) is of_file
    assert len(told) == 1  # a model file never had one


def test_classify_gives_what_the_other_methods_return(finished_run: Path, images: torch.Tensor) -> None:
    predictor = Predictor.load(finished_run, device="cpu")
    scores = predictor.classify(images.numpy())
    assert np.array_equal(scores.logits, predictor.logits(images))
    assert np.array_equal(scores.probabilities, predictor.probabilities(images))
    assert np.array_equal(scores.probabilities, (predictor.logits(images) / predictor.temperature).softmax(1))
    assert scores.names == predictor.names(images)
    assert scores.novelty is None


def test_it_computes_in_another_precision_than_the_run_was_trained_in(finished_run: Path, images: torch.Tensor) -> None:
    trained, named = (Predictor.load(finished_run, device="cpu", precision=name) for name in (None, "float32"))
    assert torch.equal(trained.logits(images), named.logits(images))
    half = Predictor.load(finished_run, device="cpu", precision="bfloat16")
    assert not torch.equal(half.logits(images), trained.logits(images))
    torch.testing.assert_close(half.probabilities(images), trained.probabilities(images), rtol=0, atol=0.02)
    file = Predictor.load(finished_run / run_folder.WEIGHTS["picked"], device="cpu", precision="bfloat16")
    assert torch.equal(file.logits(images), half.logits(images))
    settled = Predictor.load(finished_run, device="cpu", precision="auto").info.recipe.precision
    assert settled == ("bfloat16" if machine.fast_bfloat16(torch.device("cpu")) else "float32")


def test_images_come_as_tensors_or_arrays_with_or_without_their_channel(
    finished_run: Path, images: torch.Tensor
) -> None:
    predictor = Predictor.load(finished_run, device="cpu")
    whole = predictor.logits(images)
    for form in (images.numpy(), images[:, 0], np.ascontiguousarray(images[:, 0].numpy())):
        assert torch.equal(predictor.logits(form), whole)
    assert_rounded(predictor.logits(images[3, 0]), whole[3:4], open_run(finished_run).load_model()[0])
    assert predictor.logits(images[:0]).shape == (0, 5)


@pytest.mark.usefixtures("without_type_checks")
def test_arrays_of_any_layout_are_taken_without_a_warning(
    finished_run: Path, images: torch.Tensor, recwarn: pytest.WarningsRecorder
) -> None:
    predictor, array = Predictor.load(finished_run, device="cpu"), images.numpy()
    mirrored = predictor.logits(images.flip(3))
    assert torch.equal(predictor.logits(array[..., ::-1]), mirrored)
    assert torch.equal(predictor.logits(np.asfortranarray(array)), predictor.logits(images))
    fixed = np.frombuffer(array.tobytes(), np.uint8).reshape(array.shape)
    assert torch.equal(predictor.logits(fixed), predictor.logits(images))
    assert torch.equal(predictor.logits(list(array)), predictor.logits(images))  # type: ignore[arg-type]
    assert list(recwarn) == []


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize("wrong", [None, "coat.jpg", [[1], [1, 2]], np.array([object()])])
def test_what_is_no_array_is_refused(finished_run: Path, wrong: Any) -> None:
    with pytest.raises(DataError, match=r"^images: expected an array of bytes, found \w+ \(") as told:
        Predictor.load(finished_run, device="cpu").classify(wrong)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda predictor: pickle.loads(pickle.dumps(predictor))])
def test_a_copy_of_a_predictor_answers_as_it_does(
    finished_run: Path, images: torch.Tensor, copied: Callable[[Predictor], Predictor]
) -> None:
    predictor = Predictor.load(finished_run, device="cpu")
    assert torch.equal(copied(predictor).logits(images), predictor.logits(images))


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    "wrong",
    [
        torch.zeros(2, 1, 12, 12),
        torch.zeros(2, 1, 12, 11, dtype=torch.uint8),
        torch.zeros(2, 3, 12, 12, dtype=torch.uint8),
        torch.zeros(144, dtype=torch.uint8),
    ],
)
def test_what_is_no_image_of_the_models_is_refused(finished_run: Path, wrong: torch.Tensor) -> None:
    with pytest.raises(DataError, match=r"expected bytes of shape \(N, 1, 12, 12\), found"):
        Predictor.load(finished_run, device="cpu").logits(wrong)


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError):
        Predictor.load(tmp_path)
    with pytest.raises(RunError):
        Predictor.load(tmp_path / "none.safetensors")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("logits", lambda one: one * torch.nan),
        ("logits", lambda one: one.long()),
        ("logits", lambda one: one[0]),
        ("logits", lambda one: one[:5]),
        ("logits", lambda one: one[:, :2]),
        ("labels", lambda one: one - 9),
        ("labels", lambda one: one + 9),
        ("labels", lambda one: one.float()),
        ("labels", lambda one: one[:, None]),
        ("both", lambda one: one[:0]),
    ],
)
def test_logits_of_another_kind_are_refused_in_one_line(
    finished_run: Path, tmp_path: Path, name: str, change: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    run = Path(shutil.copytree(finished_run, tmp_path / "run"))
    path = run / run_folder.logits_name("validation")
    tensors, plain = checkpoint.read(path)
    path.write_bytes(
        checkpoint.to_bytes({key: change(one) if name in (key, "both") else one for key, one in tensors.items()}, plain)
    )
    reseal(run, path)
    for read in (lambda: Predictor.load(run, device="cpu"), lambda: evaluate(run, device="cpu")):
        with pytest.raises(RunError, match=r"damaged.* expected .*logits"):
            read()


def test_logits_of_other_classes_are_refused_in_one_line(finished_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished_run, tmp_path / "run"))
    path = run / run_folder.logits_name("validation")
    tensors, plain = checkpoint.read(path)
    tensors["logits"] = torch.cat([tensors["logits"], tensors["logits"][:, :1]], dim=1)
    path.write_bytes(checkpoint.to_bytes(tensors, plain))
    reseal(run, path)
    with pytest.raises(RunError, match="expected logits of 5 classes, found 6"):
        evaluate(run, device="cpu")


def reseal(run: Path, path: Path) -> None:
    """Let the manifest vouch for a file that was changed."""
    files, openings = manifest.read(run)
    manifest.write(run, {**files, path.name: storage.sha256(path)}, openings)
