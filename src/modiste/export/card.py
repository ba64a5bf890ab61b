"""The model card beside an exported file: data, recipe, figures and limits (Mitchell et al., 2019)."""

import json
import re
from dataclasses import dataclass

from modiste.errors import printable
from modiste.evaluation.assessment import Assessment, Split, assess_stored
from modiste.evaluation.metrics import ClassScores
from modiste.evaluation.out_of_distribution.novelty import Answers
from modiste.models.registry import count_parameters
from modiste.recipes.plain import to_plain
from modiste.runs import run_folder
from modiste.runs.run_folder import Run
from modiste.version import __version__

UNMEASURED = "The test set has not been opened for this run (`modiste evaluate RUN --split test`)."
LIMITS = """\
- It knows the classes above and no others. A picture of something else may still get a confident answer.
- {way}
- The figures hold for images like those of the data set. On photos of your own, measure before you rely on it."""
WAYS = {
    "garment": """\
It was trained on small images of one garment on black. A photo has to be brought there first, as `modiste predict`
  and `modiste serve` do it: garment parted from a plain background, cropped, grey. Before a restless background they
  say that they could not.""",
    "whole": """\
It was trained on whole pictures, brought to its size and padded with black to a square. A photo has to be brought
  there first, as `modiste predict` and `modiste serve` do it.""",
    "stretched": """\
It was trained on whole pictures, stretched to a square. A photo has to be brought there first, as `modiste predict`
  and `modiste serve` do it.""",
}
"""What a picture file has to go through, by the way in which those of the training were prepared."""
MARKUP = re.compile(r"[\\`*_\[\]{}<>#|~&:@$^]|^[-+=]|^\d{1,9}[.)](?=\s|$)|www\.", re.IGNORECASE)
"""What Markdown or HTML could read as more than characters, numbered lists and links without brackets among it."""
HARMLESS = re.compile(r"[\w./-]+( [\w./-]+)*")
MOST_LETTERS = 1500


@dataclass(frozen=True)
class Agreement:
    """How a file's answers compare with its run's.

    Attributes:
        images: validation images that both have answered.
        largest_difference: between their probabilities.
        agreement: share of the images for which both favour the same class.
        accuracy: of the run on these images.
        own_accuracy: of the file on them.
    """

    images: int
    largest_difference: float
    agreement: float
    accuracy: float
    own_accuracy: float


def text(run: Run, name: str, answers: Answers, found: Agreement) -> str:
    """Return the card of an exported file in Markdown.

    Args:
        run: that was exported.
        name: of the file.
        answers: what the file computes.
        found: how it compares with the run.
    """
    info = run.load_info()
    channels, height, width = info.task.image_shape
    sections = {
        f"# {plain_text(name)}": f"A classifier of images of {channels} x {height} x {width} bytes, trained by Modiste "
        f"{__version__} with the recipe {code(run.recipe.name)}, {count_parameters(answers.model):,} parameters.",
        "## Classes": ", ".join(map(plain_text, info.task.class_names)),
        "## Data": f"Source {code(run.recipe.data.source)}, SHA-256 {code(info.fingerprint)}; validation images were "
        "set apart before training and decided what was kept.",
        "## Figures": "\n\n".join([_figures(run), _agreement(found), *_doubt(answers)]),
        "## Limits": LIMITS.format(way=WAYS[run.recipe.data.pictures]),
        "## Recipe": f"```json\n{json.dumps(to_plain(run.recipe), indent=2)}\n```",
    }
    return "\n\n".join(f"{title}\n\n{body}" for title, body in sections.items()) + "\n"


def plain_text(words: str) -> str:
    """Return words that may be a stranger's as Markdown that shows them on one line, and is nothing else."""
    return MARKUP.sub(lambda found: f"{found[0][:-1]}&#{ord(found[0][-1])};", printable(words, MOST_LETTERS))


def code(words: str) -> str:
    """Return words that may be a stranger's as code."""
    return f"`{words}`" if HARMLESS.fullmatch(words) else f"<code>{plain_text(words)}</code>"


def _figures(run: Run) -> str:
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


def _agreement(found: Agreement) -> str:
    return (
        f"On {found.images:,} validation images the file favours the run's class for {found.agreement:.2%}, its "
        f"probabilities are at most {found.largest_difference:.1g} apart; accuracy {found.own_accuracy:.2%}, that of "
        f"the run {found.accuracy:.2%}."
    )


def _doubt(answers: Answers) -> list[str]:
    told = f"Probabilities are tempered: logits are divided by {answers.temperature:.3f}, fitted to validation."
    if answers.novelty is None or not answers.novelty.images:
        return [told]
    return [
        told,
        "An image whose `novelty` is above 1 is unlike anything in training; so are "
        f"{answers.novelty.false_alarms:.1%} of {answers.novelty.images:,} validation images that had no part in "
        "setting that threshold.",
    ]
