"""Knowledge distillation: a network learns from the answers of finished runs, the teachers, beside the labels.

Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015. The teachers see the very images that
the network sees, augmented and mixed (Beyer et al., "Knowledge distillation: A good teacher is patient and consistent",
2022). Or they answer once, to the training images before augmentation, and their answers are mixed as the labels are.
That is cheaper. Of several teachers the probabilities are averaged. Answers are part of the batch, as its targets are.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from modiste import machine
from modiste.data.batch import Batch
from modiste.data.dataset import Development
from modiste.data.extra_pictures import own_fingerprint
from modiste.errors import RecipeError, RunError
from modiste.evaluation.inference import answer, parts, ready
from modiste.models.own_network import is_own
from modiste.recipes import own_code
from modiste.recipes.networks import CapsNetRecipe
from modiste.recipes.plain import class_name
from modiste.recipes.recipe import DistillationRecipe, Recipe
from modiste.runs import run_folder
from modiste.runs.run_folder import Run
from modiste.training.objectives import Logits, Weights, objective_of, weighted_mean
from modiste.training.transfer.feature_cache import open_cache, outputs
from modiste.training.warm_start.progress import Progress

NAME = "teachers"
"""Of the progress of their stored answers."""
MODEL = run_folder.WEIGHTS["picked"]
"""The file by whose hash a recipe names a teacher."""


@dataclass(frozen=True)
class Teacher:
    """A network that answers as its run does.

    Attributes:
        sha256: SHA-256 of the model file.
        network: Ready for inference, on the device of the images.
        recipe: Sets its precision, and over which views of each image its logits are averaged.
    """

    sha256: str
    network: nn.Module
    recipe: Recipe

    def answer(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n classes"]:
        """Return its logits for images in [0, 1]."""
        return answer(self.network, images, self.recipe.views)


@dataclass
class Teachers:
    """The teachers of a run.

    Attributes:
        each: At least one.
        temperature: Divides their logits before softmax.
        answers: Probabilities for each training image before augmentation; None if they answer in every step.
    """

    each: tuple[Teacher, ...]
    temperature: float
    answers: Float[Tensor, "n classes"] | None = None

    @property
    def have_own_code(self) -> bool:
        """Whether the network of one of them is not Modiste's."""
        return any(is_own(teacher.network) for teacher in self.each)

    @torch.no_grad()
    def probabilities(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n classes"]:
        """Return the mean of the teachers' probabilities, at the temperature, for images in [0, 1]."""
        found = []
        for teacher in self.each:
            with machine.autocast(teacher.recipe.precision, images.device):
                logits = teacher.answer(images)
            found.append((logits / self.temperature).softmax(1))
        return torch.stack(found).mean(0)


def taught(batch: Batch, teachers: Teachers | None) -> Batch:
    """Return a batch with the teachers' answers to its images; the batch itself without teachers, or if it has some."""
    if teachers is None or batch.taught is not None:
        return batch
    return replace(batch, taught=teachers.probabilities(batch.images))


def store_answers(teachers: Teachers, development: Development, recipe: Recipe, progress: Progress) -> None:
    """Compute the teachers' answers to the training images as they are, if the recipe says that these are stored.

    If the images are flipped, a stored answer is the mean for the image and its mirror image. What was computed in an
    earlier call, or in one that was killed, is read from the user's cache.

    Args:
        teachers: Whose ``answers`` are set, on the device of the images.
        development: The images.
        recipe: Says whether answers are stored, and whether images are flipped.
        progress: Is notified of each batch.

    Raises:
        StoppedError: A signal asked to stop.
    """
    if recipe.distillation.on != "stored":
        return
    images = development.train.images
    flips = [recipe.augmentation.flip and not one.recipe.mirror for one in teachers.each]
    steps = [len(parts(images, images.device, one.recipe.precision)) for one in teachers.each]
    progress.start(sum(count * (1 + flip) for count, flip in zip(steps, flips, strict=True)))
    found = []
    for teacher, flip in zip(teachers.each, flips, strict=True):
        logits = _stored_logits(teacher, images, progress, with_mirror_images=flip)
        views = (logits / teachers.temperature).softmax(1).view(-1, len(images), logits.shape[1])
        found.append(views.mean(0))
    teachers.answers = torch.stack(found).mean(0).to(images.device)


def _stored_logits(
    teacher: Teacher, images: UInt8[Tensor, "n c h w"], progress: Progress, *, with_mirror_images: bool
) -> Float[Tensor, "m classes"]:
    """Return a teacher's logits, float32 on the CPU; those of the mirror images may follow."""
    choices = {
        "logits": teacher.sha256,
        "precision": teacher.recipe.precision,
        **asdict(teacher.recipe.views),
        "with_mirror_images": with_mirror_images,
    }
    cache = open_cache(images, teacher.network, images.device, choices)
    return outputs(
        images, teacher.answer, teacher.recipe.precision, cache, progress, with_mirror_images=with_mirror_images
    )


def loss(logits: Logits, batch: Batch, recipe: Recipe) -> Float[Tensor, ""]:
    """Return the mean loss of a batch: that of the recipe's objective, and its distance to the teachers' answers.

    With weight w it is (1 - w) objective + w distance; without answers in the batch, the objective alone.
    """
    of_labels = objective_of(recipe)(logits, batch.targets, batch.weights)
    if batch.taught is None:
        return of_labels
    weight, temperature = recipe.distillation.weight, recipe.distillation.temperature
    return (1 - weight) * of_labels + weight * distance(logits, batch.taught, temperature, batch.weights)


def distance(
    logits: Logits, taught: Float[Tensor, "n classes"], temperature: float, weights: Weights = None
) -> Float[Tensor, ""]:
    """Return T^2 KL(taught || softmax(logits / T)), the mean over a batch, in nats.

    The factor T^2 keeps the size of the gradient when T changes (Hinton et al., 2015, section 2). The divergence is 0
    where the student answers as its teachers do; its gradient is that of the cross-entropy, of which the paper speaks.

    Args:
        logits: Logits of the student.
        taught: Probabilities of the teachers at the temperature.
        temperature: T, above 0.
        weights: Weight of each image in the mean; None if all count the same.

    Example:
        >>> logits, taught = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.5, 0.5]])
        >>> round(distance(logits, taught, temperature=2.0).item(), 2)
        0.48
    """
    own = (logits / temperature).log_softmax(1)
    return temperature**2 * weighted_mean(F.kl_div(own, taught, reduction="none").sum(1), weights)


def teacher_hash(folder: Path | str) -> str:
    """Return the hash by which a recipe names the finished run in a folder; raises what ``open_run`` raises."""
    return run_folder.open_run(folder).files[MODEL]


def load_teachers(
    recipe: DistillationRecipe, folders: Sequence[Path | str], development: Development
) -> Teachers | None:
    """Return the teachers of a run, on the device of its images; None if it has none, or gives them no weight.

    Args:
        recipe: Names them.
        folders: Folders of their runs, in any order.
        development: The images of the run that is to learn.

    Raises:
        RecipeError: The folders do not hold the teachers that the recipe names, or one cannot teach on these images.
        RunError: One of them is missing, unfinished or damaged.
    """
    runs = {run.files[MODEL]: run for run in map(run_folder.open_run, folders)}
    if missing := [name for name in recipe.teachers if name not in runs]:
        others = ", ".join(str(run.folder) for run in runs.values()) or "none"
        raise RecipeError(
            f"distillation.teachers: expected the run whose {MODEL} has SHA-256 {missing[0][:16]}..., found {others}; "
            "name its folder: --teacher, in Python teacher="
        )
    if surplus := [run for name, run in runs.items() if name not in recipe.teachers]:
        raise RecipeError(f"--teacher {surplus[0].folder}: the recipe does not name this run; leave it out")
    for run in runs.values():
        check_teacher(run, development)
    if not runs or not recipe.weight:
        return None
    each = tuple(_load(runs[name], development) for name in recipe.teachers)
    return Teachers(each, recipe.temperature)


def check_teacher(run: Run, development: Development) -> None:
    """Raise RecipeError unless a run can teach on these images, without knowing those of validation."""
    info, shape = run.load_info(), development.image_shape
    where, names = f"--teacher {run.folder}", tuple(map(class_name, development.class_names))
    if info.task.class_names != names:
        raise RecipeError(
            f"{where}: expected a run of the classes {', '.join(names)}, found {', '.join(info.task.class_names)}"
        )
    if info.task.image_shape != shape:
        expected, found = (" x ".join(map(str, one)) for one in (shape, info.task.image_shape))
        raise RecipeError(f"{where}: expected a run on images of {expected} (channels, rows, columns), found {found}")
    if isinstance(run.recipe.model, CapsNetRecipe):
        raise RecipeError(f"{where}: expected a run whose network returns logits, found lengths of capsules")
    if run.recipe.objective == "margin":
        raise RecipeError(f"{where}: expected a run whose outputs are logits, found some that the margin loss trained")
    same_files = own_fingerprint(info.fingerprint) == own_fingerprint(development.fingerprint)
    if not same_files or run.measured().images != development.validation.identity():
        raise RecipeError(
            f"{where}: expected a run on the same data and split, found {'another split' if same_files else 'others'}; "
            "it may have learnt validation images of this run, whose accuracy would then be too high"
        )


def _load(run: Run, development: Development) -> Teacher:
    """Return the network of a run, ready for inference; RunError if it is not Modiste's and not registered."""
    if reference := run.recipe.own_code.get("network"):
        try:
            own_code.find(run.recipe.own_references["network"], "network")
        except RunError as error:
            raise RunError(
                f"--teacher {run.folder}: its network {reference} is not part of Modiste; train from Python, after "
                f"modiste.recipes.own_code.register({reference!r})"
            ) from error
    network = run.load_model()[0].requires_grad_(False).to(development.train.labels.device)
    image = development.train.images[:1]
    return Teacher(run.files[MODEL], ready(network, run.recipe, image), run.recipe)
