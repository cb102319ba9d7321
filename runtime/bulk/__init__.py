"""Whole data sets through a network, into shards, in flat memory: any kill is resumed.

`sources` names the pictures, `pictures` opens them on threads of their own, `chunks` sorts them
into runs of the engine by their `buckets`, `encoder` and `translator` run these, `spool` keeps the
rows on the disk until a group of pictures is complete, `formats` writes it, and `ledger` says which
groups are done. `pipeline` ties them together; `samples` needs no pictures. `places` and `remote`
are where files go, `workers` and `ray_data` share groups out. A shard's bytes depend on its
pictures, the artifact, its engine and the options alone.

For those who have a pipeline of their own, `mapping` has functions from batch to batch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runtime.bulk.mapping import Decode as Decode
    from runtime.bulk.mapping import Encode as Encode
    from runtime.bulk.mapping import Sample as Sample
    from runtime.bulk.mapping import Translate as Translate

__all__ = ["Decode", "Encode", "Sample", "Translate"]


def __getattr__(name: str) -> Any:
    # Late: whoever runs a bulk job does not need them.
    if name not in __all__:
        raise AttributeError(f"module 'runtime.bulk' has no attribute {name!r}")
    return getattr(import_module("runtime.bulk.mapping"), name)
