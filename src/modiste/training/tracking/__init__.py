"""Listeners of a training run: log files, console, and trackers such as TensorBoard, MLflow and W&B."""

from modiste.training.tracking.console import ConsoleLog
from modiste.training.tracking.listener import Listener, Listeners, Timing
from modiste.training.tracking.log_files import FileLog

__all__ = ["ConsoleLog", "FileLog", "Listener", "Listeners", "Timing"]
