"""One table holds every published figure and every goal; the records and the README say what it says."""

import json
from pathlib import Path

import pytest

from modiste.recipes.claims import CLAIMS, OURS, Claim, describe, on_cores, on_gpu, without_time
from modiste.recipes.named import RECIPES

RECORDS = Path(__file__).parents[2] / "records"
OF_CHANGED_RECIPES = {("gpu", "wide-resnet"): "96 % in 40 s, by 30 epochs, a quarter erased"}
"""The goals of runs whose settings were not those of their recipe, by the record and its row."""


def test_every_recipe_has_an_entry() -> None:
    assert list(CLAIMS) == list(RECIPES)


@pytest.mark.parametrize("claim", [claim for claims in CLAIMS.values() for claim in claims], ids=str)
def test_a_claim_is_an_accuracy_or_a_statement(claim: Claim) -> None:
    assert (claim.accuracy is None) == bool(claim.statement)
    assert claim.accuracy is None or 0 < claim.accuracy < (claim.up_to or 1)
    assert claim.cores is None or claim.seconds
    assert claim.source


def test_the_recipe_of_the_paper_has_its_epochs() -> None:
    assert CLAIMS["paper"][1].statement == f"{RECIPES['paper']().epochs} epochs"


def test_how_claims_are_written() -> None:
    assert describe(without_time("capsnet-deep")) == (
        "94.6 % (the paper, untraceable); 94.5 to 94.7 % (public, DeepCaps)"
    )
    assert str(on_cores("sprint-95")) == "95 % in 20 min on 2 cores (our goal)"
    assert str(on_gpu("sprint-94-gpu")) == "94 % in 1.5 s on a GPU (our goal)"
    assert str(on_gpu("paper")) == "50 epochs in 3 s on a GPU (our goal)"
    assert on_gpu("sprint") is None
    assert on_cores("sprint-94-gpu") is None
    assert describe(CLAIMS["simclr"]) == "none stated"
    assert Claim(accuracy=0.5, source=OURS).is_goal
    assert not Claim(accuracy=0.5, source="somebody").is_goal


@pytest.mark.parametrize("record", ["paper", "speed", "gpu", "systems"])
def test_the_records_state_the_claims_of_the_table(record: str) -> None:
    for result in json.loads((RECORDS / record / "record.json").read_text(encoding="utf-8"))["results"]:
        name = result["recipe"].split(",")[0]
        claim = {"speed": on_cores, "gpu": on_gpu}.get(record, lambda name: None)(name)
        wanted = describe([claim] if claim else without_time(name))
        assert result["claim"] == OF_CHANGED_RECIPES.get((record, result["recipe"]), wanted)
