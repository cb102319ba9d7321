"""Whole data sets through a network, into shards, in flat memory: any kill is resumed.

`sources` names the pictures, `pictures` opens them on threads of their own, `chunks` sorts them
into runs of the engine by their `buckets`, `encoder` runs these, `spool` keeps the rows on the disk
until a group of pictures is complete, `shards` writes it, and `ledger` says which groups are done.
`pipeline` ties them together. A shard's bytes depend on its pictures, the artifact, its engine and
the options alone.
"""
