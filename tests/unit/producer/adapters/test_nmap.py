"""nmap's XML as an input: one run or several, whole or aborted, is one scan; times, IPv6, the system."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.producer.adapters import Problem
from tests.unit.producer.adapters.reading import events_of, of_type, problems_of, read, recording, terminals

WHOLE = ["ping.xml", "services.xml", "groups.xml"]
chunks = pytest.mark.parametrize("chunk_bytes", [0, 1, 97])


def types_of(out: list[bytes | Problem]) -> list[object]:
    return [event["type"] for event in events_of(out)]


@chunks
@pytest.mark.parametrize("between", [b"", b"\n\n", b" \r\n"])
def test_several_runs_are_one_scan(chunk_bytes: int, between: bytes) -> None:
    out = read("nmap", between.join(map(recording, WHOLE)), chunk_bytes)
    types = types_of(out)
    assert (types[0], types[-1]) == ("scanStarted", "scanCompleted")
    assert types.count("scanStarted") == terminals(out) == 1
    assert problems_of(out) == []
    ends = [of_type(read("nmap", recording(name)), "scanCompleted")[0] for name in WHOLE]
    assert of_type(out, "scanCompleted") == [
        {
            "duration": round(sum(float(str(end["duration"])) for end in ends), 3),
            "total_hosts": sum(int(str(end["total_hosts"])) for end in ends),
            "ts": ends[-1]["ts"],
        }
    ]
    assert [host["ip"] for host in of_type(out, "hostDiscovered")].count("127.0.0.1") == 1


@chunks
@pytest.mark.parametrize("end", [97, 700, 1000, 1500])
def test_an_aborted_run_before_another_is_told_and_the_other_is_read(chunk_bytes: int, end: int) -> None:
    first, second = recording("ping.xml")[:end], recording("services.xml")
    out = read("nmap", first + second, chunk_bytes)
    assert [port for port in of_type(out, "portFound") if port["port"] == 18021] != []
    assert terminals(out) == 1
    (problem,) = problems_of(out)
    assert problem.message.startswith("nmap XML cannot be read on: ")
    first_error, last = of_type(out, "error")
    assert first_error["fatal"] is False
    assert str(last["message"]).startswith("1 of 2 runs of nmap failed: nmap XML unreadable at byte ")


def test_an_aborted_run_after_another_is_an_error() -> None:
    first, second = recording("services.xml"), recording("ping.xml")[:900]
    out = read("nmap", first + second)
    (error,) = of_type(out, "error")
    assert str(error["message"]).startswith(
        "1 of 2 runs of nmap failed: nmap ended early: its XML stops at byte "
    )
    (problem,) = problems_of(out)
    assert problem.where == f"byte {len(first) + 900}"


@pytest.mark.parametrize("name", ["groups.xml", "ipv6.xml", "os.xml"])
def test_cut_off_at_any_byte_it_ends_with_one_error(name: str) -> None:
    document = recording(name).rstrip()
    whole = events_of(read("nmap", document))
    for end in range(0, len(document) - 1, 13):
        out = read("nmap", document[:end])
        *before, last = events_of(out)
        assert before == whole[: len(before)]
        assert last["type"] == "error"
        assert terminals(out) == 1
        assert len(problems_of(out)) == 1


def test_a_part_of_several_runs_has_no_end() -> None:
    out = read(
        "nmap", recording("ping.xml") + recording("aborted.xml") + recording("services.xml"), part=True
    )
    assert terminals(out) == 0
    assert of_type(out, "scanStarted") == []
    assert [error["fatal"] for error in of_type(out, "error")] == [False]


def test_what_nmap_prints_before_its_xml_is_told_and_the_xml_is_read() -> None:
    out = read("nmap", b"Starting Nmap 7.93 at noon\n" + recording("services.xml"))
    (problem,) = problems_of(out)
    assert problem.message.startswith("no nmap XML: the input starts with 'Starting Nmap 7.93 at noon'")
    assert types_of(out)[-1] == "scanCompleted"


@pytest.mark.parametrize("rubbish", [b"Nmap done\n", b"\x00\xff" * 40, b"<html/>"])
@chunks
def test_rubbish_between_runs_is_told_and_loses_nothing(rubbish: bytes, chunk_bytes: int) -> None:
    first, second = recording("ping.xml"), recording("services.xml")
    out = read("nmap", first + rubbish + second, chunk_bytes)
    assert events_of(out) == events_of(read("nmap", first + second))
    (problem,) = problems_of(out)
    assert problem.where == f"byte {len(first)}"


def test_a_document_that_cannot_be_read_is_not_begun_again_for_ever() -> None:
    for document in (b"<?xml <?xml <?xml ", b"<?xml?>" * 50, b"<" * 1000, b"<nmaprun>" * 3 + b"<?xml "):
        out = read("nmap", document)
        assert terminals(out) == 1
        assert out == read("nmap", document, 1)


@given(
    st.lists(st.sampled_from(["ping.xml", "aborted.xml", "error.xml"]), max_size=4),
    st.lists(st.integers(0, 2000), max_size=4),
    st.integers(1, 3000),
)
def test_runs_cut_and_joined_anyhow_end_once(names: list[str], ends: list[int], chunk_bytes: int) -> None:
    pieces = [recording(name) for name in names]
    pieces = [piece[:end] for piece, end in zip(pieces, ends, strict=False)] + pieces[len(ends) :]
    out = read("nmap", b"".join(pieces), chunk_bytes)
    events_of(out)
    assert terminals(out) == 1


def test_events_have_the_times_nmap_gives() -> None:
    out = read("nmap", recording("groups.xml"))
    stamped = [event for event in events_of(out) if "ts" in event]
    assert len(stamped) >= len(events_of(out)) - 12  # a hosthint has none
    assert all(isinstance(event["ts"], int) and 1795732570 < event["ts"] < 1795732590 for event in stamped)
    assert {
        "scanStarted",
        "phaseStarted",
        "scanProgress",
        "portFound",
        "serviceDetected",
        "scanCompleted",
    } <= {str(event["type"]) for event in stamped}


@pytest.mark.parametrize("time", ["", "x", "-1", "0", "1e30", "nan"])
def test_a_time_that_is_none_is_left_out(time: str) -> None:
    document = recording("services.xml").replace(b'start="1795415116"', f'start="{time}"'.encode())
    (started,) = of_type(read("nmap", document), "scanStarted")
    assert "ts" not in started


def test_ipv6() -> None:
    out = read("nmap", recording("ipv6.xml"))
    assert [(port["ip"], port["port"]) for port in of_type(out, "portFound")] == [("::1", 18222)]
    (finding,) = of_type(out, "enumerationFinding")
    assert (finding["finding_type"], finding["ip"]) == ("banner", "::1")
    assert str(finding["value"]).startswith("SSH-2.0-OpenSSH_8.9p1")


def test_the_best_match_of_the_operating_system() -> None:
    (found,) = of_type(read("nmap", recording("os.xml")), "osDetected")
    assert (found["ip"], found["os"], found["accuracy"]) == ("127.0.0.1", "Linux 5.0 - 5.2", 97)
