"""The size of images, where a graph leaves it open."""

Size = tuple[tuple[str, int], ...]
"""Named axes and their lengths, such as (("height", 512), ("width", 768)); () where none is
named."""
