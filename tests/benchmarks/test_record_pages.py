"""Scripts of long measurements write their page at the very end: each can write it from its committed record."""

import importlib
import json
import re
from pathlib import Path

import pytest

RECORDS = Path(__file__).parents[2] / "records"
SCRIPTS = {
    "attacks_beside": "benchmarks/attacks.json",
    "classes_record": "classes/record.json",
    "drawing_record": "photos/drawings.json",
    "kill_catalogue": "catalogue/kills.json",
    "page_answers": "serving/page.json",
    "photo_record": "photos/record.json",
    "profile_layers": "speed/profile.json",
    "real_photos": "photos/home.json",
    "segmentation_student": "photos/segmentation.json",
    "simulate_drift": "drift/record.json",
    "split_record": "splits/record.json",
    "systems_record": "systems/record.json",
    "time_beside": "speed/beside.json",
    "time_catalogue": "catalogue/record.json",
    "time_folder": "photos/folder.json",
    "time_own_classes": "own-classes/record.json",
    "time_photos": "serving/photos.json",
    "time_prediction": "speed/prediction.json",
    "time_search": "search/record.json",
    "time_serving": "serving/record.json",
    "time_to_accuracy": "speed/record.json",
    "time_training": "speed/training.json",
    "verdict_simulation": "reproduction/verdicts.json",
}
"""The record of each script that keeps all of its page there."""


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_page_is_written_from_the_record(script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(RECORDS.parent / "benchmarks")
    record = json.loads((RECORDS / SCRIPTS[script]).read_text(encoding="utf-8"))
    page = importlib.import_module(script).as_markdown(record)
    assert page.startswith("# ")
    figures = re.findall(r"\d+\.\d+", (RECORDS / page_of(SCRIPTS[script])).read_text(encoding="utf-8"))
    assert [one for one in figures if one not in page] == [], "texts may change after a measurement, its figures do not"


def page_of(record: str) -> Path:
    """Return the page of a record, by its name in the folder of records."""
    path = Path(record)
    return path.with_name("README.md") if path.name == "record.json" else path.with_suffix(".md")
