"""Listeners of a training run: log files, progress, and trackers such as TensorBoard, MLflow and W&B."""

from modiste.training.tracking.listener import Listener, Listeners, Timing
from modiste.training.tracking.log_files import FileLog
from modiste.training.tracking.progress import make_progress

__all__ = ["FileLog", "Listener", "Listeners", "Timing", "make_progress"]
