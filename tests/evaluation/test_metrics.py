"""Every metric against scikit-learn, or against a slow reference where it has none."""

import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from modiste.evaluation import metrics
from modiste.evaluation.assessment import assess

CLASSES = 4


def case(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    random = np.random.RandomState(sum(map(ord, name)))
    logits = torch.from_numpy(random.normal(size=(300, CLASSES)) * 2).float()
    labels = torch.from_numpy(random.randint(0, CLASSES, 300))
    if name == "learned":
        logits[torch.arange(300), labels] += 2
    if name == "never predicted":
        logits[:, 2] = -50
    if name == "never present":
        labels[labels == 1] = 3
    if name == "never present nor predicted":
        labels[labels == 1], logits[:, 1] = 3, -50
    if name == "single class present":
        labels[:] = 2
    if name == "all right":
        logits = torch.nn.functional.one_hot(labels, CLASSES) * 9 + torch.arange(CLASSES) / 10
    if name == "all wrong":
        logits = torch.nn.functional.one_hot((labels + 1) % CLASSES, CLASSES) * 9 + torch.arange(CLASSES) / 10
    if name == "one image":
        logits, labels = logits[:1], labels[:1]
    if name == "huge logits":
        logits *= 1e4
    return logits, labels


CASES = [
    "random",
    "learned",
    "never predicted",
    "never present",
    "never present nor predicted",
    "single class present",
    "all right",
    "all wrong",
    "one image",
    "huge logits",
]
every_case = pytest.mark.parametrize(("logits", "labels"), [case(name) for name in CASES], ids=CASES)
NAMES = tuple("abcd")


def probabilities(logits: torch.Tensor) -> np.ndarray:
    values = logits.double().numpy()
    powers = np.exp(values - values.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


@every_case
class TestAgainstScikitLearn:
    def test_accuracy(self, logits: torch.Tensor, labels: torch.Tensor) -> None:
        assert metrics.accuracy(logits, labels) == sk.accuracy_score(labels, logits.argmax(1))

    @pytest.mark.parametrize("k", [1, 2, 3])
    def test_top_accuracy(self, logits: torch.Tensor, labels: torch.Tensor, k: int) -> None:
        expected = sk.top_k_accuracy_score(labels, logits, k=k, labels=range(CLASSES))
        assert metrics.top_accuracy(logits, labels, k) == pytest.approx(expected)
        assert metrics.top_accuracy(logits, labels, CLASSES) == metrics.top_accuracy(logits, labels, 99) == 1

    def test_cross_entropy(self, logits: torch.Tensor, labels: torch.Tensor) -> None:
        values = logits.double()
        by_hand = (values.logsumexp(1) - values[torch.arange(len(labels)), labels]).mean().item()
        assert metrics.cross_entropy(logits, labels) == pytest.approx(by_hand, rel=1e-12, abs=1e-12)
        if logits.abs().max() < 20:  # beyond, scikit-learn clips the probabilities
            expected = sk.log_loss(labels, probabilities(logits), labels=range(CLASSES))
            assert metrics.cross_entropy(logits, labels) == pytest.approx(expected, rel=1e-9)

    def test_brier(self, logits: torch.Tensor, labels: torch.Tensor) -> None:
        given = probabilities(logits)
        truth = np.eye(CLASSES)[labels.numpy()]
        by_hand = sum(((p - t) ** 2).sum() for p, t in zip(given, truth, strict=True)) / len(labels)
        assert metrics.brier(logits, labels) == pytest.approx(by_hand, rel=1e-9, abs=1e-12)

    def test_confusion(self, logits: torch.Tensor, labels: torch.Tensor) -> None:
        expected = sk.confusion_matrix(labels, logits.argmax(1), labels=range(CLASSES))
        assert metrics.confusion(logits, labels).tolist() == expected.tolist()

    def test_scores_of_every_class(self, logits: torch.Tensor, labels: torch.Tensor) -> None:
        expected = sk.precision_recall_fscore_support(labels, logits.argmax(1), labels=range(CLASSES), zero_division=0)
        scores = metrics.class_scores(metrics.confusion(logits, labels))
        present = np.unique(labels)
        found = [[getattr(scores[label], name) for label in present] for name in ("precision", "recall", "f1")]
        np.testing.assert_allclose(found, np.array(expected)[:3, present], rtol=1e-12)
        assert [score.support for score in scores] == expected[3].tolist()
        assert all(score.figures == (None,) * 3 for score in scores if not score.support)

    @pytest.mark.parametrize("average", ["macro", "weighted"])
    def test_means(self, logits: torch.Tensor, labels: torch.Tensor, average: str) -> None:
        """scikit-learn's mean is over the classes of ``labels`` and predictions, as nobody names others."""
        expected = sk.precision_recall_fscore_support(labels, logits.argmax(1), average=average, zero_division=0)
        matrix = metrics.confusion(logits, labels)
        mean = metrics.macro_mean(matrix) if average == "macro" else metrics.weighted_mean(matrix)
        np.testing.assert_allclose([mean.precision, mean.recall, mean.f1], expected[:3], rtol=1e-12)
        assert mean.support == len(labels)

    def test_the_parts_of_an_assessment_agree(self, logits: torch.Tensor, labels: torch.Tensor) -> None:
        result = assess(logits, labels, NAMES, split="test", weights="last", epoch=3, test_openings=2)
        matrix = np.array(result.confusion)
        assert result.images == matrix.sum() == sum(score.support for score in result.per_class.values())
        assert result.accuracy == np.trace(matrix) / matrix.sum()
        assert result.weighted.recall == pytest.approx(result.accuracy)
        assert result.accuracy_interval[0] <= result.accuracy <= result.accuracy_interval[1]
        assert sum(part.count for part in result.calibration) == result.images
        assert result.accuracy <= result.top2_accuracy <= 1
        assert tuple(result.per_class) == NAMES


@pytest.mark.parametrize("classes", [2, 3, 10, 17, 100])
def test_ties_are_broken_alike_everywhere(classes: int) -> None:
    """bfloat16 logits tie often, and a dead network's always: accuracy and confusion matrix must still agree."""
    random = np.random.RandomState(classes)
    for logits in (torch.zeros(60, classes), torch.from_numpy(random.randint(0, 3, (60, classes))).float()):
        labels = torch.from_numpy(random.randint(0, classes, 60))
        hits = metrics.confusion(logits, labels).diag().sum().item()
        assert metrics.accuracy(logits, labels) == hits / 60
        previous = 0.0
        for k in range(1, classes + 1):
            current = metrics.top_accuracy(logits, labels, k)
            assert previous <= current <= 1
            previous = current
        assert previous == 1


def test_an_image_whose_logits_are_no_numbers_counts_alike_everywhere() -> None:
    logits = torch.tensor([[0.0, float("nan"), 1.0], [float("nan")] * 3, [3.0, 1.0, 2.0]])
    for labels in (torch.tensor([0, 2, 1]), torch.tensor([1, 0, 0])):
        assert metrics.accuracy(logits, labels) == metrics.confusion(logits, labels).diag().sum().item() / 3


def test_shifting_every_logit_of_an_image_changes_no_metric() -> None:
    logits, labels = case("learned")
    shifted = logits.double() + torch.arange(len(labels))[:, None] % 7
    for metric in (metrics.accuracy, metrics.cross_entropy, metrics.brier):
        assert metric(shifted, labels) == pytest.approx(metric(logits.double(), labels), rel=1e-9)


def test_renaming_the_classes_permutes_the_matrix() -> None:
    logits, labels = case("random")
    order = torch.tensor([2, 0, 3, 1])
    renamed = metrics.confusion(logits[:, order], order.argsort()[labels])
    assert torch.equal(renamed, metrics.confusion(logits, labels)[order][:, order])
