"""The exceptions of training.

TrainError
├── DataError        a data set that is missing, damaged or not what the recipe needs
├── OptionError      an option that the recipe does not take, or not so
├── RunError         a run folder that is missing, damaged or of another recipe
└── DivergedError    a loss, gradient or weight became NaN or infinite
"""


class TrainError(Exception):
    """Base of every error that training raises on purpose."""


class DataError(TrainError):
    """A data set is missing, damaged or not what the recipe needs."""


class OptionError(TrainError):
    """An option of the command line that the recipe does not take, or not with this value."""


class RunError(TrainError):
    """A run folder cannot be created, resumed or loaded."""


class DivergedError(TrainError):
    """A loss, gradient or weight became NaN or infinite; nothing of that step was kept."""

    def __init__(self, step: int, loss: str, value: float) -> None:
        self.step = step
        self.loss = loss
        self.value = value
        super().__init__(
            f"step {step}: {loss!r} is {value}. Resuming would repeat it: train again with a "
            "lower learning rate, or in fp32 where the recipe uses bf16."
        )
