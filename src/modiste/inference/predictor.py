"""A trained model in use: images in, logits, probabilities and labels out."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from modiste import machine
from modiste.evaluation.calibration import fit_temperature
from modiste.evaluation.inference import ask, parts, ready
from modiste.evaluation.out_of_distribution.novelty import Answers, Novelty, of_run
from modiste.inference.classifier import Classifier, Scores
from modiste.recipes.recipe import Precision
from modiste.runs import checkpoint, run_folder, storage
from modiste.runs.checkpoint import ModelInfo

Images = UInt8[Tensor, "..."] | UInt8[np.ndarray, "..."]


@dataclass(frozen=True)
class Predictor(Classifier):
    """A model ready to classify, with what its file says of it.

    Attributes:
        model: on ``device``, ready to answer and nothing else; see ``evaluation.inference.ready``.
        info: recipe, task, epoch and fingerprint.
        device: where it computes.
        temperature: by which logits are divided before they become probabilities; fitted to the run's validation
            images (Guo et al., 2017), 1 of a model file that was not exported.
        novelty: what tells images of none of the classes; see ``telling_strangers``.
        folder: of the run that it was loaded from; None of a model file.
    """

    model: nn.Module
    info: ModelInfo
    device: torch.device
    temperature: float = 1.0
    novelty: Novelty | None = None
    folder: Path | None = None

    @classmethod
    def load(cls, source: Path | str, *, device: str = "auto", precision: Precision | None = None) -> "Predictor":
        """Read the picked weights of a finished run's folder, or a model file.

        On a processor this process keeps the memory that it frees from now on; see ``runtime.keep_memory``.

        Args:
            source: the folder or the file.
            device: where it computes.
            precision: in what it computes, if not in what it was trained in: ``bfloat16`` is faster where the device
                multiplies it in hardware, and ``auto`` takes it there; the answers are the same but for rounding.

        Raises:
            RunError: the run is unfinished, or the file is missing, damaged or no model file.
            RecipeError: the device cannot be used.
        """
        source, place = Path(source), machine.choose_device(device)
        folder = source if storage.is_folder(source) else None
        if folder:
            run = run_folder.open_run(folder)
            (model, info), known = run.load_model(), run.measured()
            temperature = fit_temperature(known.logits, known.labels)
        else:
            model, info = checkpoint.load_model(source)
            temperature = info.temperature
        if precision is not None:
            info = replace(info, recipe=machine.settle_precision(replace(info.recipe, precision=precision), place))
        model.to(place)
        if place.type == "cpu":
            machine.keep_memory()
        image = torch.zeros(1, *info.task.image_shape, dtype=torch.uint8, device=place)
        return cls(ready(model, info.recipe, image), info, place, temperature, folder=folder)

    def telling_strangers(self, run: Path | str, data_folder: Path | str | None = None) -> "Predictor":
        """Return a predictor that tells images of none of the classes too.

        A run of a person's own pictures holds what that needs. Others learn it from their training images once, and
        keep it in their folder.

        Args:
            run: the folder that this predictor comes from.
            data_folder: as ``load_dataset`` takes it: of Fashion-MNIST, or of data that have moved.

        Raises:
            DataError: nothing was kept yet, and the images are missing or damaged, or their folder is not named.
            RunError: what was kept is damaged.
            StorageError: it could not be kept.
        """
        return replace(self, novelty=of_run(run_folder.open_run(run), data_folder))

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name per class, in the order of the logits."""
        return self.info.task.class_names

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.info.task.image_shape

    @property
    def pictures(self) -> str:
        return self.info.recipe.data.pictures

    def logits(self, images: Images) -> Float[Tensor, "n classes"]:
        """Return the logits of images of bytes as the data set has them, on the processor.

        Args:
            images: (N, C, H, W); (N, H, W) and (H, W) where the model knows one channel.

        Raises:
            DataError: they are not bytes, or not of the size that the model was trained on.
        """
        return ask(self.model, self._as_batch(images).to(self.device), self.info.recipe)

    def probabilities(self, images: Images) -> Float[Tensor, "n classes"]:
        """Return each class's probability for each image, tempered; see ``logits``."""
        return (self.logits(images) / self.temperature).softmax(1)

    def names(self, images: Images) -> list[str]:
        """Return the name of each image's likeliest class; see ``logits``."""
        return [self.class_names[label] for label in self.logits(images).argmax(1).tolist()]

    @torch.inference_mode()
    def classify(self, images: UInt8[np.ndarray, "n c h w"]) -> Scores:
        self.demand_images(images.shape, str(images.dtype))
        recipe = self.info.recipe
        answers = Answers(self.model, mirror=recipe.mirror, temperature=self.temperature, novelty=self.novelty).eval()
        with machine.autocast(recipe.precision, self.device), machine.gpu_arithmetic(self.device):
            some = parts(torch.from_numpy(images), self.device, recipe.precision)
            found = [answers(part.to(self.device)) for part in some]
        _, probabilities, *novelty = (torch.cat(column).cpu().numpy() for column in zip(*found, strict=True))
        return Scores(probabilities, novelty[0] if novelty else None)

    def _as_batch(self, images: Images) -> Tensor:
        batch = torch.as_tensor(images)
        if self.image_shape[0] == 1 and batch.ndim in (2, 3):
            batch = batch.reshape(-1, 1, *batch.shape[-2:])
        self.demand_images(tuple(batch.shape), str(batch.dtype).removeprefix("torch."))
        return batch
