"""The scikit-learn classifier: scikit-learn's own checks, its tools, and samples in every form."""

import copy
import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils.estimator_checks import check_estimator
from sklearn.utils.validation import check_is_fitted

import modiste
from listeners import AskToStop
from modiste.errors import RecipeError
from modiste.recipes.networks import MLPRecipe, ResNetRecipe
from modiste.recipes.recipe import OptimizerRecipe
from modiste.sklearn import ModisteClassifier
from modiste.sklearn.estimator import _with_batches
from modiste.sklearn.pixels import Pixels

ROWS, LABELS = load_digits(return_X_y=True)
TRAIN, REST = slice(0, 600), slice(600, 1000)


def small(**fields: Any) -> ModisteClassifier:
    return ModisteClassifier("mlp", device="cpu", **{"epochs": 1} | fields)


@pytest.fixture(scope="module")
def fitted() -> ModisteClassifier:
    return small().fit(ROWS[TRAIN], LABELS[TRAIN])


@pytest.mark.slow
@pytest.mark.usefixtures("without_type_checks")  # scikit-learn hands wrong types on purpose
@pytest.mark.filterwarnings("ignore")
def test_scikit_learns_checks_find_nothing() -> None:
    check_estimator(ModisteClassifier(device="cpu"), on_skip=None)


def test_rows_are_learnt(fitted: ModisteClassifier) -> None:
    assert fitted.score(ROWS[REST], LABELS[REST]) > 0.8
    assert fitted.history_[-1].validation_accuracy == fitted.validation_accuracy_
    assert fitted.n_features_in_ == 64


@pytest.mark.parametrize(
    "form",
    [
        lambda rows: rows.reshape(-1, 8, 8),
        lambda rows: rows.reshape(-1, 8, 8, 1),
        lambda rows: rows.reshape(-1, 1, 8, 8),
        lambda rows: rows.reshape(-1, 8, 8).astype(np.uint8),
        lambda rows: rows.tolist(),
        lambda rows: rows.astype(np.float32),
    ],
    ids=["(N, H, W)", "(N, H, W, C)", "(N, C, H, W)", "bytes", "lists", "float32"],
)
def test_every_form_of_the_same_images_gives_the_same_answers(form: Any, fitted: ModisteClassifier) -> None:
    other = small().fit(form(ROWS[TRAIN]), LABELS[TRAIN])
    assert np.array_equal(other.predict_proba(form(ROWS[REST])), fitted.predict_proba(ROWS[REST]))


def test_labels_as_text_and_a_data_frame_as_openml_gives_it(fitted: ModisteClassifier) -> None:
    frame = pd.DataFrame(ROWS, columns=[f"pixel{number}" for number in range(1, 65)])
    names = pd.Series(LABELS).map(lambda label: f"digit {label}").astype("category")
    model = small().fit(frame[TRAIN], names[TRAIN])
    assert list(model.feature_names_in_) == list(frame.columns)
    assert list(model.classes_) == [f"digit {label}" for label in range(10)]
    assert [name[-1] for name in model.predict(frame[REST])] == [str(one) for one in fitted.predict(ROWS[REST])]


def test_the_order_of_the_samples_does_not_matter(fitted: ModisteClassifier) -> None:
    order = np.random.default_rng(0).permutation(600)
    other = small().fit(ROWS[TRAIN][order], LABELS[TRAIN][order])
    assert np.array_equal(other.predict_proba(ROWS[REST]), fitted.predict_proba(ROWS[REST]))


def test_a_pickled_model_answers_the_same(fitted: ModisteClassifier) -> None:
    stored = pickle.dumps(fitted)
    assert np.array_equal(pickle.loads(stored).predict_proba(ROWS[REST]), fitted.predict_proba(ROWS[REST]))


def test_a_model_of_a_device_that_is_missing_is_unpickled_and_answers_on_another(fitted: ModisteClassifier) -> None:
    elsewhere = copy.copy(fitted).set_params(device="cuda:99")
    model = pickle.loads(pickle.dumps(elsewhere))
    check_is_fitted(model)
    with pytest.raises(ValueError, match="cuda:99"):
        model.predict(ROWS[REST])
    assert np.array_equal(model.set_params(device="cpu").predict(ROWS[REST]), fitted.predict(ROWS[REST]))


