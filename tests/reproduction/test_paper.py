"""The paper's claims are measured as they say, on made-up runs whose figures are known."""

from typing import get_args

import pytest
import torch

from modiste.evaluation.assessment import Assessment, assess
from modiste.recipes.claims import PAPER_TABLE_2
from modiste.reproduction import paper
from modiste.reproduction.paper import CLAIMS, Evidence, f1_is_possible
from modiste.runs.run_folder import EpochRow

NAMES = tuple(PAPER_TABLE_2)


def assessment(*, wrong: int, weights: str = "picked", epoch: int = 2) -> Assessment:
    """Assess 1,000 images of which the first ``wrong`` shirts are taken for coats, the rest answered with certainty."""
    labels = torch.arange(1000) % 10
    answers = labels.clone()
    answers[(labels == NAMES.index("Shirt")).nonzero()[:wrong]] = NAMES.index("Coat")
    logits = 20.0 * torch.nn.functional.one_hot(answers, 10).float()
    return assess(logits, labels, NAMES, split="test", weights=weights, epoch=epoch, test_openings=1)


def row(epoch: int, train_loss: float, validation_loss: float, validation_accuracy: float) -> EpochRow:
    return EpochRow(
        epoch=epoch,
        step=epoch * 10,
        learning_rate=0.001,
        train_loss=train_loss,
        train_accuracy=1 - train_loss / 3,
        validation_loss=validation_loss,
        validation_accuracy=validation_accuracy,
    )


@pytest.fixture
def overfitted() -> list[Evidence]:
    history = [row(1, 0.5, 0.3, 0.88), row(2, 0.13, 0.22, 0.92), row(3, 0.01, 0.44, 0.91)]
    return [Evidence(history, assessment(wrong=80), assessment(wrong=90, weights="last", epoch=3))] * 2


def finding(statement: str, runs: list[Evidence]) -> paper.Finding:
    [claim] = [claim for claim in CLAIMS if statement in claim.statement]
    return claim.measure(runs)


def test_every_claim_gets_a_finding(overfitted):
    for claim in CLAIMS:
        found = claim.measure(overfitted)
        assert found.measured
        assert found.verdict in ("holds", "does not hold", "contradicts itself", "cannot be traced")


def test_what_needs_training_is_not_judged_of_runs_cut_short(overfitted):
    verdicts = {}
    for claim in (*CLAIMS, *paper.RELATED_WORK):
        whole, quick = claim.finding(overfitted), claim.finding(overfitted, "quick")
        assert quick.measured == whole.measured == claim.measure(overfitted).measured
        verdicts[claim.statement] = (whole.verdict, quick.verdict)
    judged = {statement for statement, (whole, quick) in verdicts.items() if quick == whole}
    unjudged = {statement.partition(",")[0].partition(" 9")[0] for statement in set(verdicts) - judged}
    assert unjudged == {
        "training accuracy",
        "validation accuracy",
        "test accuracy",
        "no overfitting",
        "precision",
        "Trouser",
    }
    assert {verdicts[statement][1] for statement in set(verdicts) - judged} == {"not judged: quick"}
    assert {whole for whole, _ in verdicts.values()} <= set(get_args(paper.Verdict)[:4])


def test_overfitting_is_seen(overfitted):
    found = finding("no overfitting", overfitted)
    assert found.verdict == "does not hold"
    assert "lowest at epoch 2, 2 and then rises to 2.0 times" in found.measured


def test_the_epoch_that_meets_the_paper_is_named(overfitted):
    assert "loss is reached at epoch 2, 2" in finding("training accuracy", overfitted).measured
    assert "as low as the paper's at epoch 2, 2" in finding("validation accuracy", overfitted).measured


@pytest.mark.parametrize(("wrong", "verdict"), [(80, "holds"), (90, "does not hold")])
def test_accuracy_is_held_against_the_paper(overfitted, wrong, verdict):
    runs = [Evidence(run.history, assessment(wrong=wrong), run.last) for run in overfitted]
    assert finding("test accuracy", runs).verdict == verdict


def test_a_claim_never_reached_says_never(overfitted):
    runs = [Evidence(run.history[:1], run.picked, run.last) for run in overfitted]
    assert "loss is reached never, its accuracy never" in finding("training accuracy", runs).measured


def test_parameters_are_counted_on_the_real_networks(overfitted):
    found = finding("406,270", overfitted)
    assert found.measured == "Listing 1 has 896,906, the network of the prose 412,778"
    assert found.verdict == "does not hold"


@pytest.mark.parametrize(
    ("precision", "recall", "f1", "possible"),
    [(0.96, 0.98, 0.98, False), (0.99, 0.98, 0.99, True), (0.73, 0.78, 0.76, True), (0.5, 0.5, 0.52, False)],
)
def test_f1_must_follow_from_precision_and_recall(precision, recall, f1, possible):
    assert f1_is_possible(precision, recall, f1) is possible


def test_sneaker_is_the_row_that_cannot_be(overfitted):
    found = finding("harmonic mean", overfitted)
    assert "Sneaker" in found.measured
    assert found.verdict == "contradicts itself"
