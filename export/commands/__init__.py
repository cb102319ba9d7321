"""The commands of `python -m export`, one a file: `add_arguments(parser)` and `run(args)`."""
