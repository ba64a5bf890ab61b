"""Real Keras 3, the paper's own library, as an independent judge of its two networks and of their training."""

import tempfile
from dataclasses import replace

import numpy as np
import pytest
import torch

from fault_counter import slow_case
from modiste import machine
from modiste.data.batch import Batch, as_floats, as_targets
from modiste.data.dataset import load_development
from modiste.models.registry import Task, build_model, count_parameters
from modiste.recipes import named
from modiste.training.state import new_training_state
from modiste.training.step import train_step
from networks import assert_rounded

with tempfile.TemporaryDirectory() as home, pytest.MonkeyPatch.context() as variables:
    variables.setenv("KERAS_HOME", home)  # else Keras reads the user's settings, or writes some
    variables.setenv("KERAS_BACKEND", "torch")
    import keras
    from keras.src.backend.common import dtypes

TASK = Task(image_shape=(1, 28, 28), class_names=tuple("0123456789"))
SEED = 1


def listing_1(*, dropout: float) -> keras.Sequential:
    """The paper's Listing 1, word for word but for the way the input's shape is given."""
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            keras.layers.Conv2D(32, (3, 3), padding="same", activation="relu"),
            keras.layers.MaxPooling2D(2, 2),
            keras.layers.Conv2D(64, (3, 3), padding="same", activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(128, (3, 3), padding="same", activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(128, activation="relu"),
            keras.layers.Dropout(dropout),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )


def prose(*, dropout: float) -> keras.Sequential:
    """The network that the paper's section 5 describes in words."""
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            keras.layers.Conv2D(64, (2, 2), padding="same", activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(32, (2, 2), padding="same", activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(256, activation="relu"),
            keras.layers.Dropout(dropout),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )


WITNESSES = {"paper": (listing_1, 896_906), "paper-text": (prose, 412_778)}


def copy_weights(source: torch.nn.Module, witness: keras.Sequential) -> None:
    """Give Keras our weights: kernels as (height, width, in, out), flattened maps in (height, width, channel) order."""
    weights = [parameter.detach().numpy() for parameter in source.parameters()]
    converted = []
    for weight, target in zip(weights, witness.get_weights(), strict=True):
        if weight.ndim == 4:
            converted.append(weight.transpose(2, 3, 1, 0))
        elif weight.ndim == 2 and weight.shape[1] % 49 == 0:
            channels = weight.shape[1] // 49
            converted.append(weight.reshape(-1, channels, 7, 7).transpose(2, 3, 1, 0).reshape(target.shape))
        else:
            converted.append(weight.T)
    witness.set_weights(converted)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return load_development().train.images[:2560]


@pytest.mark.parametrize("name", WITNESSES)
def test_same_number_of_parameters(name):
    make, count = WITNESSES[name]
    model = build_model(named.get(name).model, TASK)
    assert count_parameters(model) == make(dropout=0.5).count_params() == count


@pytest.mark.parametrize("name", WITNESSES)
def test_same_weights_give_the_same_answers(name, images):
    model = build_model(named.get(name).model, TASK, seed=SEED).eval()
    witness = WITNESSES[name][0](dropout=0.5)
    copy_weights(model, witness)
    batch = as_floats(images[:256])
    with torch.no_grad():
        ours = model(batch)
    witness.layers[-1].activation = keras.activations.linear  # logits in place of probabilities
    theirs = witness.predict(batch.permute(0, 2, 3, 1).numpy(), verbose=0)
    assert_rounded(torch.from_numpy(theirs), ours, model)


@pytest.mark.parametrize("name", WITNESSES)
def test_same_initial_distribution(name):
    """Glorot's limits and zero biases, layer by layer."""
    model = build_model(named.get(name).model, TASK, seed=SEED)
    witness = WITNESSES[name][0](dropout=0.5)
    for ours, theirs in zip(model.parameters(), witness.get_weights(), strict=True):
        if ours.ndim == 1:
            assert ours.abs().max() == theirs.max() == 0
        else:
            assert ours.abs().max().item() == pytest.approx(np.abs(theirs).max(), rel=0.1)
            assert ours.std().item() == pytest.approx(theirs.std(), rel=0.15)


@pytest.fixture
def double_precision(monkeypatch: pytest.MonkeyPatch):
    """Keras in double precision; left alone, it multiplies and adds such tensors in single."""
    single = dtypes.result_type
    monkeypatch.setattr(
        dtypes,
        "result_type",
        lambda *kinds: "float64" if torch.float64 in kinds or "float64" in kinds else single(*kinds),
    )
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize(("name", "steps"), [("paper-text", 6), slow_case("paper-text", 20), slow_case("paper", 20)])
def test_the_same_steps_give_the_same_losses(name, steps, images):
    """In double precision: in single, rounding alone grows tenfold every four steps of Adam and passes 1e-4.

    Noise on the images leaves no ties in max-pooling, which rounding would break otherwise in each of the two.
    """
    recipe = named.get(name)
    recipe = replace(recipe, model=replace(recipe.model, dropout=0.0))
    model = build_model(recipe.model, TASK, seed=SEED).double()
    witness = WITNESSES[name][0](dropout=0.0)
    copy_weights(model, witness)
    witness.compile(optimizer=keras.optimizers.Adam(0.001), loss="categorical_crossentropy")
    labels = load_development().train.labels[:2560]
    learner = new_training_state(model, recipe)
    noise = 0.1 * torch.rand(images.shape, dtype=torch.float64, generator=machine.generator(0, "noise"))
    for step in range(steps):
        part = slice(step * 128, (step + 1) * 128)
        batch = Batch(as_floats(images[part]) + noise[part], as_targets(labels[part], 10, 0.0).double())
        before = learner.loss_sum
        train_step(learner, batch, recipe)
        ours = (learner.loss_sum - before) / 128
        theirs = witness.train_on_batch(batch.images.permute(0, 2, 3, 1).numpy(), batch.targets.numpy())
        assert ours == pytest.approx(float(theirs), abs=1e-9), f"step {step}"


def test_generator_is_the_only_randomness():
    """Building a model leaves torch's global generator as it was."""
    before = torch.random.get_rng_state()
    build_model(named.get("paper").model, TASK, seed=1)
    assert torch.equal(before, torch.random.get_rng_state())
    assert machine.seed_for(1, "order", 2) == machine.seed_for(1, "order", 2)
