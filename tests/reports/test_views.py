"""What a network is said to see is what it computes; drawn for small networks that nobody has trained."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from figure_checks import check_legible, written
from matplotlib.figure import Figure
from torch import Tensor

import modiste
from fault_counter import slow_case
from modiste.data.batch import as_floats
from modiste.data.dataset import ImageSet
from modiste.evaluation.run_images import load_own_development
from modiste.models.layers import Standardize
from modiste.models.patch_graph import nearest_neighbours
from modiste.models.registry import MODELS, Task, build_model
from modiste.recipes.networks import (
    CapsNetRecipe,
    CNNRecipe,
    DBNRecipe,
    DropConnectRecipe,
    FashionNetRecipe,
    InceptionRecipe,
    MLPRecipe,
    ModelRecipe,
    PatchGraphRecipe,
    ResNetRecipe,
    SuperpixelGraphRecipe,
)
from modiste.recipes.recipe import DataRecipe, PretrainingRecipe, Recipe
from modiste.reports.views import (
    capsnet,
    cnn,
    dbn,
    dropconnect,
    fashionnet,
    inception,
    patch_graph,
    stages,
    superpixel_graph,
)
from modiste.reports.views.registry import VIEWS, View, scene_of
from modiste.reports.views.scene import Scene, evidence, signed
from modiste.runs.run_folder import PretrainingRow, open_run
from networks import SMALL

NAMES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


def scene(recipe: ModelRecipe, shape: tuple[int, int, int] = (1, 28, 28)) -> Scene:
    random = np.random.RandomState(4)
    images = torch.from_numpy(random.randint(0, 256, (60, *shape)).astype(np.uint8))
    task = Task(image_shape=shape, class_names=NAMES, mean=0.3, deviation=0.4)
    standardize, network = build_model(recipe, task).eval().children()
    return Scene(standardize, network, ImageSet(images, torch.arange(60) % 10), NAMES)  # type: ignore[arg-type]


def shown(figure: Figure) -> list[Tensor]:
    return [torch.from_numpy(np.array(item.get_array())) for item in figure.axes[0].images]


def test_every_kind_of_network_has_its_views() -> None:
    assert set(VIEWS) == set(MODELS) == {type(recipe) for recipe in SMALL}
    for views in VIEWS.values():
        assert all(view.name.isalnum() and view.caption.endswith(".") for view in views)


def test_captions_name_images_and_classes_as_a_limit() -> None:
    """A run may have fewer images, and more classes, than a view shows."""
    captions = " ".join(view.caption for views in VIEWS.values() for view in views)
    assert re.findall(r"(up to )?\b\d[\d,]* (?:validation )?(?:images|classes)", captions) == ["up to "] * 5
    assert "each class" not in captions


FIRST = list({type(recipe): recipe for recipe in reversed(SMALL)}.values())
"""A network of every kind; the others are left to ``make test-all``."""


@pytest.mark.parametrize(
    ("recipe", "view"),
    [
        (pytest.param if recipe in FIRST else slow_case)(recipe, view, id=f"{recipe.KIND} {view.name}")
        for recipe in SMALL
        for view in VIEWS[type(recipe)]
    ],
)
def test_every_view_is_drawn_legibly_and_leaves_the_network_alone(
    recipe: ModelRecipe, view: View, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dbn, "CHAIN", (1, 3))
    stage = scene(recipe)
    before = {name: value.clone() for name, value in stage.network.state_dict().items()}
    figure = view.draw(stage)
    if figure is None:
        assert view.name == "errors"
        return
    check_legible(figure)
    assert all(torch.equal(value, before[name]) for name, value in stage.network.state_dict().items())
    assert not any(layer.training for layer in stage.network.modules())


def test_the_weights_of_a_very_large_layer_are_scaled_too() -> None:
    weights = torch.full((2**24 + 2,), -0.5)  # more numbers than torch finds a percentile of
    assert signed(weights).aminmax() == (-1, -1)


@pytest.mark.parametrize(
    "recipe",
    [
        CNNRecipe(filters=(4,), pools=0, hidden=()),
        FashionNetRecipe(width=2, hidden=4),
        SuperpixelGraphRecipe(channels=8, blocks=2, heads=2),
    ],
)
def test_colour_images_of_another_shape(recipe: ModelRecipe) -> None:
    stage = scene(recipe, (3, 24, 16))
    for view in VIEWS[type(recipe)]:
        assert view.draw(stage)


class TestKeypoints:
    def test_they_are_drawn_where_the_network_finds_them(self) -> None:
        stage = scene(FashionNetRecipe(width=4, keypoints=3, hidden=16))
        figure = fashionnet.keypoints(stage)
        axes = figure.axes[0]
        boxes = [item.get_extent() for item in axes.images]
        images = torch.cat(
            [as_floats(stage.validation.images)[stage.validation.labels == label][:6] for label in range(10)]
        )
        points = fashionnet.locate(stage, images)
        drawn = [np.asarray(item.get_offsets())[0] for item in axes.collections[: 3 * len(images)]]
        for number, (image, (left, right, bottom, top)) in enumerate(zip(points, boxes, strict=True)):
            for index, (row, column) in enumerate(image.tolist()):
                x, y = drawn[3 * number + index]
                assert (x - left) / (right - left) * 28 == pytest.approx(column + 0.5, abs=1e-4)
                assert (top - y) / (top - bottom) * 28 == pytest.approx(row + 0.5, abs=1e-4)

    def test_a_place_is_the_centre_of_the_pixels_its_cell_covers(self) -> None:
        corners = torch.tensor([[[-1.0, -1.0], [1.0, 1.0], [0.0, 1 / 3]]])
        pixels = fashionnet.as_pixels(corners, (7, 7), (28, 28))
        torch.testing.assert_close(pixels, torch.tensor([[[1.5, 1.5], [25.5, 25.5], [13.5, 17.5]]]))


class TestPatchGraph:
    def test_edges_are_those_that_each_block_uses(self) -> None:
        stage = scene(PatchGraphRecipe(channels=8, blocks=2, neighbours=5))
        images = as_floats(stage.validation.images[:3])
        found: list[Tensor] = []
        for block in stage.network.blocks:  # type: ignore[union-attr]
            block.before.register_forward_hook(
                lambda _layer, _inputs, nodes: found.append(nearest_neighbours(nodes, 5))
            )
        expected = patch_graph.block_edges(stage, images)
        found.clear()
        with torch.no_grad():
            stage.network(stage.standardize(images))
        assert all(torch.equal(one, other) for one, other in zip(expected, found, strict=True))

    def test_a_line_goes_to_every_neighbour(self) -> None:
        stage = scene(PatchGraphRecipe(channels=8, blocks=2, neighbours=5))
        axes = patch_graph.edges(stage).axes[0]
        images, _ = stage.examples(patch_graph.IMAGES)
        edges = patch_graph.block_edges(stage, images)
        boxes = [item.get_extent() for item in axes.images][patch_graph.IMAGES :]
        ends = {
            tuple(np.round(np.asarray(line.get_xydata())[-1], 4)) for line in axes.lines if line.get_linewidth() == 0.9
        }
        for block, places in ((0, boxes[:6]), (1, boxes[6:])):
            for image, (left, right, bottom, top) in enumerate(places):
                for other in edges[block][image, 24].tolist():  # the middle of 7 x 7
                    row, column = divmod(other, 7)
                    x, y = left + (column + 0.5) / 7 * (right - left), top - (row + 0.5) / 7 * (top - bottom)
                    assert (round(x, 4), round(y, 4)) in ends


class TestSuperpixelGraph:
    SMALL = SuperpixelGraphRecipe(channels=8, blocks=2, heads=2, neighbours=5)

    def test_below_each_image_every_region_has_its_mean(self) -> None:
        stage = scene(self.SMALL)
        images, _ = stage.examples(superpixel_graph.IMAGES)
        drawn = torch.stack(shown(superpixel_graph.regions(stage)))
        torch.testing.assert_close(drawn[: len(images)], images[:, 0])
        regions = stage.network.superpixels(stage.standardize(images))  # type: ignore[operator]
        for picture, image, labels in zip(drawn[len(images) :], images[:, 0], regions, strict=True):
            for region in labels.unique():
                drawn_there, mean = picture[labels == region], image[labels == region].mean()
                torch.testing.assert_close(drawn_there, mean.expand_as(drawn_there), atol=0.2 / 1024, rtol=0)  # quanta

    def test_borders_lie_between_pixels_of_two_regions(self) -> None:
        labels = torch.tensor([[0, 0, 1], [2, 0, 1]])
        found = {tuple(map(tuple, edge)) for edge in superpixel_graph.borders(labels).tolist()}
        assert found == {((2, 0), (2, 1)), ((2, 1), (2, 2)), ((1, 1), (1, 2)), ((0, 1), (1, 1))}

    def test_attention_is_what_each_block_mixes_its_regions_by(self) -> None:
        stage = scene(self.SMALL)
        images, _ = stage.examples(3)
        found: list[tuple[Tensor, Tensor]] = []
        for block in stage.network.blocks:  # type: ignore[union-attr]
            block.attention.register_forward_hook(lambda _layer, inputs, output: found.append((inputs[0], output)))
        with torch.no_grad():
            stage.network(stage.standardize(images))
        _, graph = stage.network.read(stage.standardize(images))  # type: ignore[operator]
        seen = superpixel_graph.block_attention(stage, images)
        for block, (x, output), mean in zip(stage.network.blocks, found, seen, strict=False):  # type: ignore[arg-type]
            layer = block.attention
            weights = layer.weights(x, graph)
            values = torch.einsum("hdc,nkc->nhkd", layer.weight, x)
            mixed = torch.einsum("nhij,nhjd->nihd", weights, values).flatten(2) + layer.bias
            torch.testing.assert_close(mixed, output)
            torch.testing.assert_close(mean, weights.mean(1))
            torch.testing.assert_close(mean.sum(2), torch.ones(mean.shape[:2]))

    def test_a_line_is_as_wide_as_the_attention_to_each_neighbour(self) -> None:
        stage = scene(self.SMALL)
        axes = superpixel_graph.attention(stage).axes[0]
        images, _ = stage.examples(superpixel_graph.IMAGES)
        known, _ = stage.network.read(stage.standardize(images))  # type: ignore[operator]
        seen = superpixel_graph.block_attention(stage, images)
        boxes = [item.get_extent() for item in axes.images][len(images) :]
        drawn = {tuple(np.asarray(line.get_xydata())[-1].round(4)): line.get_linewidth() for line in axes.lines}
        for weights, places in ((seen[0], boxes[:6]), (seen[1], boxes[6:])):
            chosen = superpixel_graph.choose(known, seen[0] > 0, 1)
            for index, (left, right, bottom, top) in enumerate(places):
                node = int(chosen[index, 1])  # its lines are drawn last
                for other in range(weights.shape[1]):
                    row, column = ((known[index, other, 1:3] + 1) / 2).tolist()
                    end = round(left + column * (right - left), 4), round(top - row * (top - bottom), 4)
                    if other != node and weights[index, node, other] > 0:
                        assert drawn[end] == pytest.approx(
                            superpixel_graph.WIDEST * float(weights[index, node, other]), rel=1e-4
                        )

    def test_the_largest_and_the_most_different_are_chosen(self) -> None:
        known = torch.zeros(1, 4, 7)
        known[0, :, 0] = torch.tensor([0.0, 0.1, 0.9, 0.2])  # intensity
        known[0, :, -1] = torch.tensor([1.0, 2.0, 0.5, 0.5])  # area
        joined = torch.ones(1, 4, 4, dtype=torch.bool)
        assert superpixel_graph.choose(known, joined, 1).tolist() == [[1, 2]]


class TestCapsules:
    @pytest.mark.parametrize("routing", ["agreement", "attention"])
    def test_what_is_shown_is_what_the_decoder_gives(self, routing: Literal["agreement", "attention"]) -> None:
        stage = scene(CapsNetRecipe(filters=8, routing=routing, hidden=(16,)))
        images, labels = stage.examples(capsnet.IMAGES)
        network = stage.network.train()
        with torch.no_grad():
            network(stage.standardize(images))
            targets = torch.eye(10)[labels]
            expected = network.reconstruct(network.capsules, targets).view(-1, 28, 28)  # type: ignore[operator]
        network.eval()
        drawn = torch.stack(shown(capsnet.reconstructions(stage)))
        torch.testing.assert_close(drawn[: capsnet.IMAGES], images[:, 0])
        torch.testing.assert_close(drawn[capsnet.IMAGES :], expected)

    def test_the_middle_of_every_row_is_the_capsule_unmoved(self) -> None:
        stage = scene(CapsNetRecipe(filters=8, hidden=(16,)))
        drawn = torch.stack(shown(capsnet.dimensions(stage))).view(16, 11, 28, 28)
        torch.testing.assert_close(drawn[:, 5], drawn[:1, 5].expand(16, -1, -1))
        assert (drawn[:, 0] - drawn[:, 5]).abs().amax((1, 2)).min() > 0


class TestDropConnect:
    def test_masks_and_gaussians_have_the_same_mean_and_spread_before_the_relu(self) -> None:
        stage = scene(DropConnectRecipe(filters=(4, 4), hidden=8, samples=8))
        layer = stage.network.dropconnect
        x = torch.rand(1, layer.linear.in_features)  # type: ignore[union-attr, arg-type]
        mean, variance = layer.moments(x)  # type: ignore[operator, union-attr]
        keep = torch.rand(4000, *layer.linear.weight.shape) < 0.5  # type: ignore[union-attr]
        sums = torch.einsum("dji,ji,i->dj", keep.float(), layer.linear.weight, x[0])  # type: ignore[union-attr]
        torch.testing.assert_close(sums.mean(0), mean[0], atol=0.05, rtol=0.05)
        torch.testing.assert_close(sums.var(0), variance[0], atol=0.02, rtol=0.1)

    def test_both_histograms_hold_every_draw(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(dropconnect, "DRAWS", 130)
        stage = scene(DropConnectRecipe(filters=(4, 4), hidden=8, samples=8))
        panel = dropconnect.masks(stage).axes[1]
        bars = [patch.get_height() for patch in panel.patches if hasattr(patch, "get_height")]
        assert sum(bars) == 130
        probabilities = dropconnect.masked_draws(stage.network, torch.rand(1, 1, 28, 28), 130)  # type: ignore[arg-type]
        assert probabilities.shape == (130, 10)
        torch.testing.assert_close(probabilities.sum(1), torch.ones(130))


class TestBoltzmann:
    def test_the_visible_biases_make_the_mean_reconstruction_the_mean_image(self) -> None:
        stage = scene(DBNRecipe(hidden=(50, 20)))
        stage = Scene(Standardize(0.0, 1.0), stage.network, stage.validation, NAMES)  # type: ignore[arg-type]
        machine = dbn.first_machine(stage)
        visible = as_floats(stage.validation.images).flatten(1)
        reconstructed = machine.visible(machine.hidden(visible))
        torch.testing.assert_close(reconstructed.mean(0), visible.mean(0), atol=1e-5, rtol=0)

    def test_errors_are_those_that_the_run_noted(self, tmp_path: Path, tiny_folder: Path) -> None:
        recipe = Recipe(
            name="tiny",
            epochs=1,
            model=DBNRecipe(hidden=(12, 6)),
            warm_start="contrastive-divergence",
            pretraining=PretrainingRecipe(epochs=3),
            data=DataRecipe(source="tiny"),
        )
        modiste.train(recipe, tmp_path / "run", data_folder=tiny_folder)
        run = open_run(tmp_path / "run")
        figure = dbn.errors(scene_of(run, load_own_development(run, tiny_folder)))
        assert figure is not None
        check_legible(figure)
        noted = [[row.value for row in run.pretraining() if row.part == part] for part in ("layer 1", "layer 2")]
        assert [np.asarray(line.get_ydata()).tolist() for line in figure.axes[0].lines] == noted
        assert [np.asarray(line.get_xdata()).tolist() for line in figure.axes[0].lines] == [[1, 2, 3]] * 2

    def test_without_such_rows_there_is_nothing_to_draw(self) -> None:
        stage = scene(DBNRecipe(hidden=(50, 20)))
        assert dbn.errors(stage) is None
        other = PretrainingRow(part="encoder", epoch=1, quantity="contrastive loss", value=2.0)
        assert dbn.errors(replace(stage, pretraining=(other,))) is None


class TestWeightsAndMaps:
    def test_a_perceptrons_picture_is_its_weights(self) -> None:
        stage = scene(MLPRecipe())
        weight = stage.network.head.weight.detach()  # type: ignore[union-attr]
        drawn = torch.stack(shown(cnn.weights(stage))).flatten(1)
        scaled = (weight / weight.abs().flatten().quantile(0.99)).clamp(-1, 1)  # type: ignore[operator]
        torch.testing.assert_close(drawn, scaled)
        assert set(NAMES) <= set(written(cnn.weights(stage)))

    def test_maps_are_what_the_convolutions_pass_on(self) -> None:
        stage = scene(CNNRecipe(filters=(4, 6), pools=1, hidden=(8,)))
        images = as_floats(stage.validation.images[:2])
        maps = cnn.stage_maps(stage, images)
        assert [tuple(item.shape) for item in maps] == [(2, 4, 14, 14), (2, 6, 14, 14)]
        torch.testing.assert_close(maps[-1], stage.network.convolutions(stage.standardize(images)))  # type: ignore[operator]

    def test_evidence_averages_to_the_logit_beyond_the_mean_logit(self) -> None:
        stage = scene(ResNetRecipe(depth=10))
        network = stage.network
        pixels = stage.standardize(as_floats(stage.validation.images[:4]))
        with torch.no_grad():
            final = torch.relu(network.norm(stages.stage_outputs(network, pixels)[-1]))  # type: ignore[operator, arg-type]
            logits = network(pixels)
            classes = torch.tensor([0, 3, 5, 9])
            places = evidence(final, network.head, classes).mean((1, 2, 3))  # type: ignore[arg-type]
        torch.testing.assert_close(places, logits[range(4), classes] - logits.mean(1))  # biases are zero when fresh

    def test_a_silent_branch_changes_answers_as_zeros_in_its_place_do(self) -> None:
        stage = scene(InceptionRecipe(width=8))
        pixels = stage.standardize(as_floats(stage.validation.images[:30]))
        shares = inception.changed_predictions(stage.network, pixels)  # type: ignore[arg-type]
        branch = stage.network.features[2].branches[1]  # type: ignore[index, union-attr]
        with torch.no_grad():
            usual = stage.network(pixels).argmax(1)
            hook = branch.register_forward_hook(lambda _layer, _inputs, output: torch.zeros_like(output))
            changed = stage.network(pixels).argmax(1)
            hook.remove()
        assert shares.shape == (4, 4)
        assert float(shares[0, 1]) == pytest.approx(float((usual != changed).float().mean()))
