"""The commands that serve and pack what is served, one a file: `main(arguments, prog)`."""
