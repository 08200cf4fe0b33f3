"""What an edge asks before it gives a scan to somebody: whose is it? Pure.

Asked only where there are accounts, of the worker that has the scan, before anything else.
"""

from __future__ import annotations

import msgspec


class AccessRequest(msgspec.Struct, frozen=True, tag="access"):
    """Asks whose a channel's life is; without `epoch`, its present one."""

    id: int
    channel: str
    epoch: int | None = None


class AccessReply(msgspec.Struct, frozen=True, tag="access"):
    """Whose a channel's life is.

    Attributes:
        epoch: the life; None when the worker knows no such life.
        owner: as its first `scanStarted` that names one says; empty before that.
        shared_with: who may see it beside the owner.
    """

    id: int
    channel: str
    epoch: int | None = None
    owner: str = ""
    shared_with: tuple[str, ...] = ()
