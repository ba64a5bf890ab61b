"""The first lesson is true: its commands run in order, and its answers hold."""

import re
import shlex
from pathlib import Path

import pytest

import modiste
from commands_and_data import run_modiste

PAGE = (Path(__file__).parents[1] / "docs" / "lesson.md").read_text(encoding="utf-8")


def commands() -> list[list[str]]:
    """The words of every command on the page, in order, without the name of the program."""
    blocks = re.findall(r"^```\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return [shlex.split(line, comments=True)[1:] for block in blocks for line in block.splitlines()]


def expanded(word: str, folder: Path) -> list[str]:
    """What a shell makes of a word with a star."""
    return sorted(str(path.relative_to(folder)) for path in folder.glob(word)) if "*" in word else [word]


def test_it_has_five_exercises_with_questions_and_answers() -> None:
    exercises = re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:6]
    minutes = [int(re.search(r"\((\d+) minutes\)$", one, re.MULTILINE).group(1)) for one in exercises]
    assert sum(minutes) == 45
    for one in exercises:
        assert one.count("```") >= 2
        asked, answered = one.split("<summary>Answers</summary>")
        for letter in ("(a)", "(b)", "(c)"):
            assert letter in asked.split("**Questions.**")[1]
            assert f"\n{letter} " in answered


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_commands_run_and_the_answers_hold(tmp_path: Path) -> None:
    printed: dict[str, str] = {}
    for words in commands():
        parts = [part for word in words for part in expanded(word, tmp_path)]
        done = run_modiste(*parts, cwd=tmp_path, timeout=600)
        assert done.returncode == 0, f"{words}: {done.stderr}"
        printed[" ".join(words)] = done.stdout
    first, test = modiste.evaluate(tmp_path / "runs/first"), modiste.Run.open(tmp_path / "runs/first").test_openings
    assert test == 1
    assert first.accuracy == pytest.approx(0.92, abs=0.015)  # 1 (a): typical
    assert [scores.support for scores in first.per_class.values()] == [1000] * 10
    low, high = first.accuracy_interval
    assert (high - low) / 2 == pytest.approx(0.005, abs=0.001)  # 1 (c)
    recall = {name: scores.recall for name, scores in first.per_class.items()}
    assert min(recall[name] for name in ("Trouser", "Sandal", "Bag")) > 0.95  # 2 (a)
    assert min(recall, key=recall.get) == "Shirt"
    shirts = dict(zip(recall, first.confusion[list(recall).index("Shirt")], strict=True))
    wrong = {name: count for name, count in shirts.items() if name != "Shirt"}
    assert max(wrong, key=wrong.get) == "T-shirt/top"  # 2 (b)
    assert sum(wrong[name] for name in ("T-shirt/top", "Coat", "Pullover", "Dress")) > 0.9 * sum(wrong.values())
    (few,) = modiste.compare([tmp_path / "runs/first", tmp_path / "runs/few"]).contrasts
    assert few.difference.interval[0] > 0.01  # 3 (a)
    errors_of_few = 1 - first.accuracy + few.difference.difference
    assert few.difference.difference < 0.8 * errors_of_few  # 3 (c): far from nine in ten
    seeds = [path for side in ("base", "sharp") for path in sorted((tmp_path / "runs" / side).iterdir())]
    (change,) = modiste.compare(seeds).contrasts
    assert change.verdict in printed["compare runs/base/* runs/sharp/*"]
    low, high = change.difference.interval
    assert ("no difference shown" in change.verdict) == (low <= 0 <= high) == (change.adjusted_p_value >= 0.05)  # 4 (b)
    shown = re.findall(r"^image (\d+): ([^,]+), ", printed["show runs/first 351 1440 2218 23 27 0 12"], re.MULTILINE)
    labels = dict.fromkeys(("351", "1440", "2218", "23", "27"), "Shirt") | dict.fromkeys(("0", "12"), "T-shirt/top")
    assert dict(shown) == labels  # 5 (a)
    assert (tmp_path / "runs/first/images.png").exists()
