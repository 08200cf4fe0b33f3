"""What belongs to whom, where producers have keys: producer ids, and the scans they begin. Pure.

Used by `admission`. A producer's credential is the name of its key in the allow-list. Without keys there is
no credential, and nothing here is asked.

====================================== ===============================================================
a message of a credential              what happens
====================================== ===============================================================
with a pid that nobody had             the pid is this credential's from now on
with a pid of another credential       refused, `pid_taken`; all that may name owners are one in this, for
                                       two edges may be given the same post
a `scanStarted` without `owner`        its owner is the credential
a `scanStarted` with itself as owner   taken
a `scanStarted` with another owner     refused, `not_owner`, unless the credential may name owners
====================================== ===============================================================
"""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from pipeline.errors import EventRejected, RejectReason
from pipeline.event import MAX_EVENT_BYTES, ScanStarted

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


class PidOwners:
    """Which credential each producer id belongs to.

    Args:
        most: pids kept; beyond it, of the credential that has most of them, the one that was used longest ago
            is forgotten: so nobody has another's forgotten.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._owners: dict[str, str] = {}
        self._pids_of: dict[str, OrderedDict[str, None]] = {}

    def __len__(self) -> int:
        return len(self._owners)

    def check(self, pid: str, credential: str) -> None:
        """Take notice that a credential uses a pid.

        Raises:
            EventRejected: `pid_taken`: another one used it first.
        """
        owner = self._owners.get(pid, credential)
        if owner != credential:
            raise EventRejected(
                RejectReason.PID_TAKEN,
                f"producer id {pid!r} was first used with another key",
            )
        self._owners[pid] = credential
        pids = self._pids_of.setdefault(credential, OrderedDict())
        pids[pid] = None
        pids.move_to_end(pid)
        while len(self._owners) > self.most:
            self._forget_one()

    def _forget_one(self) -> None:
        credential, pids = max(self._pids_of.items(), key=lambda item: len(item[1]))
        pid, _ = pids.popitem(last=False)
        del self._owners[pid]
        if not pids:
            del self._pids_of[credential]


def with_owner(event: object, raw: bytes, credential: str) -> bytes:
    """Return an event's JSON as it goes on: a `scanStarted` names its credential as owner.

    Args:
        event: the event, as `check_event` returned it.
        raw: its JSON.
        credential: who sent it; may not name other owners.

    Raises:
        EventRejected: `not_owner`: it names another; `too_large`: it is, with its owner.
    """
    if not isinstance(event, ScanStarted) or event.owner == credential:
        return raw
    if event.owner:
        raise EventRejected(
            RejectReason.NOT_OWNER,
            f"scanStarted names {event.owner!r} as owner; its key may name {credential!r} only",
        )
    owned = _encode({**_fields(raw), "owner": msgspec.Raw(_encode(credential))})
    if len(owned) > MAX_EVENT_BYTES:
        raise EventRejected(
            RejectReason.TOO_LARGE,
            f"event of {len(owned)} bytes, with its owner, exceeds the limit of {MAX_EVENT_BYTES} bytes",
        )
    return owned
