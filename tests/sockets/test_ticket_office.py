"""Offices of several edges on one run directory: a key they share, and each ticket taken once."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.edge import ticket_office
from pipeline.edge.ticket_office import KEY_NAME, USED_NAME, TicketOffice
from pipeline.errors import TokenProblem, TokenRejected
from pipeline.tickets import KEY_BYTES, stream_of
from pipeline.tokens import Identity
from tests.harness import PATIENCE

ADA = Identity("ada", expires_at=4e9)
STREAM = stream_of("office")
EDGES = 8


def taken(office: TicketOffice, text: str) -> bool:
    try:
        return office.redeem(text, STREAM) == ADA
    except TokenRejected as error:
        return error.problem is not TokenProblem.REVOKED


def test_of_all_edges_at_once_one_takes_it(tmp_path: Path) -> None:
    offices = [TicketOffice(tmp_path) for _ in range(EDGES)]
    start = threading.Barrier(EDGES)

    def race(office: TicketOffice, text: str) -> bool:
        start.wait(20 * PATIENCE)
        return taken(office, text)

    with ThreadPoolExecutor(EDGES) as pool:
        for _ in range(20):
            text = offices[0].issue(STREAM, 30, ADA)
            assert sum(pool.map(race, offices, [text] * EDGES)) == 1


def test_one_key_is_made_and_nobody_else_reads_it(tmp_path: Path) -> None:
    start = threading.Barrier(EDGES)

    def issue(_: int) -> str:
        office = TicketOffice(tmp_path)
        start.wait(20 * PATIENCE)
        return office.issue(STREAM, 30, ADA)

    with ThreadPoolExecutor(EDGES) as pool:
        issued = list(pool.map(issue, range(EDGES)))
    assert all(taken(TicketOffice(tmp_path), text) for text in issued)
    assert sorted(path.name for path in tmp_path.iterdir()) == [USED_NAME, KEY_NAME]
    assert (tmp_path / KEY_NAME).stat().st_mode & 0o777 == 0o600
    assert (tmp_path / USED_NAME).stat().st_mode & 0o777 == 0o700


def test_a_key_that_is_not_whole_is_none(tmp_path: Path) -> None:
    (tmp_path / KEY_NAME).write_bytes(b"k" * (KEY_BYTES - 1))
    with pytest.raises(OSError, match=r"31 bytes; 32 are needed"):
        TicketOffice(tmp_path).issue(STREAM, 30, ADA)


def test_what_is_over_is_removed(tmp_path: Path) -> None:
    office = TicketOffice(tmp_path)
    used = tmp_path / USED_NAME
    used.mkdir(0o700)
    for number in range(20):
        (used / f"1000-{number}").touch()
    assert taken(office, office.issue(STREAM, 30, ADA))
    assert len(os.listdir(used)) == 1


def test_past_the_bound_none_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ticket_office, "MAX_USED", 3)
    office = TicketOffice(tmp_path)
    issued = [office.issue(STREAM, 30, ADA) for _ in range(5)]
    assert [taken(office, text) for text in issued] == [True, True, True, False, False]
