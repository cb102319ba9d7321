"""How good: what trained models draw, judged by frozen classifiers and estimators."""
