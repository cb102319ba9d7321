"""What a run's folder consists of (`train.runs` says what is in each)."""

FOLDERS = ("checkpoints", "samples", "tensorboard")
RECORD, METRICS = "run.json", "metrics.jsonl"
FILES = (RECORD, METRICS)
