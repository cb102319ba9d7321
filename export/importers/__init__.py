"""Where networks come from, one source a file: `add_arguments(parser)` and `load(args)`, which
gives an `Imported`. The file's name is the command's name."""
