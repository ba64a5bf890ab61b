"""The record of injected faults says what was injected, what failed, and that a run was aborted."""

import os
from pathlib import Path

import pytest

import reliability_record

TESTS = """
import pytest

def test_survives(faults):
    for _ in faults("saving: a small thing", few=2, many=30, each=10):
        pass

def test_does_not(faults):
    for number in faults("saving: a large thing", few=2, many=5):
        assert number < 3, "the third was lost"

def test_cannot_be_tried_here(faults):
    pytest.skip("needs a disk of its own")

def test_of_something_else():
    raise SystemExit
"""


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> reliability_record.Content:
    """The result of a run of these tests; never changed."""
    folder = tmp_path_factory.mktemp("torture")
    (folder / "conftest.py").write_text('pytest_plugins = ["fault_counter"]\n')
    (folder / "test_it.py").write_text(TESTS, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[1]), prepend=os.pathsep)
        return reliability_record.torture(1, ["-n", "0", f"--rootdir={folder}", str(folder)], folder)


def test_failed_and_skipped_tests_are_recorded(record: reliability_record.Content) -> None:
    page = reliability_record.as_markdown(record)
    assert not reliability_record.is_good(record)
    assert "34 faults were injected and 33 survived" in page
    assert "| saving: a small thing | 2 | 30 | 30 | 30 |" in page
    assert "| saving: a large thing | 2 | 5 | 4 | 3 |" in page
    assert record["failed"] == ["test_it.test_does_not: AssertionError: the third was lost"]
    assert "test_it.test_cannot_be_tried_here: needs a disk of its own" in page
    assert "**Some tests failed**" in page
    assert "test_of_something_else" not in page
    broken = record | {"areas": {}, "exit_code": -9}
    assert not reliability_record.is_good(broken)
    assert "0 faults were injected" in reliability_record.as_markdown(broken)


def test_an_aborted_run_is_recorded(tmp_path: Path) -> None:
    failed, _ = reliability_record.read_outcomes(tmp_path / "none.xml")
    assert "aborted" in failed[0]


def test_what_ran_again_after_a_mend_stands_in_its_place(record: reliability_record.Content) -> None:
    (failure,) = record["failed"]
    assert reliability_record.node_of(f"tests.{failure}") == "tests/test_it.py::test_does_not"
    mended = {"saving: a large thing": {"few": 2, "planned": 5, "tried": 5, "survived": 5, "seconds": 1.0}}
    again = {"areas": mended, "exit_code": 0, "failed": [], "seconds": 1, "machine": {"commit": "0123456789abcdef"}}
    joined = reliability_record.joined(record, again)
    page = reliability_record.as_markdown(joined)
    assert reliability_record.is_good(joined)
    assert "35 faults were injected and 35 survived" in page
    assert "ran again alone" in page
    assert "(commit 0123456789ab):\n\n- `test_it.test_does_not: AssertionError: the third was lost`" in page
    assert "ran again" not in reliability_record.as_markdown(record)
