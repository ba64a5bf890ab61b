"""Figures say what is true, and can be read: no text is cut, covered or tiny."""

from itertools import product
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import torch
from figure_checks import check_legible, texts, written
from matplotlib.text import Text
from matplotlib.textpath import TextPath
from torch import Tensor

from commands_and_data import PROGRAMS, run_script
from fault_counter import slow_case
from modiste.data.dataset import Development, ImageSet
from modiste.evaluation import metrics
from modiste.evaluation.calibration import reliability
from modiste.models.layers import ACTIVATIONS, MaxPool
from modiste.models.registry import Task, build_model, count_parameters
from modiste.recipes import named
from modiste.recipes.networks import (
    CapsNetRecipe,
    CNNRecipe,
    DropConnectRecipe,
    FashionNetRecipe,
    InceptionRecipe,
    MLPRecipe,
    ModelRecipe,
)
from modiste.reports import charts, run_figures, style
from modiste.reports.architecture import trace
from modiste.reports.charts import accuracy_floor, confusion_matrix, learning_curves, reliability_diagram
from modiste.reports.concepts import activation_curves, neural_network
from modiste.reports.images import (
    Mistake,
    cell_rows,
    choose_samples,
    confidence_text,
    largest_cells,
    mistake_grid,
    most_confident,
    sample_grid,
)
from modiste.reports.network_diagram import network_diagram
from modiste.runs.run_folder import EpochRow, open_run
from networks import OF_RECIPES

NAMES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
LONG_NAMES = tuple(f"{name} with a name beyond all measure" for name in NAMES)
SHAPE = (1, 28, 28)
ODD_NAMES = ("$a$", "$b$", "%", "& c", "<d>", "\\e", "_f", "^g", "{h}", "衣")
MODELS = [
    CNNRecipe(),
    CNNRecipe(filters=(64, 32), kernel_size=2, hidden=(256,), activation="tanh"),
    CNNRecipe(filters=(4, 8, 8, 16, 16), pools=3, batch_norm=True, hidden=(), dropout=0),
    CNNRecipe(filters=(8,), pools=0, kernel_size=5, hidden=(16, 16, 16)),
    MLPRecipe(),
    MLPRecipe(hidden=(32, 16, 8), batch_norm=True, dropout=0.2, activation="sigmoid"),
]


def build(recipe: ModelRecipe, shape: tuple[int, int, int] = SHAPE) -> torch.nn.Module:
    return build_model(recipe, Task(image_shape=shape, class_names=NAMES))


def history(epochs: int) -> list[EpochRow]:
    return [
        EpochRow(
            epoch=number,
            step=number,
            learning_rate=1e-3,
            train_loss=1 / number,
            train_accuracy=1 - 0.4 / number,
            validation_loss=0.5 + abs(number - epochs / 4) / 50,
            validation_accuracy=0.9 - 0.3 / number,
        )
        for number in range(1, epochs + 1)
    ]


def pictures(count: int) -> Tensor:
    random = np.random.RandomState(3)
    return torch.from_numpy(random.randint(0, 256, (count, 1, 28, 28)).astype(np.uint8))


def predictions(count: int = 400) -> tuple[Tensor, Tensor]:
    """Logits of a network that is right more often than not, and labels."""
    random = np.random.RandomState(5)
    labels = torch.from_numpy(random.randint(0, 10, count))
    logits = torch.from_numpy(random.randn(count, 10).astype(np.float32))
    logits[range(count), labels] += 2
    return logits, labels


class TestNetworkDiagram:
    @pytest.mark.parametrize("recipe", MODELS)
    def test_counts_sum_to_the_models_parameters(self, recipe: ModelRecipe) -> None:
        model = build(recipe)
        stages = trace(model, SHAPE)
        assert sum(stage.parameters for stage in stages) == count_parameters(model)
        assert stages[0].shape == SHAPE
        assert stages[-1].shape == (len(NAMES),)
        figure = network_diagram(stages)
        assert f"{count_parameters(model):,}" in written(figure)
        check_legible(figure)

    def test_the_papers_network_is_as_listing_1_says(self) -> None:
        stages = trace(build(named.paper().model), SHAPE)
        assert [(stage.shape, stage.parameters) for stage in stages] == [
            ((1, 28, 28), 0),
            ((32, 28, 28), 320),
            ((32, 14, 14), 0),
            ((64, 14, 14), 18_496),
            ((64, 7, 7), 0),
            ((128, 7, 7), 73_856),
            ((6272,), 0),
            ((128,), 802_944),
            ((10,), 1_290),
        ]
        assert stages[1].name == "Convolution 3 × 3"
        assert stages[-2].notes == ("relu", "dropout 50\N{NO-BREAK SPACE}%")

    def test_an_even_kernels_padding_is_part_of_its_convolution(self) -> None:
        stages = trace(build(CNNRecipe(filters=(8,), pools=0, kernel_size=2)), SHAPE)
        assert [stage.shape for stage in stages[:2]] == [(1, 28, 28), (8, 28, 28)]

    def test_colour_images_of_another_shape(self) -> None:
        shape = (3, 32, 20)
        check_legible(network_diagram(trace(build(CNNRecipe(filters=(2048,), pools=1), shape), shape)))

    @pytest.mark.parametrize("training", [True, False])
    def test_the_model_is_left_as_it_was(self, training: bool) -> None:
        model = build(CNNRecipe(batch_norm=True)).train(training)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        trace(model, SHAPE)
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
        assert all(layer.training == training for layer in model.modules())
        assert not any(layer._forward_hooks for layer in model.modules())


