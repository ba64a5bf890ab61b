"""The figures of each named recipe: those that others have published, goals of our own, and what was measured.

``CLAIMS`` is the only place for the first two. `modiste recipes` and the benchmarks read it. The benchmarks write them
into the records, and from there they reach the README's table.
"""

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PAPER_EPOCHS = 50
"""Epochs of the paper: Mendez, "Deep Learning Models for Fashion-MNIST Classification". So are the figures below."""
PAPER_TRAIN_ACCURACY, PAPER_TRAIN_LOSS = 0.9503, 0.1345
PAPER_VALIDATION_ACCURACY, PAPER_VALIDATION_LOSS = 0.9141, 0.2348
PAPER_TEST_ACCURACY, PAPER_TEST_LOSS = 0.9132, 0.2506
PAPER_PARAMETERS = 406_270
PAPER_TABLE_2 = {
    "T-shirt/top": (0.89, 0.84, 0.87),
    "Trouser": (0.99, 0.98, 0.99),
    "Pullover": (0.91, 0.79, 0.85),
    "Dress": (0.88, 0.95, 0.91),
    "Coat": (0.84, 0.86, 0.85),
    "Sandal": (0.99, 0.99, 0.99),
    "Shirt": (0.73, 0.78, 0.76),
    "Sneaker": (0.96, 0.98, 0.98),
    "Bag": (0.99, 0.98, 0.98),
    "Ankle boot": (0.98, 0.96, 0.97),
}
"""Precision, recall and F1 of each class on test, the paper's Table 2."""
MEASURED = Path(__file__).with_name("measured.json")
"""Written by ``benchmarks/readme_results.py`` from the records, so that an installed Modiste knows them too."""

