"""Where a command's runs are trained: processes of this machine, or a Ray cluster."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from modiste.cli.arguments import DataFolderOption
from modiste.errors import RecipeError

if TYPE_CHECKING:
    from modiste.search.workers import MakeWorkers


@dataclass(frozen=True, kw_only=True)
class PlaceOptions(DataFolderOption):
    """Options of every command that trains many runs."""

    workers: int = 2
    """Runs at once, each in a process with its share of the cores."""
    ray: str | None = None
    """Train on a Ray cluster: auto joins this machine's or begins one for this command, HOST:PORT joins that one."""
    trial_cpus: float = 1.0
    """Cores for each run on the Ray cluster, and its threads."""
    trial_gpus: float = 0.0
    """GPUs for each run on the Ray cluster; 0.25 lets four share one."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 ..."""
    quiet: bool = False
    """Say nothing but faults."""

    def make_workers(self, out: Path) -> "MakeWorkers":
        """Return what makes the workers of runs that are gathered in ``out``; RecipeError where they cannot be."""
        if self.workers < 1:
            raise RecipeError(f"--workers: expected at least 1, found {self.workers}")
        if self.ray is None:
            from modiste.search.workers import Processes

            return partial(Processes, self.workers)
        from modiste.search.ray_cluster import RayWorkers, Share

        return partial(RayWorkers, self.ray, out, Share(self.trial_cpus, self.trial_gpus))
