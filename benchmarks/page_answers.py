"""Measure the classifier in one file beside Python: size, time and answers; write ``records/serving/page``.

    python benchmarks/page_answers.py PHOTOS [--photos 200] [--images 1000]

PHOTOS is a folder of photographs. The page of ``sprint`` is opened in a headless Chromium. It gets each photo as the
file is, and once more as a PNG file of its pixels, because browsers decode JPEG in their own way.
"""

import base64
import io
import shutil
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright

import modiste
from modiste.data.idx.idx_source import CLASS_NAMES
from modiste.exports.browser import CHROMIUMS
from modiste.inference.answers import FileAnswer
from record import Record, describe_machine, parser, provenance, rows

ANSWER = """async ([content, count]) => {
  const found = await preparedFor(content);
  if (found.fault) return found;
  const started = performance.now();
  for (let time = 0; time < count; time++) [found.answer] = await computedFor(found.image);
  return { ...found, milliseconds: (performance.now() - started) / count };
}"""
COMPUTED = 5
"""Times that the network is computed for each photo, to time it."""


def main() -> None:
    arguments = parser(__doc__, "records/serving")
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--photos", type=int, default=200)
    arguments.add_argument("--images", type=int, default=1000)
    arguments.add_argument("--runs", type=Path, default=Path("runs/serving"))
    options = arguments.parse_args()
    run = modiste.train("sprint", options.runs / "sprint-whole", quiet=True).folder
    path = modiste.export(run, to="html").path
    predictor = modiste.Predictor.load(run, precision="float32").with_novelty(run)
    photos = evenly(options.folder, options.photos)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=next(filter(None, map(shutil.which, CHROMIUMS))))
        page = browser.new_page(bypass_csp=True)
        page.goto(path.resolve().as_uri())
        origin = provenance()
        record = origin | {
            "command": origin["command"].replace(str(options.folder), "PHOTOS"),
            "bytes": path.stat().st_size,
            "images": on_images(predictor, page, options.images),
            "as_they_are": on_photos(predictor, page, [photo.read_bytes() for photo in photos]),
            "as_png": on_photos(predictor, page, [as_png(photo) for photo in photos]),
        }
        browser.close()
    Record(options.out, "page.json", "page.md").save(record, as_markdown(record))


def evenly(folder: Path, count: int) -> list[Path]:
    """Return ``count`` photos, at even distances in the sorted list, so that each class folder gives some."""
    photos = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    return [photos[place * len(photos) // count] for place in range(min(count, len(photos)))]


def as_png(photo: Path) -> bytes:
    """Return a photo as a PNG file with the pixels that Pillow decodes."""
    file = io.BytesIO()
    Image.open(photo).convert("RGB").save(file, "PNG")
    return file.getvalue()


def on_images(predictor: modiste.Predictor, page: Page, count: int) -> dict[str, Any]:
    """Compare the answers on validation images."""
    images = modiste.load_dataset(modiste.get_recipe("sprint").data).validation.images[:count].numpy()
    found = page.evaluate("(images) => computedFor(images)", base64.b64encode(images.tobytes()).decode())
    expected = modiste.predict(predictor, list(images[:, 0]))
    apart = [distance(one, other["probabilities"]) for one, other in zip(expected, found, strict=True)]
    same = sum(is_same_class(one, other["probabilities"]) for one, other in zip(expected, found, strict=True))
    return {"count": len(found), "same_class": same, "farthest": max(apart)}


def on_photos(predictor: modiste.Predictor, page: Page, photos: Sequence[bytes]) -> dict[str, Any]:
    """Compare preparation and answers on photographs."""
    expected = modiste.predict(predictor, list(photos))
    found = [page.evaluate(ANSWER, [base64.b64encode(photo).decode(), COMPUTED]) for photo in photos]
    both = [(one, other) for one, other in zip(expected, found, strict=True) if not one.fault and "fault" not in other]
    return {
        "count": len(photos),
        "refused_by_python": sum(bool(one.fault) for one in expected),
        "refused_by_page": sum("fault" in one for one in found),
        "answered_by_both": len(both),
        "same_image": sum(
            one.prepared is not None and base64.b64decode(other["image"]) == one.prepared.image.tobytes()
            for one, other in both
        ),
        "same_class": sum(is_same_class(one, other["answer"]["probabilities"]) for one, other in both),
        "both_or_neither_none": sum(one.is_novel == (other["answer"]["novelty"] > 1) for one, other in both),
        "farthest": max(distance(one, other["answer"]["probabilities"]) for one, other in both),
        "milliseconds": median(other["milliseconds"] for _, other in both),
    }


def is_same_class(answer: FileAnswer, probabilities: Sequence[float]) -> bool:
    """Return whether Python and the page find the same class most probable."""
    return answer.nearest == CLASS_NAMES[int(np.argmax(probabilities))]


def distance(answer: FileAnswer, probabilities: Sequence[float]) -> float:
    """Return the largest difference of a probability between Python's answer and the page's."""
    own = dict(answer.probabilities)
    return max(abs(own[name] - other) for name, other in zip(CLASS_NAMES, probabilities, strict=True))


def as_markdown(record: dict[str, Any]) -> str:
    """Return the page of the record."""
    images = record["images"]
    kinds = {"files as they are": record["as_they_are"], "the same as PNG": record["as_png"]}
    table = rows(
        (
            name,
            one["count"],
            f"{one['refused_by_python']} and {one['refused_by_page']}",
            f"{one['same_image']} of {one['answered_by_both']}",
            f"{one['same_class']} of {one['answered_by_both']}",
            f"{one['both_or_neither_none']} of {one['answered_by_both']}",
            f"{one['farthest']:.1e}",
        )
        for name, one in kinds.items()
    )
    return (
        "# The classifier in one file\n\n"
        "`modiste export --to html` of `sprint`, opened in a headless Chromium, beside `modiste.predict` in float32.\n"
        f"The page has {record['bytes'] / 1e6:.2f} MB. It computes the network for a photo in\n"
        f"{record['as_png']['milliseconds']:.1f} ms (median).\n\n"
        f"On {images['count']:,} validation images {images['same_class']:,} answers name the same class;\n"
        f"probabilities are at most {images['farthest']:.1e} apart. On photographs of clothing:\n\n"
        "| photos | n | refused | same prepared image | same class | same novelty | probabilities apart |\n"
        "| --- | --- | --- | --- | --- | --- | --- |\n"
        f"{table}\n\n"
        "*Refused*: by Python and by the page. *Same novelty*: both find one of the classes, or both find none.\n"
        "Browsers decode JPEG in their own way; PNG has the same pixels everywhere.\n\n"
        f"Made by `{record['command']}`.\n\n{describe_machine(record['machine'])}\n"
    )


if __name__ == "__main__":
    main()
