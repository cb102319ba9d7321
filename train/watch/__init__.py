"""`python -m train ... --watch`: a page that shows a run while it trains, and can hold it.

It listens on 127.0.0.1 alone and loads nothing from elsewhere.
"""

from train.watch.watch import Watch

__all__ = ["Watch"]
