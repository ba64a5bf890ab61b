"""The page of an audit: what was found, escaped, in grey and in colour, and whether the test set was opened."""

import base64
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from modiste.audits.audit import Findings, Item
from modiste.audits.labels import Suspicion
from modiste.data.dataset import ImageSet
from modiste.data.duplicates import Pair
from modiste.reports.page import as_uri, write_audit


def findings(channels: int, parts: tuple[str, ...]) -> Findings:
    images = torch.arange(4 * channels * 9 * 9).reshape(4, channels, 9, 9).to(torch.uint8)
    return Findings(
        name="<b>own</b>",
        items=tuple(Item(f"<{number}>.png", "a&b", part) for number, part in enumerate(parts)),
        images=ImageSet(images, torch.zeros(4, dtype=torch.long)),
        class_names=("a&b", "<i>"),
        exact=((0, 1), (2, 3)),
        near=(Pair(0, 3, 0.995),),
        suspicious=(Suspicion(2, 1, 0.75, 0.4),),
        probabilities=torch.zeros(3, 2),
        notes=("a note <u>",),
    )


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("last", ["validation", "test"])
def test_the_page_says_what_was_found(channels: int, last: str, tmp_path: Path) -> None:
    found = findings(channels, ("training", "training", "training", last))
    page = write_audit(found, tmp_path / "audit.html", tmp_path / "audit.json").read_text(encoding="utf-8")
    assert ("The held-out test images were opened" in page) == (last == "test")
    assert ("The test set was not opened" in page) == (last != "test")
    assert "question 1 label of 3 images" in page
    assert "about 4 in 10 of these are wrong, 0 labels in all" in page
    assert "40% of such labels are wrong" in page
    assert (
        "2 images found more than once: as training sees them, the copies are the same to the last pixel. 1 of them in"
        in page
    )
    assert "1 pair whose pixels have a correlation" in page
    assert not re.search(r"<(b|u|i|\d)>", page)
    assert "&lt;b&gt;own&lt;/b&gt;" in page
    assert len(re.findall("data:image/png;base64,", page)) == 1 + 4 + 2
    assert not re.search(r'(src|href)="(?!data:)', page)
    plain = json.loads((tmp_path / "audit.json").read_text(encoding="utf-8"))
    assert plain == found.as_plain()
    assert [one["across"] for one in plain["exact"]] == [False, True]
    assert plain["wrong_labels"] == 0
    assert plain["suspicious"] == [
        {"file": "<2>.png", "label": "a&b", "looks_like": "<i>", "margin": 0.75, "wrong": 0.4}
    ]


def test_duplicates_with_different_labels_are_named_and_come_first(tmp_path: Path) -> None:
    found = findings(1, ("training",) * 4)
    path = write_audit(found, tmp_path / "a.html", tmp_path / "a.json")
    assert "different labels" not in path.read_text(encoding="utf-8")
    items = (*found.items[:3], Item("last", "other", "training"))
    path = write_audit(replace(found, items=items), tmp_path / "b.html", tmp_path / "b.json")
    page = path.read_text(encoding="utf-8")
    assert page.count("1 of them with different labels") == 2
    plain = json.loads((tmp_path / "b.json").read_text(encoding="utf-8"))
    assert [one["labels_differ"] for one in plain["exact"] + plain["near"]] == [False, True, True]
    exact = page.partition("Exact duplicates")[2]
    assert exact.index("last") < exact.index("&lt;0&gt;.png")


@pytest.mark.parametrize("last", [Item("last", "a&b", "test"), Item("last", "other", "training")])
def test_of_many_copies_one_of_each_label_and_part_is_shown_and_the_rest_is_counted(last: Item, tmp_path: Path) -> None:
    items = (*(Item(f"copy {number}", "a&b", "training") for number in range(8)), last)
    images = ImageSet(torch.zeros(9, 1, 9, 9, dtype=torch.uint8), torch.zeros(9, dtype=torch.long))
    found = replace(findings(1, ("training",) * 4), items=items, images=images, exact=(tuple(range(9)),), near=())
    page = write_audit(found, tmp_path / "audit.html", tmp_path / "audit.json").read_text(encoding="utf-8")
    exact = page.partition("Exact duplicates")[2]
    assert re.findall('alt="([^"]*)"', exact) == ["copy 0", "last", "copy 1", "copy 2", "copy 3", "copy 4"]
    assert "and 3 more copies" in exact


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ((), "fewer than 1 in 10"),
        ((0.04,), "fewer than 1 in 10"),
        ((0.2, 0.6), "about 4 in 10"),
        ((0.94,), "about 9 in 10"),
        ((0.96,), "more than 9 in 10"),
        ((1.0,), "more than 9 in 10"),
    ],
)
def test_the_share_of_wrong_labels_in_words(wrong: tuple[float, ...], expected: str) -> None:
    suspicious = tuple(Suspicion(0, 1, 0.5, one) for one in wrong)
    assert replace(findings(1, ("training",) * 4), suspicious=suspicious).wrong_share == expected


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_keep_every_pixel(channels: int) -> None:
    planes = np.random.default_rng(0).integers(0, 256, (channels, 6, 5), np.uint8)
    content = base64.b64decode(as_uri(planes).partition(",")[2])
    image = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    assert np.array_equal(image, np.moveaxis(np.broadcast_to(planes, (3, 6, 5)), 0, 2))
