"""What a user's code raised, in one line."""


def described_error(error: BaseException) -> str:
    """Its type and the first line that says something."""
    lines = [line.strip(" -") for line in str(error).splitlines() if line.strip()]
    if lines and lines[0].startswith("Constraints violated"):  # torch.export says below what is
        del lines[0]
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"


def first_cause(error: BaseException) -> BaseException:
    """What was raised first, of errors raised from one another."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error
