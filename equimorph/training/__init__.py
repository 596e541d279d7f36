"""One training loop, used by everything that trains.

Progress is counted in steps of one *lineage*: the life of the returned network, from the first step of its first
ancestor to the last of its own. The learning rate and the order of the samples depend on that position alone.
"""

from equimorph.training.architecture import ArchitectureSteps, architecture_parameters
from equimorph.training.batches import Batches, divided
from equimorph.training.defaults import Loss, squared_error
from equimorph.training.metrics import METRICS, Metric, error_rate, metric_named, pixel_error
from equimorph.training.settings import TrainingSettings, derived_seed
from equimorph.training.trainer import EpochReport, Evaluation, Trainer, TrainingState

__all__ = [
    "ArchitectureSteps",
    "Batches",
    "EpochReport",
    "Evaluation",
    "Loss",
    "METRICS",
    "Metric",
    "Trainer",
    "TrainingSettings",
    "TrainingState",
    "architecture_parameters",
    "derived_seed",
    "divided",
    "error_rate",
    "metric_named",
    "pixel_error",
    "squared_error",
]
