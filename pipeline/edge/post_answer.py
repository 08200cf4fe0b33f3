"""What a program is answered that posted events: a status, and what became of them. Pure.

==================== ====== ===========================================================================
what became of it    status
==================== ====== ===========================================================================
all taken            200    with the position of the last one
some refused         409    as at 200, and which and why; the others were taken
key of other events  422    nothing was taken now
no ingest            503    nothing was sent
no room              503    some may have been taken
no answer            504    they may have been taken or not
==================== ====== ===========================================================================
"""

from __future__ import annotations

from pipeline.edge.posted_body import MAX_TOLD, Body, BodyRefused, Fault
from pipeline.edge.posts import Told

_HELD_UP = {
    "full": "the scan has no room until readers were given more: max_pending_bytes",
    "max_channels": "its shard can open no further channel: max_channels",
}
_AGAIN = "may have been taken: a retry with the same Idempotency-Key takes none twice"
_ONCE = "may have been taken: a retry may take them twice, and with an Idempotency-Key would not"

Answer = tuple[int, dict[str, object]]
"""(status, the JSON object to answer with)"""


def answer(told: Told, body: Body, scan_id: str, *, keyed: bool) -> Answer:
    """Return what a post is answered.

    Args:
        told: what became of it.
        body: what was posted.
        scan_id: to which scan.
        keyed: whether it had a key.
    """
    unsure = _AGAIN if keyed else _ONCE
    if told.kind == "reused":
        return 422, {
            "error": "this Idempotency-Key came with other events before; nothing was taken: use a new key"
        }
    if told.kind == "unsent":
        return 503, {"error": "no ingest takes events at the moment; nothing was taken"}
    if told.kind == "held_up":
        reason = _HELD_UP.get(told.held_up, told.held_up)
        return 503, {"error": f"not everything was taken: {reason}; some {unsure}"}
    if told.kind == "unanswered":
        return 504, {"error": f"the worker of the scan does not answer; the events {unsure}"}
    said: dict[str, object] = {"scan_id": scan_id, "accepted": len(body.events) - len(told.refused)}
    if told.position is not None:
        epoch, seq = told.position
        said.update(epoch=epoch, seq=seq, next=f"{epoch}:{seq}")
    if not told.refused:
        return 200, said
    faults = [Fault(body.numbers[index], reason, message) for index, reason, message in told.refused]
    problem = f"{len(faults)} of {len(body.events)} events were refused; the others were taken"
    return 409, {"error": problem, **said, **_told(faults, body.unit)}


def refusal(refused: BodyRefused) -> Answer:
    """Return what is answered for a body of which nothing is taken."""
    said: dict[str, object] = {"error": refused.problem}
    if refused.faults:
        said.update(_told(list(refused.faults), refused.unit))
    return refused.status, said


def _told(faults: list[Fault], unit: str) -> dict[str, object]:
    return {
        "faults": [
            {unit: fault.number, "reason": fault.reason, "message": fault.message}
            for fault in faults[:MAX_TOLD]
        ],
        "complete": len(faults) < MAX_TOLD,
    }
