"""The errors that equimorph raises, each also an instance of the built-in that a PyTorch user would catch."""


class EquimorphError(Exception):
    """Base of all errors that tell the user something: who speaks, what came, what was needed, what to try."""


class GroupError(EquimorphError, ValueError):
    """A group or subgroup that does not exist, or two that do not belong together."""


class ShapeError(EquimorphError, ValueError):
    """A tensor, image or kernel whose size does not fit."""


class SiteError(EquimorphError, LookupError):
    """A site that the network does not have."""


class MorphismError(EquimorphError, ValueError):
    """A morphism that cannot be applied, for instance a relaxation to a group that is not smaller."""


class ConfigurationError(EquimorphError, ValueError):
    """A setting outside its range, or settings that contradict each other."""


class DataError(EquimorphError, OSError):
    """Data that are missing or cannot be read."""


class RunFolderError(EquimorphError, OSError):
    """A run folder that exists already, or that is not one."""


class ExportError(EquimorphError, RuntimeError):
    """An export that differs from the network, or whose files are not those that were written."""


class AugmentationWarning(UserWarning):
    """An augmentation that hides from a search what it is to find."""


class EquivarianceWarning(UserWarning):
    """A network that does not commute with the group that it was to commute with."""


class DivergedError(EquimorphError, ArithmeticError):
    """A training whose loss stopped being a finite number.

    Attributes:
        step: The step of the lineage at which it did, counted from 0.
    """

    def __init__(self, step: int, message: str) -> None:
        super().__init__(message)
        self.step = step