def test_a_failed_fit_leaves_no_model() -> None:
    model = small().fit(ROWS[:100], LABELS[:100])
    with pytest.raises(ValueError, match="epochs"):
        model.set_params(epochs=0).fit(ROWS[:100], LABELS[:100] > 4)
    with pytest.raises(NotFittedError):
        model.predict(ROWS[:1])
    for one in (model, pickle.loads(pickle.dumps(model))):
        with pytest.raises(NotFittedError):
            check_is_fitted(one)


def test_samples_that_cannot_be_divided_are_a_value_error() -> None:
    with pytest.raises(ValueError, match=r"^validation_fraction: expected a share of 100 samples .*, found 0\.001$"):
        small(validation_fraction=0.001).fit(ROWS[:100], LABELS[:100])


def test_one_image_without_its_first_axis_is_refused() -> None:
    images = ROWS[:100].reshape(-1, 8, 8)
    model = small().fit(images, LABELS[:100])
    with pytest.raises(ValueError, match=r"^X: expected samples of shape \(8, 8\), as in training; found .*\(8, 8\)$"):
        model.predict(images[0])


class TestParameters:
    def test_fields_are_parameters(self) -> None:
        model = small(optimizer__learning_rate=0.25)
        assert model.get_params()["optimizer__learning_rate"] == 0.25
        assert clone(model).get_params() == model.get_params()
        assert model.set_params(label_smoothing=0.5, recipe="sprint").get_params()["label_smoothing"] == 0.5

    @pytest.mark.parametrize("name", ["learning_rat", "optimizer__lr", "recipes"])
    def test_an_unknown_name(self, name: str) -> None:
        with pytest.raises(ValueError, match=f"^{name}: no parameter of ModisteClassifier; "):
            small().set_params(**{name: 1})

    @pytest.mark.parametrize("part", [OptimizerRecipe(name="sgd"), {"name": "sgd"}], ids=["part", "dictionary"])
    def test_a_whole_part_is_a_parameter(self, part: Any) -> None:
        model = small(optimizer=part)
        assert model.set_params(**model.get_params()).get_params()["optimizer"] == part
        assert clone(small()).set_params(optimizer=part).get_params() == model.get_params()

    def test_the_fields_of_another_network_are_parameters(self) -> None:
        model = ModisteClassifier("sprint", model=ResNetRecipe()).set_params(model__depth=20)
        assert model.get_params()["model__depth"] == 20
        both = ModisteClassifier("sprint").set_params(model=ResNetRecipe(), model__depth=20)
        assert both.get_params() == model.get_params()
        with pytest.raises(ValueError, match=r"^model__dept: no parameter of .*; did you mean 'model\.depth'\?$"):
            model.set_params(model__dept=20)
        with pytest.raises(ValueError, match=r"^model__depth: no parameter of ModisteClassifier; "):
            model.set_params(model=MLPRecipe(), model__depth=20)

    def test_a_whole_part_replaces_the_fields_that_were_set_before(self) -> None:
        model = ModisteClassifier("resnet", epochs=1, model__depth=20, optimizer__name="sgd")
        found = model.set_params(model=MLPRecipe()).get_params()
        assert (found["model"], found["optimizer__name"]) == (MLPRecipe(), "sgd")
        assert "model__depth" not in found

    def test_a_field_counts_within_a_whole_part_in_any_order(self) -> None:
        model = small(model__hidden=(8,), model=MLPRecipe(hidden=(4,), activation="tanh"))
        trained = model.fit(ROWS[:100], LABELS[:100]).recipe_
        assert trained.model == MLPRecipe(hidden=(8,), activation="tanh")

    @pytest.mark.parametrize("name", ["seed", "data__split", "data__repeats"])
    def test_what_fit_sets_itself_is_refused(self, name: str) -> None:
        for use in (lambda: small().set_params(**{name: 1}), lambda: small(**{name: 1}).fit(ROWS[:50], LABELS[:50])):
            with pytest.raises(ValueError, match=f"^{name}: no parameter of ModisteClassifier"):
                use()

    def test_the_precision_is_float32_unless_it_is_set(self, fitted: ModisteClassifier) -> None:
        model = small(precision="bfloat16").fit(ROWS[:100], LABELS[:100])
        assert (fitted.recipe_.precision, model.recipe_.precision) == ("float32", "bfloat16")

    def test_an_impossible_value_is_named_by_fit(self) -> None:
        with pytest.raises(RecipeError, match=r"^label_smoothing: expected from 0 to below 1"):
            small(label_smoothing=2.0).fit(ROWS[TRAIN], LABELS[TRAIN])

    @pytest.mark.parametrize("field", [{"transfer__source": 64 * "0"}, {"distillation__teachers": [64 * "0"]}])
    def test_files_of_runs_are_refused_without_a_word_of_flags(self, field: dict[str, Any]) -> None:
        name = next(iter(field)).replace("__", ".")
        with pytest.raises(RecipeError, match=rf"^{name}: expected .* in a ModisteClassifier, found ") as refused:
            small(**field).fit(ROWS[TRAIN], LABELS[TRAIN])
        assert "--" not in str(refused.value)

    def test_a_field_reaches_the_training(self) -> None:
        model = small(optimizer__learning_rate=0.003, random_state=5).fit(ROWS[:100], LABELS[:100])
        assert (model.recipe_.optimizer.learning_rate, model.recipe_.seed) == (0.003, 5)

    def test_a_numpy_integer_is_the_same_seed(self) -> None:
        assert small(random_state=np.int64(5)).fit(ROWS[:100], LABELS[:100]).recipe_.seed == 5

    def test_a_recipe_object(self, fitted: ModisteClassifier) -> None:
        recipe = modiste.get_recipe("mlp").with_(epochs=1)
        model = ModisteClassifier(recipe, device="cpu").fit(ROWS[TRAIN], LABELS[TRAIN])
        assert np.array_equal(model.predict_proba(ROWS[REST]), fitted.predict_proba(ROWS[REST]))


