"""The table of benchmarks, and what runs them."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from modiste.benchmarks import conformal, corruptions, human, noise, ood, robust
from modiste.benchmarks.result import Benchmark, Findings, Published, RunFigures
from modiste.benchmarks.settings import Settings
from modiste.benchmarks.subjects import Candidates, Subjects, open_subjects
from modiste.errors import ModisteError, RecipeError, RunError
from modiste.evaluation.comparison import groups_by_recipe
from modiste.recipes.plain import nearest


@dataclass(frozen=True)
class Yardstick:
    """A benchmark.

    Attributes:
        title: Heading of its page.
        about: What it measures, a sentence for its page.
        measure: Measures the runs.
        published: What others have published.
        check: Raises an error for settings that it cannot use, before the test set is opened.
        check_runs: Raises an error for runs or images that it cannot use, before the runs are measured.
    """

    title: str
    about: str
    measure: Callable[[Subjects, Settings], Findings]
    published: tuple[Published, ...] = ()
    check: Callable[[Settings], None] = lambda _: None
    check_runs: Callable[[Settings, Candidates], None] = lambda *_: None


BENCHMARKS: dict[str, Yardstick] = {
    "corruptions": Yardstick(
        "Corruptions",
        "Accuracy on images with sixteen kinds of corruption at five severities, the same bytes on every machine.",
        corruptions.measure,
        corruptions.PUBLISHED,
        check_runs=corruptions.check_runs,
    ),
    "ood": Yardstick(
        "Out-of-distribution images",
        "How well the run's own detector and the usual baselines tell images of none of the classes.",
        ood.measure,
        ood.PUBLISHED,
        check=ood.check,
        check_runs=ood.check_runs,
    ),
    "conformal": Yardstick(
        "Prediction sets",
        "How often sets of classes of a stated coverage hold the label, and how large they are.",
        conformal.measure,
        check=conformal.check,
    ),
    "robust": Yardstick(
        "Adversarial changes",
        "Accuracy under changes of the images that are chosen to fool the network; no recipe here is a defence.",
        robust.measure,
        check=robust.check,
    ),
    "human": Yardstick(
        "Agreement with people",
        "Whether the network answers as people do.",
        human.measure,
        human.PUBLISHED,
        check=human.check,
        check_runs=human.check_runs,
    ),
    "noise": Yardstick(
        "Wrong training labels",
        "The accuracy that each recipe keeps when it is trained again with a share of wrong labels.",
        noise.measure,
        check=noise.check,
        check_runs=noise.check_runs,
    ),
}
"""The benchmarks by name."""


def run_benchmarks(
    names: Sequence[str],
    folders: Sequence[Path | str],
    settings: Settings,
    *,
    device: str = "auto",
    data_folder: Path | str | None = None,
    failed: dict[str, Exception] | None = None,
) -> tuple[Benchmark, ...]:
    """Measure finished runs by benchmarks, and return their results in the order of the names.

    Arguments and errors are those of ``each_benchmark``.
    """
    return tuple(each_benchmark(names, folders, settings, device=device, data_folder=data_folder, failed=failed))


def each_benchmark(
    names: Sequence[str],
    folders: Sequence[Path | str],
    settings: Settings,
    *,
    device: str = "auto",
    data_folder: Path | str | None = None,
    failed: dict[str, Exception] | None = None,
) -> Iterator[Benchmark]:
    """Measure finished runs by benchmarks, and yield the result of each as soon as it is measured.

    On test, this counts as one evaluation on test for each run, however many benchmarks there are. So the others can be
    measured where one fails.

    Args:
        names: Keys of BENCHMARKS.
        folders: Folders of finished runs with the same classes and images.
        settings: Settings of the benchmarks.
        device: Where networks compute.
        data_folder: Folder of data that have moved; see ``load_dataset``.
        failed: Gets the error of each benchmark that fails, by its name, and the others go on; None raises it.

    Raises:
        RecipeError: There is no such benchmark, or a setting is missing or out of range.
        RunError: No run is given, a run is unfinished or damaged, or the runs do not fit together.
        DataError: The images are missing, damaged, or of a kind that a benchmark does not take.
    """
    yardsticks = {name: find(name) for name in names}
    if not folders:
        raise RunError("benchmark: expected at least one finished run, found none; give the folders of runs")
    for name in names:
        yardsticks[name].check(settings)
    checks = [partial(one.check_runs, settings) for one in yardsticks.values() if failed is None]
    subjects = open_subjects(folders, settings.split, device=device, data_folder=data_folder, checks=checks)
    for name, yardstick in yardsticks.items():
        try:
            found = _measure(name, yardstick, subjects, settings)
        except Exception as error:
            if failed is None:
                raise
            failed[name] = error
        else:
            yield found


def report_failures(failed: Mapping[str, Exception]) -> None:
    """Log a line about each benchmark that failed; raise the first error that is a defect of Modiste."""
    for name, error in failed.items():
        logging.getLogger(__name__).warning("benchmark %s failed: %s", name, error)
    for error in failed.values():
        if not isinstance(error, ModisteError):
            raise error


def all_names(settings: Settings) -> list[str]:
    """Return the names of all benchmarks but ``noise``, which trains, and ``human`` without its file of labels."""
    left_out = {"noise", *(["human"] if settings.labels is None else [])}
    return [name for name in BENCHMARKS if name not in left_out]


def find(name: str) -> Yardstick:
    """Return a benchmark; RecipeError if there is none of this name."""
    if name not in BENCHMARKS:
        raise RecipeError(f"no benchmark {name!r}; {nearest(name, BENCHMARKS)}")
    return BENCHMARKS[name]


def _measure(name: str, yardstick: Yardstick, subjects: Subjects, settings: Settings) -> Benchmark:
    groups, recipes = groups_by_recipe(subjects.found.runs)
    findings = yardstick.measure(subjects, settings)
    runs = tuple(
        RunFigures(
            folder=str(run.folder),
            recipe=run.recipe.name,
            seed=run.recipe.seed,
            test_openings=run.test_openings,
            figures=figures,
            details=details,
        )
        for run, figures, details in zip(subjects.found.runs, findings.figures, findings.details, strict=True)
    )
    return Benchmark(
        name=name,
        title=yardstick.title,
        about=yardstick.about,
        split=settings.split,
        images=len(subjects.images),
        runs=runs,
        groups={recipe: tuple(positions) for recipe, positions in zip(recipes, groups, strict=True)},
        tables=findings.tables,
        published=yardstick.published,
        settings=findings.settings,
        measured=findings.measured,
    )
