"""Options that say where a command trains its runs: in processes on this machine, or on a Ray cluster."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from modiste.cli.arguments import DataFolderOption
from modiste.errors import RecipeError

if TYPE_CHECKING:
    from modiste.search.workers import MakeWorkers


@dataclass(frozen=True, kw_only=True)
class WorkerOptions(DataFolderOption):
    """Options of every command that trains many runs."""

    workers: int = 2
    """Runs to train at once, each in a process with its share of the cores."""
    ray: str | None = None
    """Train on a Ray cluster: auto joins this machine's or starts one for this command, HOST:PORT joins that one."""
    trial_cpus: float = 1.0
    """Cores, and threads, of each run on the Ray cluster."""
    trial_gpus: float = 0.0
    """GPUs of each run on the Ray cluster; with 0.25, four runs share one."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 ..."""
    quiet: bool = False
    """Print only errors."""

    def worker_factory(self, out: Path) -> "MakeWorkers":
        """Return a function that makes the workers of runs collected in ``out``; RecipeError for a wrong number."""
        if self.workers < 1:
            raise RecipeError(f"--workers: expected at least 1, found {self.workers}")
        if self.ray is None:
            from modiste.search.workers import Processes

            return partial(Processes, self.workers)
        from modiste.search.ray_cluster import RayWorkers, Share

        return partial(RayWorkers, self.ray, out, Share(self.trial_cpus, self.trial_gpus))
