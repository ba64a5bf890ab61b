"""Measure the photo pipeline on real photographs in class folders, by each way to find the garment.

    python benchmarks/real_photos.py RUN ... --photos FOLDER [--nearest-only] [--name real] [--out records/photos]

FOLDER has the class folders of the public clothing-dataset-small (CC0 1.0): dress, hat, longsleeve, ... The runs are of
one recipe, with different seeds. Garments are found by the segmentation network of this machine (docs/photos.md).
Writes ``real.json`` and ``real.md``, or files of another name. With ``--nearest-only`` the detector of
out-of-distribution images is not learned: the answers "none" are left out.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from modiste.errors import PhotoError
from modiste.inference.predictor import Predictor
from modiste.photo import segmentation, separation
from modiste.photo.background import Garment, largest_parts, overlap
from modiste.photo.garment import Prepared, prepare
from modiste.photo.opening import open_photo
from modiste.runs.run_folder import open_run
from record import Record, describe_machine, parser, provenance, rows

EXPECTED = {
    "dress": ("Dress",),
    "longsleeve": ("Pullover", "Shirt"),
    "outwear": ("Coat",),
    "pants": ("Trouser",),
    "shirt": ("Shirt",),
    "shoes": ("Sneaker", "Sandal", "Ankle boot"),
    "t-shirt": ("T-shirt/top",),
}
"""Classes that count as right for each kind of photo; the other kinds are of none of the classes."""
WAYS = tuple(separation.BACKGROUNDS)
WRONG = 0.5
"""Overlap with the network's mask below which another mask counts as wrong."""
STEPS = (0.9, 0.75, WRONG, 0.0)
HEAD = (
    "way",
    "refused",
    "separated",
    "overlap 0.9 to 1",
    "0.75 to 0.9",
    "0.5 to 0.75",
    "below 0.5",
    "wrong, of the separated",
    "wrong and nothing said",
)
NO_DETECTOR = "not measured"


def main() -> None:
    arguments = parser(__doc__, "records/photos")
    arguments.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    arguments.add_argument("--photos", type=Path, required=True)
    arguments.add_argument("--nearest-only", action="store_true")
    arguments.add_argument("--name", default="real")
    options = arguments.parse_args()
    files = sorted(options.photos.rglob("*.jpg"))
    separation.segment = once_each(separation.segment)
    masks = compare_masks(files)
    predictors = [Predictor.load(run, device="cpu") for run in options.runs]
    if not options.nearest_only:
        predictors = [one.with_novelty(run) for one, run in zip(predictors, options.runs, strict=True)]
    found = [open_run(run) for run in options.runs]
    recipe = found[0].recipe
    flags = f" --name {options.name}" * (options.name != "real") + " --nearest-only" * options.nearest_only
    record = provenance() | {
        "command": f"python benchmarks/real_photos.py{' RUN' * len(found)} --photos FOLDER{flags}",
        "recipe": recipe.name,
        "epochs": recipe.epochs,
        "begun_from": recipe.transfer.source[:16],
        "extra": recipe.data.extra_classes if recipe.data.extra else (),
        "seeds": [run.recipe.seed for run in found],
        "validation_accuracy": fmean(run.picked.validation_accuracy for run in found),
        "segmentation": segmentation.choose_network().name,
        "photos": len(files),
        "kinds": dict(Counter(path.parent.name for path in files)),
        "masks": masks,
        "answers": {way: mean_score(predictors, files, way) for way in WAYS},
    }
    Record(options.out, f"{options.name}.json", f"{options.name}.md").save(record, as_markdown(record))


def prepared(content: bytes, way: str) -> Prepared | None:
    """Return a photo as the network sees it; None if it is refused."""
    try:
        return prepare(content, background=way)
    except PhotoError:
        return None


