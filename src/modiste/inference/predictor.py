"""``Predictor``: a trained model that classifies images with torch."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from modiste import machine
from modiste.errors import DataError, RunError, StorageError
from modiste.evaluation.calibration import fit_temperature
from modiste.evaluation.inference import parts, ready
from modiste.evaluation.out_of_distribution.features import watched
from modiste.evaluation.out_of_distribution.novelty import Answers, Novelty
from modiste.evaluation.out_of_distribution.run_detector import of_run
from modiste.inference.classifier import Classifier, Scores
from modiste.recipes.recipe import Precision
from modiste.runs import checkpoint, run_folder, storage
from modiste.runs.checkpoint import ModelInfo

Images = UInt8[Tensor, "..."] | UInt8[np.ndarray, "..."]


@dataclass(frozen=True)
class Predictor(Classifier):
    """A trained model, ready to classify images of bytes.

    Example::

        predictor = Predictor.load("runs/paper")
        images = modiste.load_dataset().validation.images[:8]
        print(predictor.names(images))
        print(predictor.classify(images).probabilities.max(1))

    Attributes:
        model: On ``device``, prepared for inference; see ``evaluation.inference.ready``.
        info: Recipe, task, epoch and data fingerprint.
        device: Where it computes.
        temperature: Divides the logits before the softmax. For a run it is fitted to the validation images (Guo et al.,
            2017); for a model file it is the stored one, 1 if the file was not exported.
        novelty: Detector of out-of-distribution images; see ``with_novelty``.
        folder: The run folder that it was loaded from; None for a model file.
    """

    model: nn.Module
    info: ModelInfo
    device: torch.device
    temperature: float = 1.0
    novelty: Novelty | None = None
    folder: Path | None = None

    @classmethod
    def load(cls, source: Path | str, *, device: str = "auto", precision: Precision | None = None) -> "Predictor":
        """Load the selected weights of a finished run, or a model file.

        On a CPU, this process keeps the memory that it frees from now on; see ``machine.keep_memory``.

        Args:
            source: A run folder or a model file.
            device: Where it computes.
            precision: Precision of the computation; None is the precision of training. ``bfloat16`` is faster on
                devices that multiply it in hardware, and ``auto`` selects it there. Results agree up to rounding.

        Raises:
            RunError: The run is unfinished, or the file is missing, damaged or not a model file.
            RecipeError: The device cannot be used.
        """
        source, chosen = Path(source), machine.choose_device(device)
        folder = source if storage.is_folder(source) else None
        if folder:
            run = run_folder.open_run(folder)
            (model, info), known = run.load_model(), run.measured()
            temperature = fit_temperature(known.logits, known.labels)
        else:
            model, info = checkpoint.load_model(source)
            temperature = info.temperature
        if precision is not None:
            info = replace(info, recipe=machine.settle_precision(replace(info.recipe, precision=precision), chosen))
        model.to(chosen)
        if chosen.type == "cpu":
            machine.keep_memory()
        image = torch.zeros(1, *info.task.image_shape, dtype=torch.uint8, device=chosen)
        return cls(ready(model, info.recipe, image), info, chosen, temperature, folder=folder)

    def with_novelty(
        self,
        run: Path | str,
        data_folder: Path | str | None = None,
        announce: Callable[[str], None] | None = None,
    ) -> "Predictor":
        """Return a predictor that also computes the novelty score, to detect out-of-distribution images.

        A run on a user's own pictures stores the detector. For other runs it is learned once from the training images,
        and stored in the run folder.

        Args:
            run: The run folder that this predictor was loaded from.
            data_folder: Folder of the training images; see ``load_dataset``.
            announce: Called with a line about what is computed, and for how long, if the detector is learned now.

        Raises:
            DataError: Nothing is stored yet, and the images are missing or damaged, or ``data_folder`` is required.
            RunError: The stored detector is damaged.
            StorageError: The detector could not be stored.
        """
        with watched(self.model) as seen:
            self.logits(np.zeros((1, *self.image_shape), np.uint8))
        novelty = of_run(run_folder.open_run(run), data_folder, seen=seen, announce=announce)
        return replace(self, novelty=novelty)

    def with_novelty_or_warning(
        self,
        warn: Callable[[str], None],
        data_folder: Path | str | None = None,
        announce: Callable[[str], None] | None = None,
    ) -> "Predictor":
        """Return a predictor with the detector of its run; this one, after a warning, where there cannot be one.

        Args:
            warn: Called with a line if the images that the detector is learned from are missing, or the disk refuses.
            data_folder: Folder of the training images; see ``load_dataset``.
            announce: As of ``with_novelty``.

        Raises:
            RunError: The stored detector is damaged.
        """
        if self.folder is None:
            return self
        try:
            return self.with_novelty(self.folder, data_folder, announce)
        except (DataError, StorageError) as error:
            warn(f"images of none of the classes will not be recognised as such: {error}")
            return self

    def accepting(self, rate: float) -> "Predictor":
        """Return a predictor with another false-alarm rate: the score is above 1 for as many images of the classes.

        Args:
            rate: Share of images of the classes that may be called out of distribution, wrongly.

        Raises:
            RecipeError: The rate is outside the detector's table.
            RunError: There is no detector, or an earlier version learned it for one rate only.
        """
        if self.novelty is None:
            raise RunError(
                "--accept: there is no detector of out-of-distribution images; expected a run or an ONNX file"
            )
        return replace(self, novelty=self.novelty.accepting(rate))

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.info.task.class_names

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.info.task.image_shape

    @property
    def pictures(self) -> str:
        return self.info.recipe.data.pictures

    @property
    def decoder(self) -> int:
        return self.info.recipe.data.decoder

    @property
    def background(self) -> str:
        return self.info.recipe.data.background

    @property
    def transpose(self) -> bool:
        return self.info.recipe.data.transpose

    @torch.inference_mode()
    def classify(self, images: Images) -> Scores:
        """Return logits, probabilities and, if there is a detector, novelty of images.

        Args:
            images: Bytes of shape (N, C, H, W), as a tensor or an array. If the model takes one channel, also
                (N, H, W) and (H, W).

        Raises:
            DataError: The images are not bytes, or not of the size that the model was trained on.
        """
        batch, recipe = self._as_batch(images), self.info.recipe
        with machine.autocast(recipe.precision, self.device), machine.gpu_arithmetic(self.device):
            some = parts(batch, self.device, recipe.precision)
            found = [self._answers(part.to(self.device)) for part in some]
        logits, probabilities, *novelty = (torch.cat(column).cpu().numpy() for column in zip(*found, strict=True))
        return Scores(self.class_names, probabilities, novelty[0] if novelty else None, logits)

    def logits(self, images: Images) -> Float[Tensor, "n classes"]:
        """Return the logits of images, on the CPU; arguments and errors as for ``classify``."""
        scores = self.classify(images)
        assert scores.logits is not None
        return torch.from_numpy(scores.logits)

    def probabilities(self, images: Images) -> Float[Tensor, "n classes"]:
        """Return the calibrated probabilities of each class, on the CPU; arguments and errors as for ``classify``."""
        return torch.from_numpy(self.classify(images).probabilities)

    def names(self, images: Images) -> list[str]:
        """Return the name of each image's most probable class; arguments and errors as for ``classify``."""
        return self.classify(images).names

    @cached_property
    def _answers(self) -> Answers:
        """The module that computes all scores in one pass."""
        return Answers.of(self.model, self.info.recipe, self.temperature, self.novelty)

    def _as_batch(self, images: Images) -> UInt8[Tensor, "n c h w"]:
        """Return the images with all four dimensions; DataError unless the model takes them."""
        try:  # torch takes no negative steps, and warns of an array that it may not write
            whole = images if isinstance(images, Tensor) else np.require(images, requirements=("C", "W"))
            batch = torch.as_tensor(whole)
        except (TypeError, ValueError) as error:
            raise DataError(f"images: expected an array of bytes, found {type(images).__name__} ({error})") from error
        if self.image_shape[0] == 1 and batch.ndim in (2, 3):
            batch = batch.reshape(-1, 1, *batch.shape[-2:])
        self.demand_images(tuple(batch.shape), str(batch.dtype).removeprefix("torch."))
        return batch
