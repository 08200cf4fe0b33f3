"""Who may connect to a socket that wants keys: peers, their public keys, and what each may do. Pure.

A directory holds one file a peer, `NAME.pub`: its public keys, one a line, and words for what it may do.

============== ===========================================================================================
word           may
============== ===========================================================================================
`produce`      send events to ingests; so it is when no word is there
`read`         read the frames and the history of workers, and delete scans there: `tail`
`stage`        everything, as a stage of the pipeline, `up`, `doctor` and `top` do; it names owners
`names-owners` with `produce`: begin scans of other owners than itself, and feed them
============== ===========================================================================================
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from pipeline.addresses import is_key

PRODUCE, READ, STAGE, NAMES_OWNERS = "produce", "read", "stage", "names-owners"
WORDS = (PRODUCE, READ, STAGE, NAMES_OWNERS)

MAX_KEYS = 8
"""Public keys of one peer: the present one, and those it is changed from or to."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")

Refusal = Literal["unknown_key", "role"]


@dataclass(frozen=True, slots=True)
class Peer:
    """Who may connect.

    Attributes:
        name: the file's, without `.pub`.
        keys: its public keys, as text.
        may: of `WORDS`.
    """

    name: str
    keys: tuple[str, ...]
    may: frozenset[str]

    @property
    def may_produce(self) -> bool:
        """Whether it may send events."""
        return bool(self.may & {PRODUCE, STAGE})

    @property
    def names_owners(self) -> bool:
        """Whether it may begin and feed scans of others."""
        return bool(self.may & {STAGE, NAMES_OWNERS})


def parse_peer(name: str, text: str) -> tuple[Peer | None, list[str]]:
    """Read a peer's file.

    Args:
        name: the file's, without `.pub`.
        text: what it holds.

    Returns:
        (the peer, what is wrong); a peer of which something is wrong is None.
    """
    problems = []
    if not _NAME.fullmatch(name):
        problems.append(
            "the name may have 64 letters, digits and . _ @ -, and begins with one of the first two"
        )
    lines = [line.strip() for line in text.splitlines()]
    keys, words = [], set()
    for number, line in enumerate(lines, 1):
        if not line or line.startswith("# ") or line == "#":
            continue
        if line in WORDS:
            words.add(line)
        elif is_key(line):
            keys.append(line)
        else:
            problems.append(
                f"line {number}: neither a public key of 40 Z85 characters (these are {len(line)}), nor one "
                f"of {', '.join(WORDS)}"
            )
    if not problems and not 1 <= len(keys) <= MAX_KEYS:
        problems.append(f"{len(keys)} keys; 1 to {MAX_KEYS} are needed")
    if words <= {NAMES_OWNERS}:
        words.add(PRODUCE)
    return (None if problems else Peer(name, tuple(keys), frozenset(words))), problems


def needed(socket_name: str) -> str:
    """Return what a peer must be allowed to do to connect to a socket."""
    if socket_name.startswith("ingest-"):
        return PRODUCE
    return READ if socket_name.endswith((".events", ".history")) else STAGE


@dataclass(frozen=True, slots=True)
class AllowList:
    """Attributes:
    peers: name -> who may connect.
    by_key: public key -> the same.
    """

    peers: Mapping[str, Peer] = field(default_factory=dict)
    by_key: Mapping[str, Peer] = field(default_factory=dict)

    def judge(self, socket_name: str, key: str) -> tuple[Peer | None, Refusal | None]:
        """Return whose key it is, if anybody's, and why it may not connect to a socket, if so."""
        peer = self.by_key.get(key)
        if peer is None:
            return None, "unknown_key"
        return peer, None if peer.may & {needed(socket_name), STAGE} else "role"


def allow_list(peers: Iterable[Peer]) -> tuple[AllowList, list[str]]:
    """Return the list of some peers, and what is wrong with them together."""
    by_key: dict[str, Peer] = {}
    problems = []
    by_name = {peer.name: peer for peer in peers}
    for peer in by_name.values():
        for key in peer.keys:
            if key in by_key:
                problems.append(f"{peer.name}.pub: {key} is in {by_key[key].name}.pub, too")
            by_key[key] = peer
    return AllowList(by_name, by_key), problems
