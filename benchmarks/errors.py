"""What a benchmark refuses on purpose; `python -m benchmarks` says it in one line."""


class UnfitError(ValueError):
    """A run, artifact or data set is not of the kind that the benchmark measures."""
