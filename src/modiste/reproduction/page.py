"""The reproduction's page, as HTML that needs nothing else and as Markdown with its figures beside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import stdev

from matplotlib.figure import Figure

from modiste import storage
from modiste.data.dataset import Development
from modiste.paper import Evidence, Finding, mean_and_spread
from modiste.report import page
from modiste.report.concepts import activation_curves, neural_network
from modiste.report.figures import curves_figure, network_figure, samples_figure
from modiste.report.pictures import picture
from modiste.report.style import save
from modiste.report.wording import number_of
from modiste.reproduction.figures import curves_figure as study_curves
from modiste.reproduction.figures import study_figure
from modiste.reproduction.study import Study
from modiste.reproduction.work import Scope
from modiste.run_folder import Run

HTML, MARKDOWN, FIGURES = "reproduction.html", "README.md", "figures"
DPI = 150
HEADINGS = ("validation accuracy", "n", "against the choice, points", "p")
METHOD = (
    "Everything but what is varied is as the paper has it. Accuracy is on validation, with the weights that "
    "validation picks: mean ± standard deviation over seeds, and in brackets Student's 95 % interval of the mean. Each "
    "variant is set against the paper's choice, in points; the interval takes seeds and images for samples, p is "
    "Holm's over the variants of the experiment. In the figures small points are runs, large ones means, lines the "
    "intervals. An experiment's choice holds where no variant is shown to be better; experiments that were cut short "
    "are not judged."
)


@dataclass(frozen=True)
class Content:
    """What the page says.

    Attributes:
        scope: how much was done.
        finals: the final model's runs.
        evidence: what those came to, test set included.
        findings: of every claim: section, statement, what was found.
        studies: of every experiment.
        development: the images, for the paper's figure 4.
        failures: runs that could not be finished, and why.
    """

    scope: Scope
    finals: tuple[Run, ...]
    evidence: tuple[Evidence, ...]
    findings: tuple[tuple[str, str, Finding], ...]
    studies: tuple[Study, ...]
    development: Development
    failures: tuple[str, ...]

    def notices(self) -> list[str]:
        """Say what is not as in the paper, and what is missing."""
        said = []
        scope = self.scope
        if not scope.is_whole:
            images = f", {scope.images_per_class:,} training images of each class" if scope.images_per_class else ""
            said.append(
                f"{'This is the quick reproduction' if scope.images_per_class else 'Shortened'}: "
                f"{number_of(scope.study_epochs, 'epoch')} for the experiments, {scope.epochs} for the final model"
                f"{images}, where the paper has 50 epochs and 50,000 images. "
                "What was cut short is measured, not judged."
            )
        used = sorted({run.recipe.precision for run in self.finals})
        if used != ["float32"]:
            said.append(f"Trained in {' and '.join(used)}, where the paper has float32.")
        said += [f"Not finished: {failure}" for failure in self.failures]
        return said

    def summary(self) -> str:
        """Say what the final model came to on test, and how often that was looked at."""
        picked = [item.picked for item in self.evidence]
        openings = sum(item.last.test_openings for item in self.evidence)
        return (
            f"The final model, Listing 1, {number_of(len(picked), 'seed')}: "
            f"{mean_and_spread([item.accuracy for item in picked])} on test (the paper: 91.32 %). Its test set was "
            f"opened {number_of(openings, 'time')}: by each run for the weights that validation picked, and for those "
            "of the last epoch; by no other."
        )

    def machine(self) -> str:
        """Describe what the final model was trained on."""
        facts = self.finals[0].facts()[-1]
        return (
            f"{facts['processor']}, {facts['cores']} cores, {facts['threads']} threads a run, "
            f"{facts['memory_bytes'] / 2**30:.0f} GiB; {facts['system']}, Python {facts['python']}, "
            f"torch {facts['torch']}, commit {facts['commit']}."
        )

    @cached_property
    def paper_figures(self) -> list[tuple[str, Figure, str]]:
        """The five figures of the paper, drawn once: name, figure, caption."""
        model, info = self.finals[0].load_model()
        return [
            ("figure-1-layers", neural_network(), "Layers of a network."),
            ("figure-2-activations", activation_curves(), "Activation functions."),
            ("figure-3-network", network_figure(model, info.task.image_shape), "The network."),
            ("figure-4-samples", samples_figure(self.development), "Training images."),
            ("figure-5-curves", curves_figure(self.finals[0]), "Learning curves of the final model, first seed."),
        ]


def write(folder: Path, content: Content) -> tuple[Path, Path]:
    """Write both forms of the page, and every figure as a file; return their paths."""
    storage.write_text(folder / HTML, as_html(content))
    for study in content.studies:
        save(study_figure(study), folder / FIGURES / f"{study.experiment.slug}.png", dpi=DPI)
        save(study_curves(study), folder / FIGURES / f"{study.experiment.slug}-curves.png", dpi=DPI)
    for name, figure, _ in content.paper_figures:
        save(figure, folder / FIGURES / f"{name}.png", dpi=DPI)
    storage.write_text(folder / MARKDOWN, as_markdown(content))
    return folder / HTML, folder / MARKDOWN


def as_html(content: Content) -> str:
    """Return the page."""
    studies = [
        (
            study,
            picture(
                study_figure(study),
                study.experiment.slug,
                caption=f"Accuracy and loss by {study.experiment.name}.",
                description=study.finding().measured,
            ),
            picture(
                study_curves(study),
                f"{study.experiment.slug}-curves",
                caption=f"Learning curves by {study.experiment.name}.",
                description="Validation accuracy by epoch, mean over seeds, of each variant.",
            ),
        )
        for study in content.studies
    ]
    figures = [
        picture(figure, name, caption=caption, description=caption) for name, figure, caption in content.paper_figures
    ]
    return page.render(
        "reproduction.html",
        notices=content.notices(),
        summary=content.summary(),
        findings=content.findings,
        method=METHOD,
        headings=HEADINGS,
        studies=studies,
        rows=rows,
        paper_figures=figures,
        machine=content.machine(),
    )


def as_markdown(content: Content) -> str:
    """Return the same as Markdown."""
    parts = ["# The paper, reproduced", *(f"> {line}" for line in content.notices()), content.summary()]
    claims = [
        (section, statement, found.measured, f"**{found.verdict}**") for section, statement, found in content.findings
    ]
    parts += ["## Claims", _table(("section", "the paper", "measured", "verdict"), claims)]
    parts += ["## Experiments", METHOD]
    for study in content.studies:
        experiment = study.experiment
        parts += [
            f"### {experiment.name.capitalize()}",
            f"The paper: {experiment.statement}.",
            _table((experiment.name, *HEADINGS), rows(study)),
            f"![Accuracy and loss by {experiment.name}]({FIGURES}/{experiment.slug}.png)",
            f"![Learning curves by {experiment.name}]({FIGURES}/{experiment.slug}-curves.png)",
        ]
    parts += ["## The paper's figures"]
    parts += [f"![{caption}]({FIGURES}/{name}.png)" for name, _, caption in content.paper_figures]
    return "\n\n".join([*parts, "## Machine", content.machine()]) + "\n"


def rows(study: Study) -> list[tuple[str, ...]]:
    """Return an experiment's table: variant, accuracy, runs, difference to the paper's choice, p."""
    return [
        (
            f"{point.label} (the paper's)" if point.label == study.experiment.chosen else point.label,
            _accuracy(point.accuracies, point.interval),
            str(len(point.accuracies)),
            ""
            if point.against_chosen is None
            else f"{100 * point.against_chosen.difference:+.2f} "
            f"({100 * point.against_chosen.interval[0]:+.2f} to {100 * point.against_chosen.interval[1]:+.2f})",
            "" if point.adjusted_p_value is None else f"{point.adjusted_p_value:.3f}",
        )
        for point in study.points
    ]


def _accuracy(values: Sequence[float], interval: tuple[float, float] | None) -> str:
    mean = f"{sum(values) / len(values):.2%}"
    return mean if interval is None else f"{mean} ± {stdev(values):.2%} ({interval[0]:.2%} to {interval[1]:.2%})"


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *lines))
