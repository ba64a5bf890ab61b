"""The gallery notices what makes one of its pages stale; that its own pages are not is a test of ``test_readme``."""

from dataclasses import replace
from pathlib import Path

import pytest

import gallery
from gallery import Page

PAGE = Page(
    name="page",
    title="A page",
    about="What there is to see.",
    prepare=("modiste train sprint --out runs/gallery/x",),
    write="modiste report 'runs/gallery/x' --title '<b>'",
    made="x/report.html",
    recipes=("sprint",),
    sources=("draw.py", "pages/*.html"),
)


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, object]]:
    """A gallery of one page that was just built, by commands that a function stands in for."""
    monkeypatch.setattr(gallery, "SOURCE", tmp_path / "source")
    monkeypatch.setattr(gallery, "FOLDER", tmp_path / "gallery")
    monkeypatch.setattr(gallery, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(gallery, "PAGES", (PAGE,))
    for name in ("draw.py", "pages/a.html", "other.py"):
        path = tmp_path / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name, encoding="utf-8")
    (tmp_path / "runs" / "x").mkdir(parents=True)
    (tmp_path / "runs" / "x" / "report.html").write_text("<footer>Written by Modiste.</footer>")
    monkeypatch.setattr(gallery, "run", lambda _: None)
    found = {PAGE.name: gallery.build(PAGE)}
    (tmp_path / "gallery" / "README.md").write_text(gallery.overview(found), encoding="utf-8")
    return found


def faults(built: dict[str, dict[str, object]], page: Page = PAGE) -> list[str]:
    return list(gallery.faults_of(page, built[PAGE.name]))


def test_a_page_that_was_just_built_has_no_fault(built: dict[str, dict[str, object]]) -> None:
    assert list(gallery.faults(built)) == []
    assert built["page"]["bytes"] == len(PAGE.path.read_bytes())


def test_its_commands_stand_in_its_footer_as_text(built: dict[str, dict[str, object]]) -> None:
    assert "<code>modiste train sprint --out runs/gallery/x</code>" in PAGE.path.read_text(encoding="utf-8")
    assert "--title &#x27;&lt;b&gt;&#x27;</code>.</p></footer>" in PAGE.path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["draw.py", "pages/a.html"])
def test_it_is_stale_when_a_file_that_draws_it_changes(name: str, built: dict[str, dict[str, object]]) -> None:
    (gallery.SOURCE / "other.py").write_text("changed")
    assert faults(built) == []
    (gallery.SOURCE / name).write_text("changed")
    assert faults(built) == ["stale, the source that draws it changed"]


def test_it_is_stale_when_a_file_that_draws_it_is_added(built: dict[str, dict[str, object]]) -> None:
    (gallery.SOURCE / "pages" / "b.html").write_text("")
    assert faults(built) == ["stale, the source that draws it changed"]


def test_it_is_stale_when_its_recipe_changes(
    built: dict[str, dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(gallery.RECIPES["sprint"](), epochs=2)
    monkeypatch.setattr(gallery, "RECIPES", {"sprint": lambda: recipe})
    assert faults(built) == ["stale, its recipes changed"]


def test_it_is_stale_when_its_commands_change(built: dict[str, dict[str, object]]) -> None:
    assert faults(built, replace(PAGE, prepare=())) == ["stale, its commands changed"]


def test_a_change_by_hand_and_a_size_above_the_limit_are_noticed(built: dict[str, dict[str, object]]) -> None:
    PAGE.path.write_text("x" * (gallery.MOST_BYTES + 1), encoding="utf-8")
    assert faults(built) == ["changed by hand", "expected at most 1,500,000 bytes, found 1,500,001"]
    PAGE.path.unlink()
    assert faults(built) == ["missing"]


def test_a_readme_that_differs_is_noticed(built: dict[str, dict[str, object]]) -> None:
    (gallery.FOLDER / "README.md").write_text("# Gallery\n")
    assert list(gallery.faults(built)) == [
        "docs/gallery/README.md: differs from benchmarks/gallery.py; run: make gallery"
    ]


def test_what_was_prepared_once_is_not_prepared_again(
    built: dict[str, dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else every build would evaluate on test once more."""
    called: list[str] = []
    monkeypatch.setattr(gallery, "run", called.append)
    gallery.build(PAGE)
    assert called == [PAGE.write]
    gallery.build(replace(PAGE, prepare=("modiste train paper --out runs/gallery/x",)))
    assert called == [PAGE.write, "modiste train paper --out runs/gallery/x", PAGE.write]
