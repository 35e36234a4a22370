"""Training: the loop, its settings, schedules, checkpoints and loggers."""

from mmdprior.deprecation import moved
from mmdprior.training.averaging import WeightAverage
from mmdprior.training.checkpoint import is_checkpoint, read_checkpoint, write_checkpoint
from mmdprior.training.distributed import join
from mmdprior.training.gradient_cache import GradientCache
from mmdprior.training.logger import Callback, Logger
from mmdprior.training.loggers import JSONLines, Loggers, MLflow, RunLogger, WandB
from mmdprior.training.loop import Trainer
from mmdprior.training.losses import NonFiniteLossError
from mmdprior.training.muon import Muon
from mmdprior.training.profiling import Profile, Profiler
from mmdprior.training.retention import newest_checkpoint
from mmdprior.training.schedules import AdaptiveSchedule, Constant, Cosine, Cyclical, Schedule, Warmup
from mmdprior.training.settings import Checkpointing, ModelSelection, Numerics
from mmdprior.training.target import Target
from mmdprior.training.validation import Validation

__all__ = [
    "AdaptiveSchedule",
    "Callback",
    "Checkpointing",
    "Constant",
    "Cosine",
    "Cyclical",
    "GradientCache",
    "JSONLines",
    "Logger",
    "Loggers",
    "MLflow",
    "ModelSelection",
    "Muon",
    "NonFiniteLossError",
    "Numerics",
    "Profile",
    "Profiler",
    "RunLogger",
    "Schedule",
    "Target",
    "Trainer",
    "Validation",
    "WandB",
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
    {
        "Gradient": "mmdprior.training:GradientCache",
        "Phases": "mmdprior.training:Profiler",
        "create_run_directory": "mmdprior.runs:create_run_directory",
    },
)