def once_each(segment: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function that keeps the network's result for each photo: three ways and the comparison ask for it."""
    known: dict[bytes, np.ndarray] = {}

    def remembered(photo: np.ndarray) -> np.ndarray:
        key = photo.tobytes()
        if key not in known:
            known[key] = segment(photo).astype(np.float16)
        return known[key].astype(np.float64)

    return remembered


def compare_masks(files: list[Path]) -> dict[str, Any]:
    """Return how often each way separates a garment, and how well its mask agrees with the network's own mask."""
    found: dict[str, list[tuple[bool, bool, float]]] = {way: [] for way in WAYS}
    for path in files:
        photo = open_photo(path)
        whole = largest_parts(separation.segment(photo) > 0.5)
        for way in WAYS:
            try:
                garment = separation.separate(photo, way)
            except PhotoError:
                continue
            found[way].append((garment.separated, bool(garment.doubt), agreement(garment, whole)))
    return {way: shares_of_masks(values, len(files)) for way, values in found.items()}


def agreement(garment: Garment, whole: np.ndarray) -> float:
    """Return the overlap of a garment's mask with the network's mask of the same photo."""
    return overlap(separation.reduced(whole, garment.mask.shape), garment.mask)


def shares_of_masks(values: list[tuple[bool, bool, float]], count: int) -> dict[str, Any]:
    """Return shares of all photos: refused, separated, separated without a doubt, and by overlap."""
    separated = [overlapped for parted, _, overlapped in values if parted]
    silent = [overlapped for parted, doubt, overlapped in values if parted and not doubt]
    steps = {
        f"{low}": sum(low <= value < high for value in separated) / count
        for low, high in zip(STEPS, (1.01, *STEPS), strict=False)
    }
    return {
        "refused": 1 - len(values) / count,
        "separated": len(separated) / count,
        "overlap": steps,
        "wrong_of_separated": sum(value < WRONG for value in separated) / max(len(separated), 1),
        "wrong_in_silence": sum(value < WRONG for value in silent) / count,
    }


def mean_score(predictors: Sequence[Predictor], files: list[Path], way: str) -> dict[str, Any]:
    """Return the means over the runs of what ``score`` returns, and the lowest and highest of the shares."""
    found = [score(predictor, files, way) for predictor in predictors]
    shares = {name: [one[name] for one in found] for name in ("nearest_right", "right_and_answered", "others_none")}
    known = {name: values for name, values in shares.items() if None not in values}
    return {
        **found[0],
        **{name: fmean(values) for name, values in known.items()},
        "ranges": {name: (min(values), max(values)) for name, values in known.items()},
        "nearest_right_by_kind": {
            kind: fmean(one["nearest_right_by_kind"][kind] for one in found)
            for kind in found[0]["nearest_right_by_kind"]
        },
    }


def score(predictor: Predictor, files: list[Path], way: str) -> dict[str, Any]:
    """Return how often the nearest class is right, also where the answer is not "none", by kind of photo."""
    seen = {path: prepared(path.read_bytes(), way) for path in files}
    read = {path: one for path, one in seen.items() if one is not None}
    scores = predictor.classify(np.stack([one.planes for one in read.values()]))
    detected = scores.novelty is not None
    nones = (scores.novelty > 1).tolist() if scores.novelty is not None else [False] * len(read)
    named = dict(zip(read, zip(scores.names, nones, strict=True), strict=True))
    kinds: dict[str, list[tuple[bool, bool]]] = {}
    for path in files:
        name, none = named.get(path, ("", False))
        kinds.setdefault(path.parent.name, []).append((name in EXPECTED.get(path.parent.name, ()), none))
    garments = [one for kind, found in kinds.items() if kind in EXPECTED for one in found]
    others = [none for kind, found in kinds.items() if kind not in EXPECTED for _, none in found]
    return {
        "garments": len(garments),
        "nearest_right": sum(right for right, _ in garments) / len(garments),
        "right_and_answered": sum(right and not none for right, none in garments) / len(garments) if detected else None,
        "others": len(others),
        "others_none": sum(others) / max(len(others), 1) if detected else None,
        "nearest_right_by_kind": {
            kind: sum(right for right, _ in found) / len(found) for kind, found in kinds.items() if kind in EXPECTED
        },
    }


def share(answers: dict[str, Any], name: str) -> str:
    """Return a mean share as text, with its range if there are several runs."""
    if answers[name] is None:
        return NO_DETECTOR
    low, high = answers["ranges"][name]
    return f"{answers[name]:.1%}" + f" ({low:.1%} to {high:.1%})" * (low < high)


def as_markdown(record: dict[str, Any]) -> str:
    """Return the page."""
    masks, answers = record["masks"], record["answers"]
    learned = f"Fashion-MNIST and **extra photographs** ({', '.join(record['extra'])})"
    learned = learned if record["extra"] else "Fashion-MNIST alone"
    begun = ", begun from another run's weights" * bool(record["begun_from"])
    by_way = [
        (
            f"`{way}`",
            *(f"{masks[way][what]:.1%}" for what in ("refused", "separated")),
            *(f"{masks[way]['overlap'][f'{step}']:.1%}" for step in STEPS),
            *(f"{masks[way][what]:.1%}" for what in ("wrong_of_separated", "wrong_in_silence")),
        )
        for way in WAYS
    ]
    answered = [
        (f"`{way}`", *(share(answers[way], what) for what in ("nearest_right", "right_and_answered", "others_none")))
        for way in WAYS
    ]
    kinds = [
        (
            f"{kind}: {' or '.join(EXPECTED[kind])}",
            *(f"{answers[way]['nearest_right_by_kind'][kind]:.0%}" for way in WAYS),
        )
        for kind in answers["plain"]["nearest_right_by_kind"]
    ]
    return f"""# Real photographs

{record["photos"]} photographs that people took at home, on beds, floors and hangers, from the validation part of the
public clothing-dataset-small (CC0 1.0), at most 256 pixels a side. `modiste.photo` prepares each by the three ways to
find a garment. The constants of the ways were chosen on photographs of its training part. Made by
`{record["command"]}`.

## Masks

The segmentation network is {record["segmentation"]}. Overlap is the intersection of a mask with its own, over their
union; below {WRONG} a mask counts as wrong. Nobody drew masks by hand: the network stands in for a judge, and cannot be
judged itself. Shares of all photographs.

{rows([HEAD, ["---"] * len(HEAD), *by_way])}

## Answers

Of `{record["recipe"]}` ({record["epochs"]} epochs{begun}; seeds {", ".join(map(str, record["seeds"]))}), which learned
from {learned}: {answers["plain"]["garments"]} photographs of the seven kinds that have a class, and
{answers["plain"]["others"]} of hats, shorts and skirts, which have none. Means over the seeds, and their range.
Accuracy on Fashion-MNIST's validation images: {record["validation_accuracy"]:.1%}.

| way | nearest class right | right, and not answered "none" | hats, shorts, skirts answered "none" |
|---|---|---|---|
{rows(answered)}

Nearest class right, by kind:

| kind: classes that count | {" | ".join(f"`{way}`" for way in WAYS)} |
|---|---|---|---|
{rows(kinds)}

{describe_machine(record["machine"])}
"""


if __name__ == "__main__":
    main()
