"""Training: the loop, its checkpoints, schedules, run directories and loggers."""

from mmdprior.deprecation import moved
from mmdprior.training.averaging import WeightAverage
from mmdprior.training.checkpoint import is_checkpoint, read_checkpoint, write_checkpoint
from mmdprior.training.distributed import join
from mmdprior.training.finiteness import NonFiniteLossError
from mmdprior.training.gradient import Gradient
from mmdprior.training.loggers import Logger, RunLogger
from mmdprior.training.loop import Trainer
from mmdprior.training.profiling import Profile, Profiler
from mmdprior.training.retention import newest_checkpoint
from mmdprior.training.schedules import Constant, Cosine, Cyclical, Schedule, Warmup
from mmdprior.training.validation import Validation

__all__ = [
    "Constant",
    "Cosine",
    "Cyclical",
    "Gradient",
    "Logger",
    "NonFiniteLossError",
    "Profiler",
    "Profile",
    "RunLogger",
    "Schedule",
    "Trainer",
    "Validation",
    "Warmup",
    "WeightAverage",
    "is_checkpoint",
    "join",
    "newest_checkpoint",
    "read_checkpoint",
    "write_checkpoint",
]

__getattr__ = moved(
    __name__,
    {"Phases": "mmdprior.training:Profiler", "create_run_directory": "mmdprior.runs:create_run_directory"},
)
