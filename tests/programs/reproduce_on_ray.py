"""Reproduces two runs of one experiment with few images on Ray, in the working directory."""

from dataclasses import replace
from functools import partial
from pathlib import Path

from modiste.reproduction import reproduction
from modiste.reproduction.experiments import Scope, Work, selected
from modiste.searches.ray_cluster import RayWorkers, Share
from modiste.searches.trial import TrialOutcome


def report(outcome: TrialOutcome, done: int, every: int) -> None:
    """Print what has ended."""
    print(done, every, outcome.state)


if __name__ == "__main__":
    (whole,) = selected(["dropout"])
    dropout = replace(whole, variants=(whole.variants[0], whole.variants[2]))
    scope = Scope(seeds=1, epochs=1, study_epochs=1, images_per_class=10)
    workers = partial(RayWorkers, "auto", Path("r"), Share(cpus=0.5))
    reproduction.reproduce(Work(scope, Path("r"), (dropout,)), workers=workers, device="cpu", on_outcome=report)