@pytest.mark.filterwarnings("ignore::UserWarning:joblib")
def test_the_tools_of_scikit_learn() -> None:
    rates = [1e-7, 1e-3]
    search = GridSearchCV(small(), {"optimizer__learning_rate": rates, "label_smoothing": [0.0]}, cv=2)
    search.fit(ROWS[:300], LABELS[:300])
    assert search.best_params_["optimizer__learning_rate"] == 1e-3
    scores = cross_val_score(make_pipeline(MinMaxScaler(), small()), ROWS[:300], LABELS[:300], cv=2)
    assert min(scores) > 0.5


def test_a_request_to_stop_ends_a_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no failed fit, after which scikit-learn would train the others."""
    monkeypatch.setattr("modiste.sklearn.estimator.make_progress", lambda: AskToStop(2))
    search = GridSearchCV(small(verbose=True), {"label_smoothing": [0.0, 0.1]}, cv=2)
    with pytest.raises(KeyboardInterrupt):
        search.fit(ROWS[:100], LABELS[:100])


def test_a_search_over_networks() -> None:
    networks = [MLPRecipe(hidden=(8,)), MLPRecipe(hidden=(16,))]
    search = GridSearchCV(small(), {"model": networks}, cv=2, error_score="raise")
    search.fit(ROWS[:100], LABELS[:100])
    assert search.best_estimator_.recipe_.model == search.best_params_["model"]


@pytest.mark.parametrize("batch_size", [2, 3, 4, 5, 128])
def test_no_batch_holds_a_single_image(batch_size: int) -> None:
    recipe = modiste.get_recipe("mlp").with_(batch_size=batch_size)
    for images in range(2, 60):
        size, wanted = _with_batches(recipe, images).batch_size, min(batch_size, images)
        assert images % size != 1
        assert size > 1
        assert size == wanted or images % wanted == 1


def test_a_recipe_for_single_images_keeps_them() -> None:
    assert _with_batches(modiste.get_recipe("mlp").with_(batch_size=1), 99).batch_size == 1


class TestWeights:
    def test_samples_of_weight_0_do_not_count(self, fitted: ModisteClassifier) -> None:
        """Not even for the range of the pixels, which they would make wider."""
        rows, labels = np.concatenate([ROWS[TRAIN], np.full((5, 64), 200.0)]), np.append(LABELS[TRAIN], [0] * 5)
        weights = np.append(np.ones(600), np.zeros(5))
        model = small().fit(rows, labels, sample_weight=weights)
        assert np.array_equal(model.predict_proba(ROWS[REST]), fitted.predict_proba(ROWS[REST]))

    def test_fractions_decide_between_contradicting_labels(self) -> None:
        """Each sample stands there twice, once with a wrong label; the weights say which to believe."""
        rows, right = np.repeat(ROWS[:300], 2, axis=0), LABELS[:300]
        labels = np.stack([right, (right + 1) % 10], axis=1).ravel()
        weights = np.tile([1.5, 0.25], 300)
        believed = small().fit(rows, labels, sample_weight=weights).predict(ROWS[REST])
        assert np.mean(believed == LABELS[REST]) > 0.7
        reversed_ = small().fit(rows, labels, sample_weight=weights.reshape(-1, 2)[:, ::-1].ravel()).predict(ROWS[REST])
        assert np.mean(reversed_ == (LABELS[REST] + 1) % 10) > 0.7

    def test_a_mixing_recipe_takes_no_fractions(self) -> None:
        weights = np.linspace(0.5, 1.5, 100)
        with pytest.raises(ValueError, match=r"^mlp: mixes images, and a mixture has no weight"):
            small(augmentation__mixup=0.2).fit(ROWS[:100], LABELS[:100], sample_weight=weights)
        small(augmentation__mixup=0.2).fit(ROWS[:100], LABELS[:100], sample_weight=np.ones(100))

    @pytest.mark.parametrize(
        "wrong", [np.zeros(100), -np.ones(100), np.ones(99), np.ones((100, 1)), np.full(100, np.nan), 0]
    )
    def test_what_are_no_weights(self, wrong: Any) -> None:
        with pytest.raises(ValueError, match=r"(?i)weight|nan"):
            small().fit(ROWS[:100], LABELS[:100], sample_weight=wrong)


class TestPixels:
    @pytest.mark.parametrize(
        ("samples", "expected"),
        [
            ([[0, 255], [1, 2]], [[0, 255], [1, 2]]),
            ([[0, 10], [5, 2]], [[0, 255], [128, 51]]),
            ([[0.0, 1.0], [0.2, 0.6]], [[0, 255], [51, 153]]),
            ([[-1.0, 30.0], [1.0, 10.0]], [[0, 255], [255, 0]]),
            ([[5.0, 1.5], [5.0, -1.5]], [[0, 255], [0, 0]]),
        ],
        ids=["bytes", "whole numbers up to ten", "shares", "columns of any range", "a constant column"],
    )
    def test_numbers_become_bytes(self, samples: Any, expected: Any) -> None:
        images = Pixels.learn(np.array(samples)).images(np.array(samples))
        assert images.shape == (2, 1, 12, 12)
        assert images[:, 0, 0, [0, 6]].tolist() == expected
        assert not images[:, 0, 6:].any()

    def test_unseen_numbers_are_cut(self) -> None:
        pixels = Pixels.learn(np.array([[-1.0, 30.0], [1.0, 10.0]]))
        assert pixels.images(np.array([[9.0, -9.0]]))[0, 0, 0, [0, 6]].tolist() == [255, 0]

    def test_large_images_keep_their_size(self) -> None:
        images = np.zeros((3, 28, 30, 3), np.uint8)
        assert Pixels.learn(images).images(images).shape == (3, 3, 28, 30)

    @pytest.mark.parametrize("shape", [(4, 5, 6, 7), (4, 2, 2, 2, 2)])
    def test_what_are_no_images(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(ValueError, match=r"X: expected rows \(N, features\) or images"):
            small().fit(np.zeros(shape), LABELS[:4])
