"""What holds for every network: each named recipe's, and each kind with every activation and normalisation."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from modiste import machine
from modiste.errors import RecipeError
from modiste.evaluation.inference import ask, infer, ready, round_weights
from modiste.models import layers
from modiste.models.cnn import CNN
from modiste.models.layers import ACTIVATIONS, Dropout, Standardize, same_convolution, share_generator
from modiste.models.registry import Task, build_model, count_parameters
from modiste.recipes import named
from modiste.recipes.named import RECIPES
from modiste.recipes.networks import CNNRecipe, MLPRecipe, ModelRecipe
from modiste.recipes.recipe import Recipe
from networks import OF_RECIPES, assert_rounded

FASHION = Task(image_shape=(1, 28, 28), class_names=tuple("0123456789"), mean=0.2860, deviation=0.3530)
COLOUR = Task(image_shape=(3, 32, 32), class_names=("a", "b", "c"), mean=(0.5, 0.4, 0.6), deviation=(0.25, 0.2, 0.3))
WIDE = Task(image_shape=(2, 9, 14), class_names=("a", "b"))
PARAMETERS = {
    "paper": 896_906,
    "paper-text": 412_778,
    "perceptron": 7_850,
    "mlp": 235_146,
    "sprint": 207_098,
    "sprint-93": 412_474,
    "sprint-94": 487_632,
    "sprint-95": 2_061_626,
    "sprint-94-gpu": 487_632,
    "sprint-95-gpu": 5_004_730,
    "sprint-96-gpu": 5_004_730,
    "photo": 487_632,
    "photo-home": 412_474,
    "photo-clothing": 412_474,
    "inception": 206_138,
    "resnet": 695_658,
    "wide-resnet": 5_875_914,
    "dropconnect": 131_050,
    "capsnet": 3_486_352,
    "capsnet-gpu": 8_215_568,
    "patch-graph-gpu": 2_436_922,
    "capsnet-deep": 2_096_688,
    "fashionnet": 1_755_906,
    "patch-graph": 691_498,
    "superpixel-graph": 65_326,
    "dbn": 5_824_522,
    "dbn-frozen": 20_490,
    "simclr": 77_562,
    "backbone-linear": 3_383_242,
    "backbone-tuned": 3_383_242,
    "backbone-tuned-lite2": 4_823_306,
}
SMALL = {
    "cnn": CNNRecipe(filters=(3, 4), pools=1, hidden=(5,), dropout=0.3),
    "mlp": MLPRecipe(hidden=(6, 5), dropout=0.3),
}
MODELS: dict[str, ModelRecipe] = dict(OF_RECIPES)
MODELS |= {
    f"{kind} {activation}{' batch_norm' if normalised else ''}": replace(
        small, activation=activation, batch_norm=normalised
    )  # type: ignore[call-overload]
    for kind, small in SMALL.items()
    for activation in ACTIVATIONS
    for normalised in (False, True)
}
MODELS |= {
    "cnn without dense layers": CNNRecipe(filters=(3,), hidden=(), pools=0),
    "cnn of even kernels": CNNRecipe(filters=(3, 4), kernel_size=4, pools=2, hidden=(5, 6)),
}

every_model = pytest.mark.parametrize("recipe", MODELS.values(), ids=MODELS)
TASKS = {"28x28": FASHION, "3x32x32": COLOUR, "2x9x14": WIDE}
FITTING = {
    f"{name} {size}": (recipe, task)
    for name, recipe in MODELS.items()
    for size, task in TASKS.items()
    if recipe.smallest_side() <= min(task.image_shape[1:])
}
every_model_and_task = pytest.mark.parametrize(("recipe", "task"), FITTING.values(), ids=FITTING)


def task_for(recipe: ModelRecipe) -> Task:
    """The oddest shape that the network can take."""
    return WIDE if recipe.smallest_side() <= min(WIDE.image_shape[1:]) else FASHION


def images_for(task: Task, count: int = 7) -> torch.Tensor:
    return torch.rand(count, *task.image_shape, generator=machine.generator(0, "test images"))


def test_the_stated_parameter_counts() -> None:
    assert {name: count_parameters(build_model(make().model, FASHION)) for name, make in RECIPES.items()} == PARAMETERS


@every_model_and_task
def test_logits_are_finite_and_one_for_every_class(recipe: ModelRecipe, task: Task) -> None:
    model = build_model(recipe, task)
    for mode in (True, False):
        logits = model.train(mode)(images_for(task))
        assert logits.shape == (7, len(task.class_names))
        assert logits.isfinite().all()


@every_model
def test_weights_rounded_once_give_the_logits_of_weights_rounded_in_every_call(recipe: ModelRecipe) -> None:
    task, whole = task_for(recipe), Recipe(name="x", model=recipe, precision="bfloat16")
    model, images = build_model(recipe, task).eval(), (images_for(task) * 255).to(torch.uint8)
    before = ask(model, images, whole)
    round_weights(model, whole, images[:1])
    assert torch.equal(ask(model, images, whole), before)
    assert any(parameter.dtype == torch.bfloat16 for parameter in model.parameters())


@every_model
def test_a_network_made_ready_to_answer_gives_its_own_logits(recipe: ModelRecipe) -> None:
    task, whole = task_for(recipe), Recipe(name="x", model=recipe, precision="float32")
    model, images = build_model(recipe, task), (images_for(task, 20) * 255).to(torch.uint8)
    share_generator(model, machine.generator(0, "dropout"))
    model(images_for(task, 32))  # so that running means are not where they start
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    quick = ready(model, whole, images[:1])
    logits = ask(quick, images, whole)
    assert model.training
    assert_rounded(logits, ask(model.eval(), images, whole), model)
    assert torch.equal(logits, infer(model, images, whole))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


@every_model
def test_the_gradient_reaches_every_parameter(recipe: ModelRecipe) -> None:
    task = task_for(recipe)
    model = build_model(recipe, task)
    share_generator(model, machine.generator(0, "dropout"))
    images, labels = images_for(task, 32), torch.tensor([0, 1] * 16)
    targets = nn.functional.one_hot(labels, len(task.class_names)).float()
    loss = nn.functional.cross_entropy(model(images), targets)
    (loss + layers.auxiliary_loss(model, images, targets)).backward()
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:  # what contrastive divergence alone trains
            continue
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        if ".bias" not in name or not getattr(recipe, "batch_norm", False):  # a bias before batch norm has no effect
            assert parameter.grad.abs().max() > 0, name


class Layouts(TorchDispatchMode):
    """Notes every operation of a backward pass that meets maps channels last and their gradient channels first."""

    def __init__(self) -> None:
        super().__init__()
        self.met: list[str] = []

    def __torch_dispatch__(self, operation, types, arguments=(), options=None):  # type: ignore[no-untyped-def]
        maps = [one for one in arguments if isinstance(one, torch.Tensor) and one.ndim == 4 and 1 not in one.shape[1:]]
        shapes, last = {one.shape for one in maps}, {one.stride(1) == 1 for one in maps}
        if "backward" in str(operation) and len(shapes) == 1 < len(last):
            self.met.append(f"{operation} of {maps[0].shape}")
        return operation(*arguments, **(options or {}))


def test_a_step_in_two_layouts_is_noticed() -> None:
    maps = torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last).requires_grad_()
    with Layouts() as layouts:
        maps.relu().mean((2, 3)).sum().backward()
    assert layouts.met == ["aten.threshold_backward.default of torch.Size([2, 3, 4, 5])"]


@every_model
def test_no_step_meets_two_layouts(recipe: ModelRecipe) -> None:
    """Where a map and its gradient lie in memory differently, a processor takes fifteen times as long."""
    model = build_model(recipe, FASHION)
    share_generator(model, machine.generator(0, "dropout"))
    images = images_for(FASHION).as_strided((7, 1, 28, 28), (784, 1, 28, 1))
    targets = torch.eye(10)[:7]
    with Layouts() as layouts:
        loss = nn.functional.cross_entropy(model(images), targets) + layers.auxiliary_loss(model, images, targets)
        loss.backward()
    assert not layouts.met


@every_model_and_task
def test_one_image_gets_the_answer_that_it_gets_in_a_batch(recipe: ModelRecipe, task: Task) -> None:
    model, images = build_model(recipe, task).eval(), images_for(task)
    together = model(images)
    assert torch.equal(together, model(images)), "evaluation is not deterministic"
    alone = torch.cat([model(image[None]) for image in images])
    assert_rounded(alone, together, model)


@every_model
def test_a_seed_decides_the_weights(recipe: ModelRecipe) -> None:
    one, same, other = (build_model(recipe, task_for(recipe), seed=seed).state_dict() for seed in (5, 5, 6))
    assert all(torch.equal(one[name], same[name]) for name in one)
    constant = ("noise", "position", "prior")  # DropConnect's draws at test time, and what starts at zero
    matrices = [name for name, weight in one.items() if weight.ndim > 1 and not name.endswith(constant)]
    assert matrices
    assert not any(torch.equal(one[name], other[name]) for name in matrices)


@every_model
def test_building_leaves_the_global_generator_alone(recipe: ModelRecipe) -> None:
    before = torch.random.get_rng_state()
    build_model(recipe, task_for(recipe))
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("side", "pools", "fits"), [(28, 4, True), (28, 5, False), (4, 2, True), (4, 3, False), (3, 2, False), (1, 0, True)]
)
def test_images_too_small_for_the_pooling_are_refused(side: int, pools: int, fits: bool) -> None:
    recipe = CNNRecipe(filters=(2,) * 5, pools=pools, hidden=())
    task = replace(FASHION, image_shape=(1, side, 40))
    if fits:
        assert build_model(recipe, task).eval()(images_for(task)).shape == (7, 10)
    else:
        with pytest.raises(
            RecipeError, match=rf"expected images of {2**pools} pixels a side or more for this cnn, found {side};"
        ):
            build_model(recipe, task)


def activate_then_pool(model: nn.Sequential, recipe: CNNRecipe, task: Task) -> nn.Sequential:
    """The same network in the order of the paper's Listing 1, from torch's own layers, sharing the weights."""
    weights = list(model.parameters())
    parts: list[nn.Module] = []

    def take(layer: nn.Module) -> nn.Module:
        layer.weight, layer.bias = nn.Parameter(weights.pop(0).detach()), nn.Parameter(weights.pop(0).detach())
        return layer

    for index, (inputs, outputs) in enumerate(pairwise((task.image_shape[0], *recipe.filters))):
        parts += [
            take(nn.Conv2d(inputs, outputs, recipe.kernel_size, padding="same")),
            ACTIVATIONS[recipe.activation](),
        ]
        parts += [nn.MaxPool2d(2)] if index < recipe.pools else []
    features = recipe.filters[-1] * (task.image_shape[1] >> recipe.pools) * (task.image_shape[2] >> recipe.pools)
    parts.append(nn.Flatten())
    for inputs, outputs in pairwise((features, *recipe.hidden)):
        parts += [take(nn.Linear(inputs, outputs)), ACTIVATIONS[recipe.activation]()]
    return nn.Sequential(*parts, take(nn.Linear((features, *recipe.hidden)[-1], len(task.class_names))))


@pytest.mark.parametrize("activation", [*ACTIVATIONS, "gelu"])
def test_pooling_comes_first_only_where_the_largest_stays_the_largest(
    activation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ACTIVATIONS, "gelu", nn.GELU)
    values = torch.linspace(-8, 8, 10_001, dtype=torch.float64)
    non_decreasing = bool((ACTIVATIONS[activation]()(values).diff() >= 0).all())
    assert (activation in layers.NON_DECREASING) == non_decreasing
    recipe = CNNRecipe(filters=(3, 4), pools=2)
    object.__setattr__(recipe, "activation", activation)  # no recipe may name the activation that can decrease
    network = CNN(recipe, image_shape=(1, 8, 8), classes=2)
    kinds = [type(layer) for layer in network.convolutions]
    pooled = [layers.MaxPool, ACTIVATIONS[activation]]
    assert kinds == [nn.Conv2d, *(pooled if non_decreasing else pooled[::-1])] * 2


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_pooling_before_the_activation_changes_nothing(activation: str) -> None:
    recipe = CNNRecipe(filters=(4, 5, 6), pools=2, hidden=(7,), dropout=0.0, activation=activation)  # type: ignore[arg-type]
    model = build_model(recipe, replace(FASHION, mean=0.0, deviation=1.0)).double()
    reference = activate_then_pool(model, recipe, FASHION)
    images = images_for(FASHION, 16).double()
    targets = torch.arange(16) % 10
    torch.testing.assert_close(model(images), reference(images), rtol=1e-12, atol=1e-12)
    for network in (model, reference):
        nn.functional.cross_entropy(network(images), targets).backward()
    for (name, ours), theirs in zip(model.named_parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-10, atol=1e-12, msg=name)


@pytest.mark.parametrize("kernel_size", [1, 2, 3, 4, 5, 6])
def test_a_same_convolution_is_as_keras_and_torch_pad(kernel_size: int) -> None:
    """Torch pads even kernels as Keras does, with a warning about its speed."""
    ours = nn.Sequential(*same_convolution(2, 3, kernel_size))
    images = torch.rand(2, 2, 7, 9)
    convolution = ours[-1]
    before, after = (kernel_size - 1) // 2, kernel_size // 2
    padded = nn.functional.pad(images, (before, after, before, after))
    assert isinstance(convolution, nn.Conv2d)
    expected = nn.functional.conv2d(padded, convolution.weight, convolution.bias)
    assert ours(images).shape == (2, 3, 7, 9)
    torch.testing.assert_close(ours(images), expected)


def test_glorot_limits_and_zero_biases() -> None:
    model = build_model(RECIPES["paper"]().model, FASHION)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            area = layer.weight[0, 0].numel() if layer.weight.ndim == 4 else 1
            limit = (6 / (area * (layer.weight.shape[0] + layer.weight.shape[1]))) ** 0.5
            assert limit * 0.95 < layer.weight.abs().max().item() <= limit
            assert layer.bias is not None
            assert not layer.bias.any()


def test_standardize_is_part_of_the_weights() -> None:
    model = build_model(MLPRecipe(), FASHION)
    images = images_for(FASHION)
    expected = (images.double() - 0.2860) / 0.3530
    torch.testing.assert_close(model[0](images).double(), expected, rtol=1e-5, atol=1e-6)
    stored = model.state_dict()
    assert stored["standardize.mean"].item() == pytest.approx(0.2860)
    assert stored["standardize.deviation"].item() == pytest.approx(0.3530)
    assert torch.equal(Standardize(0.0, 1.0)(images), images)


class TestDropout:
    def test_the_mean_is_preserved_and_the_share_is_right(self) -> None:
        layer = Dropout(0.3)
        layer.generator = machine.generator(0, "dropout")
        dropped = layer(torch.ones(1000, 1000))
        assert dropped.mean().item() == pytest.approx(1, abs=0.003)  # 4.6 standard deviations
        assert (dropped == 0).double().mean().item() == pytest.approx(0.3, abs=0.002)
        assert dropped.unique().tolist() == pytest.approx([0, 1 / 0.7])

    def test_it_depends_on_the_generator_alone(self) -> None:
        layer, ones = Dropout(0.5), torch.ones(50, 50)
        masks = []
        for seed, disturbance in ((1, 0), (1, 9), (2, 0)):
            torch.manual_seed(disturbance)
            layer.generator = torch.Generator().manual_seed(seed)
            state = torch.random.get_rng_state()
            masks.append(layer(ones))
            assert torch.equal(state, torch.random.get_rng_state())
        assert torch.equal(masks[0], masks[1])
        assert not torch.equal(masks[0], masks[2])

    def test_it_does_nothing_when_evaluating_or_at_rate_zero(self) -> None:
        values = torch.rand(5, 5)
        assert torch.equal(Dropout(0.5).eval()(values), values)
        assert torch.equal(Dropout(0.0).train()(values), values)

    @every_model
    def test_every_network_draws_from_the_shared_generator_alone(self, recipe: ModelRecipe) -> None:
        task = task_for(recipe)
        model, images = build_model(recipe, task).train(), images_for(task)
        generator = torch.Generator()
        share_generator(model, generator)
        answers = []
        for seed, disturbance in ((1, 0), (1, 9)):
            torch.manual_seed(disturbance)
            generator.manual_seed(seed)
            answers.append(model(images))
        assert torch.equal(*answers)


def test_no_network_uses_a_dropout_of_torch() -> None:
    for recipe in MODELS.values():
        for layer in build_model(recipe, task_for(recipe)).modules():
            assert not isinstance(layer, nn.modules.dropout._DropoutNd)


def test_no_network_uses_a_batch_normalisation_of_torch() -> None:
    for recipe in MODELS.values():
        for layer in build_model(recipe, task_for(recipe)).modules():
            assert isinstance(layer, layers.BatchNorm) or not isinstance(layer, nn.modules.batchnorm._BatchNorm)


class TestBatchNorm:
    @pytest.mark.parametrize("momentum", [0.01, 0.3, 1.0])
    def test_running_statistics_hold_nothing_of_their_start(self, momentum: float) -> None:
        layer, draw = layers.BatchNorm2d(3, momentum=momentum), torch.Generator().manual_seed(1)
        batches = [torch.rand(6, 3, 4, 4, generator=draw) * (5 + number) + 2 for number in range(7)]
        for batch in batches:
            layer(batch)
        shares = [momentum * (1 - momentum) ** age for age in reversed(range(7))]
        for running, of_batches in (
            (layer.running_mean, [batch.mean((0, 2, 3)) for batch in batches]),
            (layer.running_var, [batch.transpose(0, 1).flatten(1).var(1) for batch in batches]),
        ):
            expected = sum(share * value for share, value in zip(shares, of_batches, strict=True)) / sum(shares)
            torch.testing.assert_close(running, expected)

    @pytest.mark.parametrize(("momentum", "batches"), [(0.01, 4000), (0.1, 400), (0.3, 200)])
    def test_after_many_batches_it_is_torchs_to_the_last_bit(self, momentum: float, batches: int) -> None:
        ours, theirs = layers.BatchNorm1d(5, momentum=momentum), nn.BatchNorm1d(5, momentum=momentum)
        for layer in (ours, theirs):
            layer.num_batches_tracked.fill_(batches)
            for row in torch.rand(9, 16, 5, generator=torch.Generator().manual_seed(2)):
                layer(row)
        assert ours.share() == momentum
        for (name, tensor), its in zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True):
            assert torch.equal(tensor, its), name

    def test_epsilon_is_that_of_keras(self) -> None:
        model = build_model(CNNRecipe(batch_norm=True), FASHION)
        assert {layer.eps for layer in model.modules() if isinstance(layer, layers.BatchNorm)} == {1e-3}

    def test_a_training_batch_is_normalised_as_by_torch(self) -> None:
        ours, theirs = layers.BatchNorm2d(3), nn.BatchNorm2d(3)
        images = torch.rand(4, 3, 5, 5)
        assert torch.equal(ours(images), theirs(images))
        with pytest.raises(ValueError, match="expected 4 axes, found 3"):
            ours(images[0])

    def test_a_tensor_for_the_share_gives_what_a_number_gives(self) -> None:
        """As on a GPU, where the share is a tensor."""

        class OnGPU(layers.BatchNorm1d):
            def share(self) -> torch.Tensor:
                return self.momentum / (1 - (1 - self.momentum) ** self.num_batches_tracked.double())

        one, other = layers.BatchNorm1d(5, momentum=0.3), OnGPU(5, momentum=0.3)
        for row in torch.rand(60, 16, 5, generator=torch.Generator().manual_seed(2)):
            assert torch.equal(one(row), other(row))
            torch.testing.assert_close(one.running_mean, other.running_mean)
            torch.testing.assert_close(one.running_var, other.running_var)
        assert other.num_batches_tracked == 60

    def test_statistics_without_a_count_are_not_taken_for_a_start(self) -> None:
        """As a file from elsewhere has them; fresh ones stay fresh."""
        layer, fresh = layers.BatchNorm1d(2, momentum=0.1), layers.BatchNorm1d(2)
        layer.running_mean.fill_(5)
        layers.keep_uncounted(nn.Sequential(layer, fresh))
        layer(torch.tensor([[1.0, 1.0], [3.0, 3.0]]))
        torch.testing.assert_close(layer.running_mean, torch.tensor([4.7, 4.7]))
        assert fresh.num_batches_tracked == 0

    @every_model
    def test_a_network_evaluated_after_one_batch_knows_that_batch(self, recipe: ModelRecipe) -> None:
        model, images = build_model(recipe, task_for(recipe)).train(), images_for(task_for(recipe), 16)
        share_generator(model, machine.generator(0, "dropout"))
        model(images)
        for name, layer in model.named_modules():
            if isinstance(layer, layers.BatchNorm):
                assert layer.num_batches_tracked == 1, name
                assert not (layer.running_var == 1).any(), name


def test_a_network_is_channels_last_and_that_changes_no_value() -> None:
    recipe = named.paper().model
    model, images = build_model(recipe, FASHION).eval(), images_for(FASHION)
    plain = build_model(recipe, FASHION).eval().to(memory_format=torch.contiguous_format)
    assert all(layouts := are_channels_last(model))
    assert layouts
    assert not all(are_channels_last(plain))
    assert_rounded(model(images), plain(images), model)


def are_channels_last(model: nn.Module) -> list[bool]:
    """Tell it of each parameter with four axes."""
    kernels = [parameter for parameter in model.parameters() if parameter.ndim == 4]
    return [kernel.is_contiguous(memory_format=torch.channels_last) for kernel in kernels]
