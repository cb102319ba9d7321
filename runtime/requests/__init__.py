"""The requests that a model answers: one file per request."""
