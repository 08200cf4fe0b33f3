"""Each row of the module's table."""

from __future__ import annotations

import pytest

from pipeline.edge.post_answer import answer, refusal
from pipeline.edge.posted_body import MAX_TOLD, Body, BodyRefused, Fault
from pipeline.edge.posts import Told

BODY = Body([b"{}", b"{}"], [1, 4], "line")


def test_all_taken() -> None:
    assert answer(Told("taken", (), (5, 7)), BODY, "demo", keyed=True) == (
        200,
        {"scan_id": "demo", "accepted": 2, "epoch": 5, "seq": 7, "next": "5:7"},
    )


def test_some_refused_are_told_by_their_line() -> None:
    status, said = answer(
        Told("taken", ((1, "after_terminal", "has ended"),), (5, 7)), BODY, "demo", keyed=True
    )
    assert (status, said["accepted"], said["next"], said["complete"]) == (409, 1, "5:7", True)
    assert said["faults"] == [{"line": 4, "reason": "after_terminal", "message": "has ended"}]


def test_all_refused_has_no_position() -> None:
    told = Told("taken", ((0, "scan_owned", "x"), (1, "scan_owned", "x")), None)
    status, said = answer(told, BODY, "demo", keyed=False)
    assert (status, said["accepted"]) == (409, 0)
    assert not {"epoch", "seq", "next"} & set(said)


@pytest.mark.parametrize("keyed", [True, False])
@pytest.mark.parametrize(
    ("told", "status", "unsure"),
    [
        (Told("reused"), 422, False),
        (Told("unsent"), 503, False),
        (Told("held_up", held_up="full"), 503, True),
        (Told("held_up", held_up="max_channels"), 503, True),
        (Told("unanswered"), 504, True),
    ],
)
def test_not_taken_or_not_known(told: Told, status: int, unsure: bool, keyed: bool) -> None:
    found, said = answer(told, BODY, "demo", keyed=keyed)
    text = str(said["error"])
    assert found == status
    assert ("nothing was taken" in text) is not unsure
    assert ("takes none twice" in text) is (unsure and keyed)
    assert ("may take them twice" in text) is (unsure and not keyed)


def test_a_body_of_which_nothing_is_taken() -> None:
    assert refusal(BodyRefused(415, "no")) == (415, {"error": "no"})
    faults = [Fault(number, "json", "x") for number in range(MAX_TOLD)]
    status, said = refusal(BodyRefused(400, "no", faults, "item"))
    assert (status, said["complete"]) == (400, False), "there may be more behind"
    assert said["faults"][0] == {"item": 0, "reason": "json", "message": "x"}