class TestConcepts:
    def test_layers_are_fully_connected(self) -> None:
        figure = neural_network()
        assert len(figure.axes[0].lines) == 4 * 5 + 5 * 3
        check_legible(figure)

    def test_every_activation_has_its_true_curve(self) -> None:
        figure = activation_curves()
        curves = {axes.get_title(loc="left").partition(":")[0]: axes.lines[-1] for axes in figure.axes}
        assert set(curves) == set(ACTIVATIONS)
        z = np.asarray(curves["relu"].get_xdata(), dtype=float)
        truth = {"relu": np.maximum(0, z), "sigmoid": 1 / (1 + np.exp(-z)), "tanh": np.tanh(z), "linear": z}
        for name, values in truth.items():
            np.testing.assert_allclose(np.asarray(curves[name].get_ydata(), dtype=float), values, atol=1e-6)
        assert any("softmax" in text for text in written(figure))
        check_legible(figure)


class TestSamples:
    def test_every_class_appears_and_the_choice_never_changes(self) -> None:
        labels = torch.from_numpy(np.random.RandomState(0).permutation(np.arange(300) % 10))
        chosen = choose_samples(labels, 25)
        assert len(set(chosen)) == 25
        assert set(labels[chosen].tolist()) == set(range(10))
        assert chosen == choose_samples(labels, 25)

    @pytest.mark.parametrize(("labels", "expected"), [([1, 1, 0], [2, 0, 1]), (list(range(30)), list(range(25)))])
    def test_few_images_and_many_classes(self, labels: list[int], expected: list[int]) -> None:
        assert choose_samples(torch.tensor(labels), 25) == expected

    @pytest.mark.parametrize("names", [NAMES, LONG_NAMES])
    def test_the_grid_names_every_class(self, names: tuple[str, ...]) -> None:
        labels = [number % 10 for number in range(25)]
        figure = sample_grid(pictures(25), labels, names)
        assert len(figure.axes[0].images) == 25
        assert {text.split()[0] for text in written(figure)} == {str(label) for label in range(10)}
        check_legible(figure)

    def test_colours_stay_colours(self) -> None:
        colour = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
        colour[:, 0] = 200
        drawn = sample_grid(colour, [0], NAMES).axes[0].images[0].get_array()
        assert drawn is not None
        assert np.asarray(drawn)[0, 0].tolist() == [200, 0, 0]


class TestMistakes:
    def test_the_surest_come_first_and_all_are_wrong(self) -> None:
        logits, labels = predictions()
        found = most_confident(logits, labels, 16)
        assert [item.confidence for item in found] == sorted((item.confidence for item in found), reverse=True)
        wrong = (logits.argmax(1) != labels).nonzero().squeeze(1)
        surest = max(wrong.tolist(), key=lambda index: float(logits[index].softmax(0).max()))
        assert found[0].index == surest
        assert all(item.label == labels[item.index] != item.predicted for item in found)

    def test_a_perfect_network_has_none(self) -> None:
        labels = torch.arange(10)
        assert most_confident(torch.eye(10), labels, 5) == []
        assert list(largest_cells(torch.eye(10), labels, cells=5, images=5)) == []

    def test_cells_are_those_of_the_confusion_matrix(self) -> None:
        logits, labels = predictions()
        matrix = metrics.confusion(logits, labels)
        cells = largest_cells(logits, labels, cells=6, images=3)
        assert cells[0].count == int((matrix - torch.diag(matrix.diag())).max())
        for cell in cells:
            assert cell.count == matrix[cell.label, cell.predicted]
            assert cell.share == pytest.approx(cell.count / int(matrix[cell.label].sum()))
            assert all(labels[index] == cell.label for index in cell.indices)
            assert all(logits[index].argmax() == cell.predicted for index in cell.indices)

    @pytest.mark.parametrize("names", [NAMES, LONG_NAMES])
    def test_pictures_and_their_captions_are_legible(self, names: tuple[str, ...]) -> None:
        logits, labels = predictions()
        found = most_confident(logits, labels, 7)
        check_legible(mistake_grid(pictures(7), found, names))
        cells = largest_cells(logits, labels, cells=3, images=8)
        check_legible(cell_rows([pictures(len(cell.indices)) for cell in cells], cells, names))

    @pytest.mark.parametrize(
        ("confidence", "said"), [(0.5, "50.0 % sure"), (0.99899, "99.8 % sure"), (0.9999999, "over 99.9 % sure")]
    )
    def test_nothing_is_rounded_up_to_certainty(self, confidence: float, said: str) -> None:
        assert confidence_text(Mistake(0, 0, 1, confidence)).replace("\N{NO-BREAK SPACE}", " ") == said


