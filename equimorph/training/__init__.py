"""One training loop, used by everything that trains.

Progress is counted in steps of one *lineage*: the life of the returned network, from the first step of its first
ancestor to the last of its own. The learning rate and the order of the samples depend on that position alone.
"""

from equimorph.training.settings import TrainingSettings, derived_seed
from equimorph.training.trainer import EpochReport, Evaluation, Loss, Metric, Trainer, TrainingState, error_rate

__all__ = [
    "EpochReport",
    "Evaluation",
    "Loss",
    "Metric",
    "Trainer",
    "TrainingSettings",
    "TrainingState",
    "derived_seed",
    "error_rate",
]
