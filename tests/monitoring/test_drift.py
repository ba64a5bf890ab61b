"""Drift is found where it is, and seldom where it is not; a result says what, how sure and what to do."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from drawn_answers import NAMES, answers, reference

import modiste
from modiste.cli import main
from modiste.errors import DataError, RecipeError, RunError
from modiste.inference.onnx_model import OnnxModel
from modiste.monitoring.answer_log import AnswerLog, LoggedAnswers, _Found, identity
from modiste.monitoring.drift import Drift, answers_needed, compare
from modiste.monitoring.reference import KEY, QUANTILES, Reference, of_model
from modiste.runs import manifest

WEEKS = 100


def found_in(weeks: Callable[[int], LoggedAnswers]) -> list[Drift]:
    return [compare(reference(1000 + week), weeks(week), NAMES) for week in range(WEEKS)]


def test_unchanged_weeks_are_left_alone() -> None:
    """Each with a reference of its own; 1 in 100 is expected at most, and one of a thousand such tests would have 5."""
    found = found_in(lambda week: answers(1000, week))
    assert sum(one.state == "drift" for one in found) <= 4
    assert {one.state for one in found} <= {"drift", "no drift"}
    assert "no drift found; a difference of 6.5 points would have been" in found[0].verdict


@pytest.mark.parametrize(
    ("change", "quantity"),
    [({"lower": 0.08}, "confidence"), ({"higher": 0.15}, "novelty"), ({"bags": 0.45}, "classes")],
)
def test_changed_weeks_are_found(change: dict[str, float], quantity: str) -> None:
    found = found_in(lambda week: answers(1000, week, **change))
    assert sum([one.name for one in found_one.drifted] == [quantity] for found_one in found) >= 95
    assert quantity in found[0].verdict


def test_a_small_difference_of_many_answers_is_no_drift() -> None:
    found = compare(reference(1, 200_000), answers(200_000, 2, higher=0.008), NAMES)
    (shift,) = [one for one in found.shifts if one.name == "novelty"]
    assert shift.is_significant
    assert found.state == "no drift"
    assert "novelty differ, but too little to matter" in found.verdict
    assert "no drift found; a difference of 5.0 points would have been" in found.verdict  # not the 0.9 that chance has


def test_too_few_answers_are_said_with_the_number_that_it_takes() -> None:
    for number in (1, 29, 30, 200):
        found = compare(reference(1), answers(number, 2), NAMES)
        assert found.state == "too few answers"
        assert f"{number} so far, about {answers_needed(3000, 4, 3)} are needed" in found.verdict
        assert len(found.shifts) == (0 if number < 30 else 3)
    assert compare(reference(1), answers(answers_needed(3000, 4, 3), 2), NAMES).state == "no drift"
    assert compare(reference(1), answers(60, 2, higher=1.0), NAMES).state == "drift"  # few, and yet clear


def test_a_rare_class_among_few_answers_is_no_drift() -> None:
    """One image in 3,000 had the class: 60 answers with one of it once counted as less than one log in 1,000."""
    known, seen = reference(1), answers(60, 2)
    few = replace(known, classes=(999, 1000, 1000, 1))
    found = compare(few, replace(seen, classes=np.array([0] * 20 + [1] * 20 + [2] * 19 + [3])), NAMES)
    assert found.state == "too few answers"
    assert found.shifts[0].p_value > 0.5


def test_a_log_with_numbers_beyond_floats_is_damaged_there() -> None:
    found = _Found(2, has_novelty=True)
    endless = "1" + "0" * 400
    for line in (f'[{endless},0],"novelty":0.1', f'[1,0],"novelty":{endless}', '[1,0],"novelty":0.1'):
        found.add(f'{{"model":"m","probabilities":{line}}}'.encode(), "m", "2026-11-01")
    assert (found.rows, found.damaged) == ([(0, 1.0, 0.1)], 2)


def test_a_log_with_shares_whose_sum_overflows_is_damaged_there() -> None:
    found = _Found(3, has_novelty=False)
    for line in ("[1e308,1e308,0]", "[1.02,0,0]", "[1.005,0,0]"):
        found.add(f'{{"model":"m","probabilities":{line}}}'.encode(), "m", "2026-11-01")
    assert (found.rows, found.damaged) == ([(0, 1.005, 0.0)], 2)


@pytest.mark.parametrize("images", [1, 2, 29])
def test_beside_a_tiny_reference_it_cannot_be_told_that_nothing_has_drifted(images: int) -> None:
    found = compare(reference(1, images), answers(500, 2), NAMES)
    assert found.state == "too few answers"
    assert found.verdict == f"too small a baseline to tell: {images} of validation, at least 30 are needed"
    assert "--baseline-since" in found.advice
    assert compare(reference(1, images), answers(12, 2), NAMES).verdict == (
        f"too few answers to tell: 12 so far, about 30 are needed; {found.verdict}"
    )
    assert compare(reference(1, 30), answers(500, 2), NAMES).state == "no drift"


def test_drift_beside_a_small_reference_is_still_found() -> None:
    assert compare(reference(1, 20), answers(500, 2, higher=1.0), NAMES).state == "drift"


def test_a_small_reference_asks_for_no_number_that_cannot_help() -> None:
    found = compare(reference(1, 200), answers(500, 2), NAMES)
    assert (found.answers_needed, found.state) == (None, "no drift")
    assert "a difference of 14.8 points" in found.verdict


@pytest.mark.parametrize(("images", "classes"), [(100, 4), (3000, 300)])
def test_where_no_number_of_answers_suffices_as_many_as_the_reference_has_are_needed(images: int, classes: int) -> None:
    names, known = [f"class {number}" for number in range(classes)], reference(1, images)
    known = replace(known, classes=(*known.classes, *[0] * (classes - len(known.classes))))
    few, many = (compare(known, answers(number, 2), names) for number in (31, images))
    assert (few.answers_needed, few.state) == (None, "too few answers")
    assert few.verdict == f"too few answers to tell: 31 so far, about {images:,} are needed"
    assert many.state == "no drift"


def test_a_larger_reference_asks_for_no_more_answers_than_it_has_images() -> None:
    """Just above the size from which some number suffices, that number is huge."""
    for images in (300, 330, 400, 700):
        found = compare(reference(1, images), answers(images, 2), NAMES)
        assert found.state == "no drift", images
    assert compare(reference(1, 700), answers(300, 2), NAMES).state == "too few answers"


def test_advice_fits_what_has_drifted() -> None:
    assert "Label some hundred" in compare(reference(1), answers(1000, 2, higher=0.3), NAMES).advice
    easier = compare(reference(1), answers(1000, 2, higher=-0.2), NAMES).advice
    assert "sent again and again" in easier
    assert "Label" not in easier
    assert "--baseline-since" in compare(reference(1), answers(1000, 2, bags=0.6), NAMES).advice


def test_quantiles_stand_for_all_values() -> None:
    """The distance to quantiles is that to the values themselves, up to half a quantile."""
    from modiste.evaluation.two_samples import kolmogorov_distance

    known, others = answers(3000, 1), answers(1000, 2, lower=0.03)
    exact = kolmogorov_distance(others.confidence, known.confidence)
    short = Reference.of_log(known, 4).confidence
    assert len(short) == QUANTILES
    assert kolmogorov_distance(others.confidence, np.array(short)) == pytest.approx(exact, abs=1 / QUANTILES)


def test_a_model_without_a_detector_is_tested_by_the_rest() -> None:
    known = replace(reference(1), novelty=None)
    found = compare(known, replace(answers(1000, 2, lower=0.2), novelty=None), NAMES)
    assert [one.name for one in found.shifts] == ["classes", "confidence"]
    assert (found.none_of_the_classes, found.state) == (None, "drift")


@pytest.fixture(scope="module")
def run(exported_photo_run: Path) -> Path:
    return exported_photo_run


@pytest.fixture(scope="module")
def model(run: Path) -> OnnxModel:
    return OnnxModel.load(run / "model.onnx")


class TestExported:
    @pytest.fixture
    def log(self, model: OnnxModel, tmp_path: Path) -> Path:
        """Answers to other validation images than most of the reference's, blurred from the second day on."""
        from scipy import ndimage

        images = modiste.load_dataset().validation.images[-1600:].numpy()
        blurred = ndimage.gaussian_filter(images.astype(float), (0, 0, 1.5, 1.5)).astype(np.uint8)
        for day, some in (("2026-11-01", images[:900]), ("2026-11-02", images[900:]), ("2026-11-09", blurred)):
            scores = model.classify(some)
            log = AnswerLog(tmp_path / "new", model)
            log.add(scores.probabilities, scores.novelty)
            log.close()
            [path] = (tmp_path / "new").iterdir()
            (tmp_path / "log").mkdir(exist_ok=True)
            path.rename(tmp_path / "log" / f"{day}.jsonl")
        return tmp_path / "log"

    def test_the_file_holds_its_own_answers_on_validation(self, model: OnnxModel) -> None:
        found = of_model(model, "model.onnx")
        scores = model.classify(modiste.load_dataset().validation.images.numpy())
        assert found.images == 3000
        assert np.mean(found.confidence) == pytest.approx(scores.probabilities.max(1).mean(), abs=0.01)
        assert np.mean(np.array(found.novelty) > 1) == pytest.approx((scores.novelty > 1).mean(), abs=0.015)
        assert len(model.metadata[KEY]) < 12_000

    def test_answers_that_have_not_changed_and_those_that_have(self, run: Path, log: Path) -> None:
        assert modiste.drift(run, log, until="2026-11-02").state == "no drift"
        found = modiste.drift(run / "model.onnx", log, since="2026-11-03", out=log.parent / "drift.html")
        assert found.state == "drift"
        assert (log.parent / "drift.html").exists()
        earlier = modiste.drift(run, log, since="2026-11-09", baseline_until="2026-11-02")
        assert (earlier.state, earlier.baseline) == ("drift", "2026-11-01 to 2026-11-02")
        assert modiste.drift(run, log, since="2026-11-02", until="2026-11-02", baseline_until="2026-11-01").state == (
            "no drift"
        )

    def test_the_command(self, run: Path, log: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        main.main(["drift", str(run), str(log), "--since", "2026-11-09", "--out", str(tmp_path / "page.html")])
        printed = capsys.readouterr().out
        assert "drift of" in printed
        assert printed.splitlines()[-1] == str(tmp_path / "page.html")
        main.main(["drift", str(run / "model.onnx"), str(log), "--json"])
        assert json.loads(capsys.readouterr().out)["answers"] == 3200

    def test_what_cannot_be_compared_is_said(self, run: Path, log: Path, tmp_path: Path) -> None:
        for options, message in (
            ({"since": "yesterday"}, "expected a day such as 2026-11-28, found 'yesterday'"),
            ({"since": "2026-11-09", "until": "2026-11-01"}, "--since on or before --until, found 2026-11-09 after"),
            ({"baseline_since": "2026-11-09", "baseline_until": "2026-11-01"}, "--baseline-since on or before"),
            ({"baseline_until": "2026-11-02"}, "overlap"),
            ({"since": "2026-11-02", "baseline_until": "2026-11-02"}, "overlap"),
        ):
            with pytest.raises(RecipeError, match=message):
                modiste.drift(run, log, **options)
        with pytest.raises(DataError, match="no answers of this model from 2027-01-01"):
            modiste.drift(run, log, since="2027-01-01")
        bare = Path(shutil.copytree(run, tmp_path / "bare"))
        files, openings = manifest.read(bare)
        manifest.write(bare, {name: digest for name, digest in files.items() if name != "model.onnx"}, openings)
        with pytest.raises(RunError, match=r"holds no model\.onnx; export the run"):
            modiste.drift(bare, log)

    def test_a_file_without_a_reference_or_with_a_damaged_one_is_refused(
        self, run: Path, log: Path, tmp_path: Path
    ) -> None:
        proto = onnx.load(run / "model.onnx")
        (kept,) = (one for one in proto.metadata_props if one.key == KEY)
        plain = json.loads(kept.value)
        wrong = [
            "[]",
            "[" * 5000,
            *(
                json.dumps(plain | change)
                for change in (
                    {"images": 0},
                    {"classes": [3000]},
                    {"classes": ["a"] * 10},
                    {"confidence": plain["confidence"][::-1]},
                    {"confidence": plain["confidence"][:-1]},
                    {"novelty": None},
                    {"novelty": [float("nan")] * 500},
                )
            ),
        ]
        for value in wrong:
            kept.value = value
            onnx.save(proto, tmp_path / "wrong.onnx")
            with pytest.raises(RunError, match="its answers on validation are damaged; export the run again"):
                modiste.drift(tmp_path / "wrong.onnx", log)
        proto.metadata_props.remove(kept)
        onnx.save(proto, tmp_path / "earlier.onnx")
        with pytest.raises(RunError, match="an earlier version wrote it; export the run again"):
            modiste.drift(tmp_path / "earlier.onnx", log)
        assert identity(OnnxModel.load(tmp_path / "earlier.onnx")) == identity(OnnxModel.load(run / "model.onnx"))
