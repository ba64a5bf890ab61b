"""The paper reproduced: what is trained, what is concluded, and a small one from end to end on the real images."""

import json
import re
import shutil
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from search_process import InThisProcess

import modiste
from commands_and_data import PROGRAMS, run_modiste, run_python
from modiste import machine
from modiste.api import studies
from modiste.errors import RecipeError, RunError
from modiste.recipes.named import get
from modiste.recipes.plain import build, differences, to_plain
from modiste.reproduction import experiments, page, paper, reproduction
from modiste.reproduction.experiments import EXPERIMENTS, QUICK, Experiment, Scope, Variant, Work, selected
from modiste.reproduction.reproduction import reproduce, write_page
from modiste.reproduction.study import study
from modiste.runs import run_folder, storage
from modiste.searches.plan import claim
from modiste.searches.ray_cluster import Share
from modiste.searches.trial import TrialOutcome

RECORDS = Path(__file__).parents[2] / "records"
NETWORK = EXPERIMENTS[-1]
TWO_NETWORKS = replace(NETWORK, variants=NETWORK.variants[:2])
DROPOUT = next(one for one in EXPERIMENTS if one.name == "dropout")
DROPOUTS = replace(DROPOUT, variants=(DROPOUT.variants[0], DROPOUT.variants[2]))


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda one: one.name)
def test_an_experiment_varies_one_thing_and_holds_the_papers_choice(experiment: Experiment) -> None:
    by_label = {variant.label: variant.recipe for variant in experiment.variants}
    assert len(by_label) == len(experiment.variants)
    assert by_label[experiment.chosen] == get("paper")
    assert experiment.expected_worse in ("", *by_label)
    for recipe in by_label.values():
        fields = {line.partition(":")[0].partition(".")[0] for line in differences(get("paper"), recipe)}
        assert len(fields) <= 1


def test_each_recipe_is_trained_once_in_a_folder_of_its_own() -> None:
    for scope in (Scope(), Scope(study_epochs=10), QUICK):
        tasks = Work(scope, Path("x")).tasks("cpu", None)
        assert len({task.folder for task in tasks}) == len({task.recipe for task in tasks}) == len(tasks)
        assert [task.number for task in tasks] == list(range(len(tasks)))
    whole, shortened = (len(Work(scope, Path("x")).tasks("cpu", None)) for scope in (Scope(), Scope(study_epochs=10)))
    assert shortened == whole + 3  # the final model no longer serves the experiments
    distinct = {variant.recipe for experiment in EXPERIMENTS for variant in experiment.variants}
    assert whole == 3 * len(distinct)


def test_the_scope_reaches_every_recipe() -> None:
    for task in Work(replace(QUICK, seeds=2), Path("x")).tasks("cpu", None):
        assert (task.recipe.epochs, task.recipe.data.images_per_class, task.recipe.precision) == (4, 300, "auto")
        assert task.recipe.seed in (0, 1)
    with pytest.raises(RecipeError, match="seeds: expected at least 1"):
        Scope(seeds=0)


