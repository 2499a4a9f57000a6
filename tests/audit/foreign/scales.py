"""Verifies an exported log with `tlog-scales`, a Python library of other people: signatures, inclusion, consistency."""

from functools import cache
from itertools import combinations
from pathlib import Path

from tlog_scales import tiles
from tlog_scales.backend import make_backend
from tlog_scales.reader import TilesReader
from tlog_scales.signing import Vkey, VkeySet
from tlog_scales.tlog import Checkpoint

CACHED_TILES = 4096  # its own cache of 32 tiles is too small to walk a log once


def check(folder, vkeys):
    """What it verified, as counts; raises the library's own exceptions where something is wrong."""
    reader = TilesReader(make_backend(str(folder.absolute())))
    reader.tile_cache.max_size = CACHED_TILES
    reader.mth = cache(reader.mth)  # its own subtree hashes, each made once instead of once for each proof
    head = reader.get_checkpoint()
    keys = VkeySet(*map(Vkey.from_string, vkeys))
    older = [Checkpoint.from_text(path.read_text()) for path in Path(folder, "checkpoints").glob("*")]
    trees = sorted([*older, head], key=lambda tree: tree.size)
    signatures = 0
    for tree in trees:
        signed = keys.verify(tree.signatures, tree)
        if len(signed) != len(tree.signatures):
            raise ValueError(f"{len(signed)} of {len(tree.signatures)} signatures hold at size {tree.size}")
        signatures += len(signed)
    for index in range(head.size):
        proof = reader.get_inclusion_proof(index, head.size)
        proof.check(tiles.leaf_hash(reader.get_entry(index)), head.root_hash)
    pairs = list(combinations((tree for tree in trees if tree.size), 2))
    for earlier, later in pairs:
        proof = reader.get_consistency_proof(earlier.size, later.size)
        proof.check(earlier.root_hash, later.root_hash)
    return {"checkpoints": len(trees), "signatures": signatures, "inclusion": head.size, "consistency": len(pairs)}
