"""Training: networks, losses, data, recipes and the one loop that runs them.

`python -m train RECIPE --data PATH --out runs/x` trains; `train.runs.load_run` hands the result on.
"""
