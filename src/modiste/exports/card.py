"""The model card beside an exported file: data, recipe, measures and limits (Mitchell et al., 2019)."""

import json
import re
from dataclasses import dataclass

from modiste.errors import printable
from modiste.evaluation.assessment import Assessment, Split, assess_stored
from modiste.evaluation.metrics import ClassScores
from modiste.evaluation.out_of_distribution.novelty import Answers
from modiste.models.registry import count_parameters
from modiste.recipes.plain import to_plain
from modiste.recipes.recipe import DataRecipe, Recipe
from modiste.runs import run_folder
from modiste.runs.checkpoint import ModelInfo
from modiste.runs.run_folder import Run
from modiste.training.transfer.transfer import read_report
from modiste.version import __version__

UNMEASURED = "This run has not been evaluated on the test set (`modiste evaluate RUN --split test`)."
LIMITS = """\
- The model knows only the classes above. A picture of something else may still get a confident answer.
- {way}
- The measures hold for images like those of the data set. Measure on your own photos before you rely on the model."""
WAYS = {
    "garment": """\
The model was trained on small images of one garment on black. A photo must be prepared in the same way, as
  `modiste predict` and `modiste serve` do: the garment is separated {separated},
  cropped and turned to grey. They report a photo on which that is in doubt.""",
    "whole": """\
The model was trained on whole pictures, resized and padded with black to a square. A photo must be prepared in the same
  way, as `modiste predict` and `modiste serve` do.""",
    "stretched": """\
The model was trained on whole pictures, stretched to a square. A photo must be prepared in the same way, as
  `modiste predict` and `modiste serve` do.""",
}
"""How a picture file must be prepared, by the preparation of the training pictures."""
SEPARATED = {
    "plain": "from a plain background",
    "network": "from any background by a segmentation network",
    "auto": "from any background by a segmentation network, or from a plain one",
}
"""How a garment is separated, by the recipe's field ``data.background``."""
MARKUP = re.compile(r"[\\`*_\[\]{}<>#|~&:@$^]|^[-+=]|^\d{1,9}[.)](?=\s|$)|www\.", re.IGNORECASE)
"""Characters with a meaning in Markdown or HTML, including the starts of lists and of links without brackets."""
HARMLESS = re.compile(r"([\w./-]|:(?!/))+( ([\w./-]|:(?!/))+)*")
"""Text that can stand between backquotes."""
MOST_LETTERS = 1500
"""Longest text that is shown in full."""


@dataclass(frozen=True)
class Agreement:
    """Comparison of an exported file with its run.

    Attributes:
        images: Number of validation images compared.
        largest_difference: Largest difference between their probabilities.
        agreement: Share of images for which both predict the same class.
        accuracy: Accuracy of the run on these images.
        own_accuracy: Accuracy of the file on these images.
    """

    images: int
    largest_difference: float
    agreement: float
    accuracy: float
    own_accuracy: float


def text(run: Run, name: str, answers: Answers, found: Agreement | None) -> str:
    """Return the model card of an exported file in Markdown.

    Args:
        run: The exported run.
        name: Name of the file.
        answers: The exported module.
        found: Comparison of the file with the run; None if there was none.
    """
    info = run.load_info()
    channels, height, width = info.task.image_shape
    sections = {
        f"# {plain_text(name)}": f"A classifier of images of {channels} x {height} x {width} bytes, trained by Modiste "
        f"{__version__} with the recipe {code(run.recipe.name)}, {count_parameters(answers.model):,} parameters.",
        "## Classes": classes(info),
        "## Data": f"Source {code(run.recipe.data.source)}, SHA-256 {code(info.fingerprint)}; validation images were "
        "set apart before training and used to select the epoch." + _extra(run.recipe.data),
        **_own_code(run.recipe),
        **_weights(run),
        **_teachers(run.recipe),
        "## Measures": "\n\n".join([_measures(run), agreement(found), *_uncertainty(answers)]),
        "## Limits": limits(run.recipe.data),
        "## Recipe": f"```json\n{json.dumps(to_plain(run.recipe), indent=2)}\n```",
    }
    return "\n\n".join(f"{title}\n\n{body}" for title, body in sections.items()) + "\n"


def classes(info: ModelInfo) -> str:
    """Return the names of a model's classes as Markdown."""
    return ", ".join(map(plain_text, info.task.class_names))


def limits(data: DataRecipe) -> str:
    """Return the limits of a model that was trained on such data, as a list."""
    return LIMITS.format(way=WAYS[data.pictures].format(separated=SEPARATED[data.background]))


