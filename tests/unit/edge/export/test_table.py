from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.edge.export.hosts import HostEntry, PortEntry, VulnerabilityEntry
from pipeline.edge.export.table import COLUMNS, cell, table_head, table_rows


def read(*hosts: HostEntry) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((table_head() + table_rows(list(hosts))).decode(), newline="")))


def test_a_row_for_each_port_and_one_for_a_host_without() -> None:
    found = [
        VulnerabilityEntry("High", "a", "CVE-1"),
        VulnerabilityEntry("High", "b"),
        VulnerabilityEntry("Low", "c"),
    ]
    ports = [PortEntry(22, "TCP", "Open", "ssh", "9"), PortEntry(80, None, None, "http")]
    rows = read(HostEntry("10.0.0.1", "gate", ports=ports, vulnerabilities=found), HostEntry("10.0.0.2"))
    assert [(row["ip"], row["port"], row["service"]) for row in rows] == [
        ("10.0.0.1", "22", "ssh"), ("10.0.0.1", "80", "http"), ("10.0.0.2", "", ""),
    ]  # fmt: skip
    assert [row["host_high"] for row in rows] == ["2", "2", "0"]
    assert [row["host_findings"] for row in rows] == ["High: a (CVE-1); High: b; Low: c", "", ""]
    assert tuple(rows[0]) == COLUMNS


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "  =1", "\t=1", "\r\n@x", "\u200b=1"])
def test_no_cell_is_a_formula(text: str) -> None:
    assert cell(text).startswith(("'", "·"))


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]) | st.sampled_from("=+-@\",;\r\n\t\x00'")))
def test_whatever_a_scan_says_stays_in_its_cell(text: str) -> None:
    port = PortEntry(1, "TCP", "Open", text, text)
    (row,) = read(HostEntry("h", text, ports=[port], vulnerabilities=[VulnerabilityEntry("Low", text)]))
    assert set(row) == set(COLUMNS)
    assert not any(value.startswith(("=", "+", "-", "@", "\t", "\r")) for value in row.values())
