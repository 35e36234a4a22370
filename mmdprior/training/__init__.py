"""Training: the loop, its checkpoints, schedules, run directories and loggers."""

from mmdprior.training.averaging import WeightAverage
from mmdprior.training.checkpoint import is_checkpoint, read_checkpoint, write_checkpoint
from mmdprior.training.distributed import join
from mmdprior.training.finiteness import NonFiniteLossError
from mmdprior.training.gradient import Gradient
from mmdprior.training.loggers import Logger, RunLogger
from mmdprior.training.loop import Trainer
from mmdprior.training.profiling import Phases, Profile
from mmdprior.training.retention import newest_checkpoint
from mmdprior.training.run_directory import create_run_directory
from mmdprior.training.schedules import Constant, Cosine, Cyclical, Schedule, Warmup
from mmdprior.training.validation import Validation

__all__ = [
    "Constant",
    "Cosine",
    "Cyclical",
    "Gradient",
    "Logger",
    "NonFiniteLossError",
    "Phases",
    "Profile",
    "RunLogger",
    "Schedule",
    "Trainer",
    "Validation",
    "Warmup",
    "WeightAverage",
    "create_run_directory",
    "is_checkpoint",
    "join",
    "newest_checkpoint",
    "read_checkpoint",
    "write_checkpoint",
]
