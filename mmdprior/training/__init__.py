"""Training: the loop, its checkpoints, schedules, run directories and loggers."""

from mmdprior.training.checkpoint import is_checkpoint, read_checkpoint, write_checkpoint
from mmdprior.training.loggers import Logger, RunLogger
from mmdprior.training.loop import NonFiniteLossError, Trainer
from mmdprior.training.retention import newest_checkpoint
from mmdprior.training.run_directory import create_run_directory
from mmdprior.training.schedules import Constant, Cosine, Cyclical, Schedule, Warmup
from mmdprior.training.validation import Validation

__all__ = [
    "Constant",
    "Cosine",
    "Cyclical",
    "Logger",
    "NonFiniteLossError",
    "RunLogger",
    "Schedule",
    "Trainer",
    "Validation",
    "Warmup",
    "create_run_directory",
    "is_checkpoint",
    "newest_checkpoint",
    "read_checkpoint",
    "write_checkpoint",
]
