"""Which shard owns a channel: rendezvous hashing over a fixed number of shards. Pure.

Every ingest and every edge must agree with the workers, so the algorithm has a name that stands in the
data directory and in every beacon: `HASH_NAME`. A channel belongs to the shard whose
blake2b-64("shard/channel") is greatest (Thaler & Ravishankar, "Using name-based mappings to increase
hit rates", 1998). The number of shards is fixed when a data directory is made; what moves between
processes is a whole shard.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

HASH_NAME = "rendezvous-blake2b64"
DEFAULT_SHARDS = 4
MAX_SHARDS = 256


@lru_cache(maxsize=65_536)
def shard_of(channel: str, shards: int) -> int:
    """Return the number of the shard that owns `channel`.

    Args:
        channel: `kind/id`.
        shards: how many shards there are, 1 to `MAX_SHARDS`.

    Returns:
        0 to `shards - 1`.
    """
    return max(range(shards), key=lambda shard: _weight(shard, channel))


def _weight(shard: int, channel: str) -> bytes:
    return hashlib.blake2b(f"{shard}/{channel}".encode(), digest_size=8).digest()
