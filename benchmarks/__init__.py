"""Every figure in the docs has its command here: `python -m benchmarks NAME`."""
