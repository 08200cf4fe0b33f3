"""The table of close codes: what RFC 6455 allows, and what clients rely on."""

from __future__ import annotations

import pytest

from pipeline.edge import close_codes
from pipeline.edge.close_codes import CLOSE_CODES, CloseCode


def test_the_table_holds_every_code_there_is() -> None:
    named = {code for code in vars(close_codes).values() if isinstance(code, CloseCode)}
    assert set(CLOSE_CODES) == named
    assert len(CLOSE_CODES) == len(named)


@pytest.mark.parametrize("code", CLOSE_CODES, ids=lambda code: f"{code.code}-{code.reason}")
def test_each_fits_a_close_frame(code: CloseCode) -> None:
    assert code.code in {1000, 1001, 1002, 1003, 1007, 1009} or 4000 <= code.code <= 4999
    assert 0 < len(code.reason.encode()) <= 123  # RFC 6455, 5.5: a control frame holds 125 bytes


def test_a_code_means_one_thing_but_for_the_normal_end_and_limits() -> None:
    codes = [code.code for code in CLOSE_CODES if code.code not in {1000, 4029}]
    assert len(codes) == len(set(codes))
    for several in (1000, 4029):
        assert len({code.reconnect for code in CLOSE_CODES if code.code == several}) == 1


def test_heroforge_reads_these_reasons() -> None:
    assert (close_codes.SCAN_COMPLETED.code, close_codes.SCAN_COMPLETED.reason) == (1000, "Scan completed")
    assert (close_codes.REPORT_COMPLETED.code, close_codes.REPORT_COMPLETED.reason) == (
        1000,
        "Report completed",
    )


def test_who_may_come_back() -> None:
    assert {code.code for code in CLOSE_CODES if code.reconnect} == {1001, 4000, 4008, 4009, 4029}