def test_the_device_that_is_named_evaluates_too(finished_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(_: Path, *, device: str, **__: object) -> None:
        raise RunError(f"evaluated on {device}")

    monkeypatch.setattr(reproduction, "evaluate", stop)
    with pytest.raises(RunError, match="evaluated on cuda:7"):
        reproduction._evidence(finished_run, None, "cuda:7")
    monkeypatch.setattr(Work, "final_folders", lambda _: [finished_run])
    with pytest.raises(RunError, match="evaluated on cuda:7"):
        reproduction.measure(Work(Scope(seeds=1), finished_run), {}, None, device="cuda:7")


def test_what_was_trained_for_less_is_not_judged() -> None:
    assert Scope().is_whole
    assert Scope(epochs=60, study_epochs=50).is_whole
    assert [QUICK.shortage(epochs) for epochs in (4, 50)] == ["quick", "quick"]
    assert [Scope(study_epochs=49).shortage(epochs) for epochs in (49, 50)] == ["shortened", ""]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two experiments, one after the other; two seeds, ten images of each class: real ones, trained for one epoch.

    The networks are those of the paper alone: the Inception network takes as long as the two.
    """
    few = (DROPOUTS, TWO_NETWORKS)
    folder = tmp_path_factory.mktemp("reproduced") / "r"
    reported: list[str] = []
    scope = Scope(seeds=2, epochs=1, study_epochs=1, images_per_class=10)

    def report(outcome: TrialOutcome, done: int, every: int) -> None:
        reported.append(f"{done}/{every} {outcome.state}")

    reproduce(Work(scope, folder, few[:1]), device="cpu", on_outcome=report)
    assert reported == [f"{done}/4 complete" for done in range(1, 5)]
    reproduce(Work(scope, folder, few), workers=InThisProcess, device="cpu", on_outcome=report)
    assert reported[4:] == [f"{done}/6 complete" for done in range(5, 7)]
    first = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    reproduce(Work(scope, folder, few), device="cpu")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == first
    return folder


@pytest.mark.slow
def test_the_test_set_is_opened_for_the_final_model_alone(small: Path) -> None:
    openings = {run.name: run_folder.open_run(run).test_openings for run in (small / "runs").iterdir()}
    assert openings == {name: 2 if name.startswith("paper-seed") else 0 for name in openings}
    assert len(openings) == 6


@pytest.mark.slow
def test_the_page_says_what_the_record_says(small: Path) -> None:
    record = json.loads((small / reproduction.RECORD).read_text(encoding="utf-8"))
    html, markdown = ((small / name).read_text(encoding="utf-8") for name in (page.HTML, page.MARKDOWN))
    assert len(record["claims"]) == 12 + 4 + 2
    for one in record["claims"]:
        assert one["measured"] in markdown
    verdicts = {one["claim"]: one["verdict"] for one in record["claims"]}
    assert {verdicts[one.statement] for one in (*paper.CLAIMS, NETWORK) if getattr(one, "needs_training", True)} == {
        "not judged: quick"
    }
    assert "<code>sprint</code> pass over" in html
    assert "`" not in re.sub("<svg.*?</svg>", "", html, flags=re.DOTALL)
    assert verdicts["406,270 trainable parameters"] == "does not hold"
    assert "Claims about shortened training are measured, not judged." in markdown
    for experiment in record["experiments"]:
        for row in experiment["points"]:
            assert f"{sum(row['accuracies']) / 2:.2%}" in markdown
            assert f"{sum(row['accuracies']) / 2:.2%}" in html
    assert html.count("<svg") == 2 * 2 + 5
    assert "This is the quick reproduction" in html
    assert "This is the quick reproduction" in markdown


@pytest.mark.slow
def test_the_pages_pictures_are_there_and_nothing_is_fetched(small: Path) -> None:
    html, markdown = ((small / name).read_text(encoding="utf-8") for name in (page.HTML, page.MARKDOWN))
    named = re.findall(r"\]\((figures/[^)]+)\)", markdown)
    assert len(named) == 2 * 2 + 5
    for name in named:
        assert (small / name).read_bytes().startswith(b"\x89PNG")
    assert not re.search(r'(src|href)="(?!#|data:)', html)
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))


def test_an_experiment_is_read_from_the_record_as_it_was_measured() -> None:
    """The project's own record: its runs are elsewhere, and the page made from it says the same."""
    folder = RECORDS / "reproduction"
    record = json.loads((folder / reproduction.RECORD).read_text(encoding="utf-8"))
    work = Work(build(Scope, record["scope"]), folder, ())
    found = reproduction.recorded_studies(work)
    assert [study.as_plain() for study, _ in found] == [
        {**one, "points": [_with_tuples(point) for point in one["points"]]} for one in record["experiments"]
    ]
    markdown = (folder / page.MARKDOWN).read_text(encoding="utf-8")
    for one, finding in found:
        assert f"| {one.experiment.statement} | {finding.text} | **{finding.verdict}** |" in markdown
        for row in (*page.rows(one), *page.last_rows(one)):
            assert " | ".join(row) in markdown
    named = replace(work, experiments=(found[0][0].experiment,))
    assert [study.experiment.name for study, _ in reproduction.recorded_studies(named)] == [
        study.experiment.name for study, _ in found[1:]
    ]


def _with_tuples(value: Any) -> Any:
    """Return plain data from JSON with tuples in place of lists, as ``asdict`` leaves them."""
    if isinstance(value, dict):
        return {name: _with_tuples(item) for name, item in value.items()}
    return tuple(map(_with_tuples, value)) if isinstance(value, list) else value


def test_a_record_that_cannot_be_used_is_refused_and_kept(tmp_path: Path) -> None:
    record = json.loads((RECORDS / "reproduction" / reproduction.RECORD).read_text(encoding="utf-8"))
    path = tmp_path / reproduction.RECORD
    work = Work(build(Scope, record["scope"]), tmp_path, ())
    assert reproduction.recorded_studies(work) == []
    storage.write_json(path, record)
    found = reproduction.recorded_studies(replace(work, scope=replace(work.scope, seeds=9)))
    assert len(found) == len(record["experiments"])
    with pytest.raises(RunError, match=r"record\.json: of another reproduction \(precision: bfloat16 became float32\)"):
        reproduction.recorded_studies(replace(work, scope=replace(work.scope, precision="float32")))
    points = record["experiments"][0]["points"]
    for damaged in (
        [],
        {**record, "scope": {"epochs": 0}},
        {**record, "experiments": [{"name": "dropout", "points": points}]},
        {**record, "experiments": [{**record["experiments"][0], "points": [{"label": "0"}]}]},
        {**record, "experiments": [{**record["experiments"][0], "points": ["0"]}]},
        {**record, "experiments": [{**record["experiments"][0], "points": [{**points[0], "extra": 1}]}]},
    ):
        storage.write_json(path, damaged)
        with pytest.raises(RunError, match=r"record\.json: not a record of this version; move it away"):
            reproduction.recorded_studies(work)
        assert json.loads(path.read_text(encoding="utf-8")) == damaged


def test_an_unfinished_experiment_of_the_record_is_not_shown(tmp_path: Path) -> None:
    record = json.loads((RECORDS / "reproduction" / reproduction.RECORD).read_text(encoding="utf-8"))
    first, *others = record["experiments"]
    record["experiments"] = [{**first, "finished": False}, *others]
    storage.write_json(tmp_path / reproduction.RECORD, record)
    found = reproduction.recorded_studies(Work(build(Scope, record["scope"]), tmp_path, ()))
    assert [study.experiment.name for study, _ in found] == [one["name"] for one in others]


def test_all_runs_of_a_folder_have_one_precision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs in float32 and in bfloat16 are two groups, which have no seed in common and cannot be compared."""
    monkeypatch.setattr(machine, "settle_precision", lambda recipe, _: replace(recipe, precision="bfloat16"))
    first = reproduction.settled(QUICK, tmp_path, "cpu")
    assert first == replace(QUICK, precision="bfloat16")
    enter(first, tmp_path)
    monkeypatch.setattr(machine, "settle_precision", lambda recipe, _: replace(recipe, precision="float32"))
    assert reproduction.settled(QUICK, tmp_path, "cpu") == first
    assert reproduction.settled(Scope(), tmp_path, "cpu") == Scope()


@pytest.mark.slow
def test_the_page_shows_experiments_of_earlier_calls_without_their_runs(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both experiments, where the runs of the first one are gone: the page is the same to the letter."""
    monkeypatch.setattr(reproduction, "EXPERIMENTS", (DROPOUTS, TWO_NETWORKS))
    folder = tmp_path / "r"
    shutil.copytree(small, folder)
    for run in (folder / "runs").glob("dropout-*"):
        shutil.rmtree(run)
    for named in ((TWO_NETWORKS,), (DROPOUTS, TWO_NETWORKS)):
        write_page(folder, experiments=named)
        for name in (page.MARKDOWN, page.HTML, reproduction.RECORD):
            assert (folder / name).read_bytes() == (small / name).read_bytes()
    record = json.loads((folder / reproduction.RECORD).read_text(encoding="utf-8"))
    record["experiments"][0]["machine"]["processor"] = "another processor"
    storage.write_json(folder / reproduction.RECORD, record)
    html, markdown = (path.read_text(encoding="utf-8") for path in write_page(folder, experiments=(TWO_NETWORKS,)))
    for text in (html, markdown):
        assert "Dropout: another processor, " in text
        assert "The final model, network: " in text


@pytest.mark.slow
def test_a_run_that_fails_is_reported(small: Path) -> None:
    made = Work(Scope(seeds=2, epochs=1, study_epochs=1, images_per_class=10), small)
    without = [made.variant_folders(NETWORK, variant) for variant in NETWORK.variants]
    found = study(NETWORK, [without[0], without[1][:1], []], [[], ["diverged"], ["diverged"] * 2])
    assert [(one.label, len(one.accuracies), one.failures) for one in found.points] == [
        ("Listing 1", 2, ()),
        ("the prose's", 1, ("diverged",)),
    ]


@pytest.mark.slow
def test_the_page_of_an_unfinished_reproduction(small: Path, tmp_path: Path) -> None:
    folder = tmp_path / "r"
    shutil.copytree(small, folder, ignore=shutil.ignore_patterns("figures", "*.html", "*.md", "record.json"))
    storage.write_json(folder / reproduction.SCOPE, to_plain(Scope(seeds=3, epochs=1, study_epochs=1)))
    runs = {path: path.read_bytes() for path in (folder / "runs").rglob("*") if path.is_file()}
    with storage.lock(folder):  # as the process that trains holds it
        html, markdown = write_page(folder, experiments=(TWO_NETWORKS,))
    assert {path: path.read_bytes() for path in (folder / "runs").rglob("*") if path.is_file()} == runs
    missing = "2 runs are missing: network-the-prose-s (seed 2), paper (seed 2)."
    others = "Of the paper's 7 experiments, this page has 1: network."
    for text in (missing, others):
        assert text in unescape(html.read_text(encoding="utf-8"))
        assert text in markdown.read_text(encoding="utf-8")
    assert json.loads((folder / reproduction.RECORD).read_text(encoding="utf-8"))["missing"] == [
        "network-the-prose-s-seed-2",
        "paper-seed-2",
    ]


@pytest.mark.slow
def test_an_unfinished_reproduction_opens_no_test_set_and_judges_nothing(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One run of the final model, never evaluated on test, and trained as long as the paper's."""
    monkeypatch.setattr(experiments, "PAPER_EPOCHS", 1)
    run = tmp_path / "runs" / "paper-seed-0"
    shutil.copytree(small / "runs" / "dropout-0-seed-0", run)
    storage.write_json(tmp_path / reproduction.SCOPE, to_plain(Scope(seeds=2, epochs=1, study_epochs=1)))
    write_page(tmp_path)
    assert run_folder.open_run(run).test_openings == 0
    record = json.loads((tmp_path / reproduction.RECORD).read_text(encoding="utf-8"))
    assert "not been evaluated on test yet" in (tmp_path / page.MARKDOWN).read_text(encoding="utf-8")
    verdicts = {one["claim"]: one["verdict"] for one in record["claims"]}
    judged = [one.statement for one in (*paper.CLAIMS, *EXPERIMENTS) if getattr(one, "needs_training", True)]
    assert {verdicts[statement] for statement in judged} == {"not judged: unfinished"}
    storage.write_json(tmp_path / reproduction.SCOPE, to_plain(Scope(seeds=1, epochs=1, study_epochs=1)))
    write_page(tmp_path, experiments=())  # no run is missing
    assert run_folder.open_run(run).test_openings == 0


def test_the_page_alone_needs_a_reproduction(tmp_path: Path) -> None:
    done = run_modiste("reproduce", "--page-only", "--out", str(tmp_path))
    assert (done.returncode, "holds no reproduction" in done.stderr) == (4, True)
    storage.write_json(tmp_path / reproduction.SCOPE, to_plain(Scope()))
    with pytest.raises(RunError, match="none is finished yet"):
        write_page(tmp_path)


def enter(scope: Scope, folder: Path) -> None:
    claim(folder / reproduction.SCOPE, scope, grows="seeds", noun="reproduction")


def test_another_scope_is_refused_and_more_seeds_are_not(tmp_path: Path) -> None:
    storage.write_json(tmp_path / reproduction.SCOPE, to_plain(Scope(study_epochs=5)))
    with pytest.raises(RunError, match="study_epochs: 5 became 50"):
        enter(Scope(), tmp_path)
    enter(Scope(study_epochs=5, seeds=9), tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("mine")
    with pytest.raises(RunError, match=r"not empty \(letter.txt\)"):
        enter(Scope(), tmp_path / "other")


def test_labels_make_names_that_differ() -> None:
    names = [f"{one.slug}-{experiments._slug(variant.label)}" for one in EXPERIMENTS for variant in one.variants]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9.-]+", name) for name in names)
    assert Variant("64, 32", get("paper")).label not in names


@pytest.mark.parametrize(
    ("flag", "value", "reason"),
    [
        ("--seeds", "0", "seeds: expected at least 1"),
        ("--experiments", "droput", "experiments: the paper has no experiment 'droput'; did you mean 'dropout'?"),
        ("--experiments", "depth", "no experiment 'depth'; known: learning-rate, batch-size, dropout, "),
    ],
)
def test_the_command_refuses(flag: str, value: str, reason: str) -> None:
    done = run_modiste("reproduce", flag, value)
    assert (done.returncode, reason in done.stderr) == (4, True)


def test_chosen_experiments_are_all_that_is_trained() -> None:
    tasks = Work(Scope(seeds=2), Path("x"), selected(["batch-normalisation"])).tasks("cpu", None)
    runs = [f"{name}-seed-{seed}" for seed in (0, 1) for name in ("paper", "batch-normalisation-with")]
    assert sorted(task.folder.name for task in tasks) == sorted(runs)
    assert selected([]) == EXPERIMENTS


@pytest.mark.slow
def test_on_a_ray_cluster_it_is_the_same(small: Path, tmp_path: Path) -> None:
    done = run_python(PROGRAMS / "reproduce_on_ray.py", cwd=tmp_path, timeout=200)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{number} 2 complete" for number in range(1, 3)]
    one, other = (run_folder.open_run(folder / "runs" / "paper-seed-0").history for folder in (small, tmp_path / "r"))
    assert one == other


def test_on_a_ray_cluster_it_has_as_many_runs_at_once_as_there_are_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = list[tuple[object, ...]]()
    monkeypatch.setattr("modiste.searches.ray_cluster.RayWorkers", lambda *arguments: made.append(arguments))
    make_workers = studies._workers(8, tmp_path, ray="auto", trial_cpus=2.0, trial_gpus=0.0)
    make_workers()
    assert made == [("auto", tmp_path, Share(2.0), 8)]


def test_from_python_it_takes_the_workers_of_the_command(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"^workers: expected at least 1, found 0"):
        modiste.reproduce(tmp_path, quick=True, workers=0)
    with pytest.raises(RecipeError, match=r"^--trial-cpus: expected a number of at least 0, found -1\.0"):
        modiste.reproduce(tmp_path, quick=True, ray="auto", trial_cpus=-1.0)
    with pytest.raises(RecipeError, match=r"^--trial-cpus and --trial-gpus: expected with --ray, found without it"):
        modiste.reproduce(tmp_path, quick=True, trial_cpus=2.0, trial_gpus=0.5)
    assert not list(tmp_path.iterdir())
