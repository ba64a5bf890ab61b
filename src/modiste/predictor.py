"""A trained model in use: images in, logits, probabilities and labels out."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from modiste import checkpoint, run_folder, runtime
from modiste.checkpoint import ModelInfo
from modiste.errors import DataError
from modiste.evaluation.calibration import fit_temperature
from modiste.evaluation.inference import infer

Images = UInt8[Tensor, "..."] | UInt8[np.ndarray, "..."]


@dataclass(frozen=True)
class Predictor:
    """A model ready to classify, with what its file says of it.

    Attributes:
        model: in evaluation mode, on ``device``.
        info: recipe, task, epoch and fingerprint.
        device: where it computes.
        temperature: by which logits are divided before they become probabilities; fitted to the run's validation
            images (Guo et al., 2017), 1 of a model file without its run.
    """

    model: nn.Module
    info: ModelInfo
    device: torch.device
    temperature: float = 1.0

    @classmethod
    def load(cls, source: Path | str, *, device: str = "auto") -> "Predictor":
        """Read the picked weights of a finished run's folder, or a model file.

        Raises:
            RunError: the run is unfinished, or the file is missing, damaged or no model file.
            RecipeError: the device cannot be used.
        """
        source, place = Path(source), runtime.choose_device(device)
        if not source.is_dir():
            model, info = checkpoint.load_model(source)
            return cls(model.to(place), info, place)
        model, info = run_folder.open_run(source).load_model()
        temperature = fit_temperature(*run_folder.read_logits(source / run_folder.logits_name("validation")))
        return cls(model.to(place), info, place, temperature)

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name per class, in the order of the logits."""
        return self.info.task.class_names

    def logits(self, images: Images) -> Float[Tensor, "n classes"]:
        """Return the logits of images of bytes as the data set has them, on the processor.

        Args:
            images: (N, C, H, W); (N, H, W) and (H, W) where the model knows one channel.

        Raises:
            DataError: they are not bytes, or not of the size that the model was trained on.
        """
        return infer(self.model, self._as_batch(images).to(self.device), self.info.recipe)

    def probabilities(self, images: Images) -> Float[Tensor, "n classes"]:
        """Return each class's probability for each image, tempered; see ``logits``."""
        return (self.logits(images) / self.temperature).softmax(1)

    def names(self, images: Images) -> list[str]:
        """Return the name of each image's likeliest class; see ``logits``."""
        return [self.class_names[label] for label in self.logits(images).argmax(1).tolist()]

    def _as_batch(self, images: Images) -> Tensor:
        found = torch.as_tensor(images)
        shape = self.info.task.image_shape
        batch = found
        if shape[0] == 1 and found.ndim in (2, 3):
            batch = found.reshape(-1, 1, *found.shape[-2:])
        if batch.ndim != 4 or tuple(batch.shape[1:]) != shape or batch.dtype != torch.uint8:
            raise DataError(
                f"images: expected bytes of shape (N, {', '.join(map(str, shape))}), "
                f"found {str(found.dtype).removeprefix('torch.')} of shape {tuple(found.shape)}"
            )
        return batch
