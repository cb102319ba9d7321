"""`python -m runtime`: one file a command."""
