"""What the service promises under load and faults, as scenarios.

`python -m tests.reliability` runs them in full and writes `docs/reliability.md`; the tests run each
in a form of seconds.
"""