class TestCurves:
    @pytest.mark.parametrize("epochs", [1, 2, 3, 12, 50])
    def test_the_selected_epoch_and_the_lowest_loss_are_marked(self, epochs: int) -> None:
        rows = history(epochs)
        lowest = min(rows, key=lambda row: row.validation_loss)
        figure = learning_curves(rows, rows[-1])
        assert f"selected: epoch {epochs}" in written(figure)
        assert f"lowest validation loss: epoch {lowest.epoch}" in written(figure)
        check_legible(figure)

    def test_axes_hide_nothing(self) -> None:
        rows = history(20)
        losses, accuracies = learning_curves(rows, rows[3]).axes
        low, high = accuracies.get_ylim()
        assert low == accuracy_floor(rows) < min(min(row.train_accuracy, row.validation_accuracy) for row in rows)
        assert high == 1
        assert losses.get_ylim()[0] == 0
        assert losses.get_ylim()[1] >= 1
        assert accuracies.get_xlim()[0] > 0


def cell_of(text: Text) -> tuple[int, int]:
    """Return row and column of the cell of a confusion matrix of ten classes in which a text stands."""
    x, y = text.get_position()
    return 9 - int((y - charts.BELOW) // charts.CELL), int((x - charts.LEFT) // charts.CELL)


class TestConfusionAndReliability:
    @pytest.mark.parametrize("names", [NAMES, LONG_NAMES, ODD_NAMES])
    def test_every_count_is_written_in_its_cell(self, names: tuple[str, ...]) -> None:
        matrix = metrics.confusion(*predictions()).tolist()
        figure = confusion_matrix(matrix, names)
        found = {(*cell_of(text), text.get_text()) for text in texts(figure)}
        for row, column in product(range(10), repeat=2):
            assert not matrix[row][column] or (row, column, str(matrix[row][column])) in found
        check_legible(figure)

    @pytest.mark.parametrize("classes", [2, 20, slow_case(60)])
    def test_any_number_of_classes(self, classes: int) -> None:
        matrix = [[row * column % 7 for column in range(classes)] for row in range(classes)]
        check_legible(confusion_matrix(matrix, [f"class {number}" for number in range(classes)]))

    def test_a_matrix_without_errors(self) -> None:
        check_legible(confusion_matrix([[5, 0], [0, 0]], ("one", "empty")))

    def test_reliability_shows_every_bin(self) -> None:
        bins = reliability(*predictions())
        figure = reliability_diagram(bins)
        upper, lower = figure.axes
        assert len(lower.patches) == len(bins)
        assert sum(patch.get_height() for patch in lower.patches) == pytest.approx(1)  # type: ignore[attr-defined]
        for patch, item in zip(lower.patches, bins, strict=True):
            left = patch.get_x()  # type: ignore[attr-defined]
            assert left < item.confidence <= left + 1 / 15 + 1e-9
        assert len(upper.lines[1].get_xdata()) == len(bins)  # type: ignore[arg-type]
        check_legible(figure)

    def test_one_bin_is_enough(self) -> None:
        check_legible(reliability_diagram(reliability(torch.eye(3) * 50, torch.arange(3))))


class TestStyle:
    @pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
    def test_the_same_figure_gives_the_same_file(self, kind: str, tmp_path: Path) -> None:
        rows = history(5)
        first = style.save(learning_curves(rows, rows[2]), tmp_path / f"first.{kind}")
        second = style.save(learning_curves(rows, rows[2]), tmp_path / f"second.{kind}")
        assert first.read_bytes() == second.read_bytes()

    def test_a_persons_settings_neither_matter_nor_change(self) -> None:
        rows = history(5)
        expected = style.render(learning_curves(rows, rows[2]), "svg")
        with mpl.rc_context({"font.size": 30, "axes.facecolor": "red"}):
            assert style.render(learning_curves(rows, rows[2]), "svg") == expected
            assert mpl.rcParams["font.size"] == 30

    def test_nothing_draws_through_pyplot(self) -> None:
        done = run_script(PROGRAMS / "list_modules.py", "modiste.reports.report", "matplotlib.")
        assert "matplotlib.figure" in done.stdout.split()
        assert "matplotlib.pyplot" not in done.stdout.split()


@pytest.mark.parametrize("recipe", OF_RECIPES.values(), ids=OF_RECIPES)
def test_every_recipe_s_diagram_counts_all_its_parameters(recipe: ModelRecipe) -> None:
    model = build_model(recipe, Task(image_shape=(1, 28, 28), class_names=tuple("0123456789")))
    stages = trace(model, (1, 28, 28))
    assert sum(stage.parameters for stage in stages) == count_parameters(model)


def test_a_layer_that_gives_a_number_for_each_image_has_its_row() -> None:
    class Brightness(torch.nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.mean((1, 2, 3))

    class Lit(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.light, self.head = Brightness(), torch.nn.Linear(1, 3)

        def forward(self, images: Tensor) -> Tensor:
            logits: Tensor = self.head(self.light(images)[:, None])
            return logits

    stages = trace(Lit(), (1, 28, 28))
    assert [(stage.name, stage.shape) for stage in stages[1:]] == [("Brightness", (1,)), ("Dense", (3,))]
    assert network_diagram(stages).axes


def test_what_an_image_does_not_pass_is_named() -> None:
    model = build_model(
        named.RECIPES["capsnet"]().model, Task(image_shape=(1, 28, 28), class_names=tuple("0123456789"))
    )
    last = trace(model, (1, 28, 28))[-1]
    assert last.name == "Beside the answer"
    assert last.parameters == 160 * 512 + 512 + 512 * 1024 + 1024 + 1024 * 784 + 784


@pytest.mark.parametrize("line", ["The very long name of a class", "long name of a class " * 50])
def test_a_long_line_is_fitted_by_few_measurements(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def extent(text: str) -> float:
        return float(TextPath((0, 0), text, size=style.SMALL).get_extents().width) / 72

    measured: list[str] = []

    def counted(place: tuple[float, float], text: str, *, size: float) -> TextPath:
        measured.append(text)
        return TextPath(place, text, size=size)

    monkeypatch.setattr(style, "TextPath", counted)
    shown = style.fit(line, 0.9, style.SMALL)
    assert len(measured) <= 10
    assert max(map(len, measured)) <= 200
    assert extent(shown) <= 0.9 < extent(style.shorten(line, len(shown) + 2))
    assert shown == style.shorten(line, len(shown))


@pytest.mark.parametrize(
    ("classes", "words"), [(25, "of every class in turn"), (26, "of each of the first 25 classes")]
)
def test_the_caption_of_the_samples_names_the_classes_that_they_show(classes: int, words: str) -> None:
    names = tuple(f"class {number}" for number in range(classes))
    images = ImageSet(pictures(60), torch.arange(60) % classes)
    drawn = run_figures.samples(Development("tried", images, images.images, images, names, ""))
    assert words in drawn.caption
    assert "class 25" not in drawn.svg.partition("</desc>")[2]


TINY = (1, 12, 12)


class PooledAfter(torch.nn.Sequential):
    """A network of someone else, registered as if pooling came first; it calls its activation first."""

    def __init__(self) -> None:
        super().__init__(MaxPool(), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(36, 10))

    def forward(self, images: Tensor) -> Tensor:
        pool, activate, flatten, head = self
        logits: Tensor = head(flatten(pool(activate(images))))
        return logits


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (build(CNNRecipe(filters=(4,), pools=1, hidden=()), TINY), True),
        (build(CNNRecipe(filters=(4,), pools=0, hidden=()), TINY), False),
        (build(DropConnectRecipe(filters=(4,), hidden=8), TINY), True),
        (build(InceptionRecipe(width=8), TINY), False),
        (build(FashionNetRecipe(width=4, keypoints=4, hidden=8), TINY), False),
        (build(CapsNetRecipe(filters=32, stem="deep", hidden=(8,)), TINY), False),
        (PooledAfter(), False),
    ],
)
def test_pooling_is_said_to_come_first_only_where_it_does(
    model: torch.nn.Module, said: bool, finished_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = open_run(finished_run)
    info = run.load_info()
    monkeypatch.setattr(type(run), "load_model", lambda _: (model, info))
    assert ("Pooling comes before the activation" in run_figures.network(run).caption) == said