OURS = "our goal"
"""The source of a figure that nobody has published: we set it ourselves."""
NONE = "none stated"


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A published figure or a goal; ``str`` writes it with its source, such as ``95.2 % (the paper)``.

    Attributes:
        source: Who states it, or ``OURS``.
        accuracy: Accuracy on Fashion-MNIST's test set, from 0 to 1; None where something else is claimed.
        up_to: The highest accuracy, where the source gives a range that starts at ``accuracy``.
        statement: What is claimed where it is not an accuracy.
        seconds: Time in which it is reached; None for a claim without a time.
        cores: Number of processor cores that ``seconds`` is for. It then includes the whole command, from the start of
            the process to the saved model. None stands for a GPU, where ``seconds`` is the time of training alone.
    """

    source: str
    accuracy: float | None = None
    up_to: float | None = None
    statement: str = ""
    seconds: float | None = None
    cores: int | None = None

    @property
    def is_goal(self) -> bool:
        """Whether the figure is our own goal, not a published one."""
        return self.source == OURS

    @property
    def figure(self) -> str:
        """The claim without its source, such as ``94 % in 150 s on 2 cores``."""
        ends = [f"{100 * end:g}" for end in (self.accuracy, self.up_to) if end is not None]
        text = f"{' to '.join(ends)} %" if ends else self.statement
        if self.seconds is None:
            return text
        time = f"{self.seconds:g} s" if self.seconds < 600 else f"{self.seconds / 60:g} min"
        return f"{text} in {time} on {'a GPU' if self.cores is None else f'{self.cores} cores'}"

    def __str__(self) -> str:
        return f"{self.figure} ({self.source})"


UNTRACEABLE = "the paper, untraceable"
"""The source of a figure that the paper cites from a work that does not exist or does not report it."""
CLAIMS: dict[str, tuple[Claim, ...]] = {
    "paper": (
        Claim(accuracy=PAPER_TEST_ACCURACY, source="the paper"),
        Claim(statement=f"{PAPER_EPOCHS} epochs", seconds=3.0, source=OURS),
    ),
    "paper-text": (),
    "perceptron": (
        Claim(accuracy=0.842, source="Xiao et al., 2017, scikit-learn's logistic regression"),
        Claim(accuracy=0.782, source="Xiao et al., 2017, scikit-learn's perceptron"),
    ),
    "mlp": (Claim(accuracy=0.871, source="Xiao et al., 2017, scikit-learn's MLP"),),
    "sprint": (Claim(accuracy=0.9132, seconds=4.0, cores=2, source=OURS),),
    "sprint-93": (Claim(accuracy=0.93, seconds=40.0, cores=2, source=OURS),),
    "sprint-94": (Claim(accuracy=0.94, seconds=150.0, cores=2, source=OURS),),
    "sprint-95": (Claim(accuracy=0.95, seconds=1200.0, cores=2, source=OURS),),
    "sprint-94-gpu": (Claim(accuracy=0.94, seconds=1.5, source=OURS),),
    "sprint-95-gpu": (Claim(accuracy=0.95, seconds=5.0, source=OURS),),
    "sprint-96-gpu": (Claim(accuracy=0.96, seconds=40.0, source=OURS),),
    "photo": (Claim(statement="above `sprint-94` on rotated photos, no worse on others", source=OURS),),
    "photo-home": (Claim(statement="60 % of home photos with the nearest class right", source=OURS),),
    "photo-clothing": (Claim(statement="80 % of home photos right and answered, with extra data", source=OURS),),
    "inception": (Claim(statement="above `paper`", source=OURS),),
    "resnet": (
        Claim(accuracy=0.952, source="zhunzhong07/Random-Erasing, 0.27 M"),
        Claim(accuracy=0.956, source="the same with random erasing"),
    ),
    "wide-resnet": (Claim(accuracy=0.966, source="Liang-yc/fn_playground, a 40-4 with 1,000 epochs"),),
    "dropconnect": (Claim(accuracy=0.92, source=OURS),),
    "capsnet": (
        Claim(accuracy=0.946, source=UNTRACEABLE),
        Claim(accuracy=0.906, up_to=0.936, source="public, plain capsule networks"),
    ),
    "capsnet-gpu": (Claim(accuracy=0.936, source="public, the best of plain capsule networks"),),
    "capsnet-deep": (
        Claim(accuracy=0.946, source=UNTRACEABLE),
        Claim(accuracy=0.945, up_to=0.947, source="public, DeepCaps"),
    ),
    "fashionnet": (Claim(accuracy=0.945, source=UNTRACEABLE),),
    "patch-graph": (Claim(accuracy=0.948, source=UNTRACEABLE),),
    "patch-graph-gpu": (Claim(accuracy=0.948, source=UNTRACEABLE),),
    "superpixel-graph": (
        Claim(accuracy=0.8307, source="Avelar et al., 2020, graph attention on 75 superpixels"),
    ),
    "dbn": (Claim(accuracy=0.906, source=UNTRACEABLE),),
    "dbn-frozen": (Claim(accuracy=0.873, source="public"),),
    "simclr": (),
    "backbone-linear": (),
    "backbone-tuned": (),
    "backbone-tuned-lite2": (),
}  # fmt: skip
"""The claims of every named recipe, the published ones first; an empty tuple where there is none."""


def on_cores(name: str) -> Claim | None:
    """Return the claim of the recipe ``name`` with a time on processor cores; None if it has none."""
    return next((claim for claim in CLAIMS[name] if claim.cores is not None), None)


def on_gpu(name: str) -> Claim | None:
    """Return the claim of the recipe ``name`` with a time on a GPU; None if it has none."""
    return next((claim for claim in CLAIMS[name] if claim.seconds is not None and claim.cores is None), None)


def without_time(name: str) -> tuple[Claim, ...]:
    """Return the claims of the recipe ``name`` that do not depend on how long training takes."""
    return tuple(claim for claim in CLAIMS[name] if claim.seconds is None)


def describe(claims: Sequence[Claim]) -> str:
    """Return the claims as one cell of a table."""
    return "; ".join(map(str, claims)) or NONE


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was measured of a recipe; the figures of training are None where the records have none.

    Attributes:
        parameters: Number of parameters of the network for ten classes, frozen or not.
        accuracy: Mean accuracy on Fashion-MNIST's test set, from 0 to 1.
        seeds: Number of runs in the mean.
        time: How long training took, such as ``3.4 s``.
        machine: What it took that time on, such as ``2 cores``.
        record: Name of the record.
    """

    parameters: int
    accuracy: float | None = None
    seeds: int | None = None
    time: str | None = None
    machine: str | None = None
    record: str | None = None


@functools.cache
def measured() -> dict[str, Measured]:
    """Return what was measured of every named recipe, by its name.

    Example:
        >>> measured()["paper"].parameters
        896906
    """
    return {name: Measured(**plain) for name, plain in json.loads(MEASURED.read_text(encoding="utf-8")).items()}