def origins(run: Run) -> str:
    """Return the sentences on extra pictures, code, weights and teachers of a run; empty without any."""
    sections = {**_own_code(run.recipe), **_weights(run), **_teachers(run.recipe)}
    return " ".join([_extra(run.recipe.data), *sections.values()]).strip()


def _extra(data: DataRecipe) -> str:
    """Return the sentences on extra pictures, with what each folder was taken for; empty without any."""
    if not data.extra:
        return ""
    rules = ", ".join(code(rule) for rule in data.extra_classes)
    return (
        f" **Learnt with extra data**: {100 * data.extra_share:g} % of each batch were pictures of {code(data.extra)}, "
        f"taken for {rules}; its other folders were taken for none of the classes."
    )


def _own_code(recipe: Recipe) -> dict[str, str]:
    """Return the section on code that is not part of Modiste; empty without any."""
    if not recipe.own_code:
        return {}
    listed = ", ".join(f"the {kind} {code(path)}" for kind, path in recipe.own_code.items())
    return {"## Code": f"Not part of Modiste: {listed}. The exported file needs none of it."}


def _weights(run: Run) -> dict[str, str]:
    """Return the section on transferred weights, with their origin and licence where known; empty without any."""
    if not run.recipe.transfer.source:
        return {}
    origin = read_report(run.folder).origin or {}
    named = f" from {plain_text(origin['name'])}" if origin.get("name") else ""
    return {"## Weights": f"Training began from the file with SHA-256 {code(run.recipe.transfer.source)}{named}."}


def _teachers(recipe: Recipe) -> dict[str, str]:
    """Return the section on the runs whose answers the network learnt; empty without any."""
    if not (recipe.distillation.teachers and recipe.distillation.weight):
        return {}
    hashes = ", ".join(map(code, recipe.distillation.teachers))
    return {"## Teachers": f"It learnt the answers of the models with SHA-256 {hashes}."}


def plain_text(words: str) -> str:
    """Return untrusted text as Markdown that shows it on one line, without any markup."""
    return MARKUP.sub(lambda found: f"{found[0][:-1]}&#{ord(found[0][-1])};", printable(words, MOST_LETTERS))


def code(words: str) -> str:
    """Return untrusted text as inline code."""
    return f"`{words}`" if HARMLESS.fullmatch(words) else f"<code>{plain_text(words)}</code>"


def _measures(run: Run) -> str:
    """Return a table of accuracy, calibration error and F1 on the splits that were evaluated."""
    splits: tuple[Split, ...] = ("validation", "test")
    measured = [assess_stored(run, split=split) for split in splits if _is_measured(run, split)]
    table = [
        "| | " + " | ".join(f"{one.split}, {one.images:,} images" for one in measured) + " |",
        "|---|" + "---|" * len(measured),
        "| accuracy, 95 % interval |" + "".join(f" {_interval(one)} |" for one in measured),
        "| calibration error |" + "".join(f" {one.expected_calibration_error:.3f} |" for one in measured),
        *(
            f"| F1, {plain_text(name)} |" + "".join(f" {_f1(one.per_class[name])} |" for one in measured)
            for name in measured[0].per_class
        ),
    ]
    return "\n".join(table) + ("" if len(measured) == len(splits) else f"\n\n{UNMEASURED}")


def _is_measured(run: Run, split: Split) -> bool:
    return run_folder.is_listed(run, run_folder.logits_name(split))


def _f1(scores: ClassScores) -> str:
    return "no images" if scores.f1 is None else f"{scores.f1:.3f}"


def _interval(measured: Assessment) -> str:
    low, high = measured.accuracy_interval
    return f"{measured.accuracy:.2%} ({low:.2%} to {high:.2%})"


def agreement(found: Agreement | None) -> str:
    """Return the sentences on how far a file agrees with its run."""
    if found is None:
        return "The file was not compared with the run."
    return (
        f"On {found.images:,} validation images the file predicts the run's class for {found.agreement:.2%}. Its "
        f"probabilities differ by at most {found.largest_difference:.1g}. Its accuracy is {found.own_accuracy:.2%}, "
        f"that of the run {found.accuracy:.2%}."
    )


def _uncertainty(answers: Answers) -> list[str]:
    """Return the sentences about calibration and, if the file computes it, novelty."""
    calibration = (
        "Probabilities are calibrated: the logits are divided by a temperature fitted on validation images, "
        f"{answers.temperature:.3f}."
    )
    if answers.novelty is None or not answers.novelty.images:
        return [calibration]
    return [
        calibration,
        "An image with a `novelty` above 1 is unlike the training images. So are "
        f"{answers.novelty.false_alarms:.1%} of {answers.novelty.images:,} validation images that were not used to set "
        "this threshold.",
    ]
