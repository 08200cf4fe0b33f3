"""What holds for every tool that prints lines: whole, in pieces, cut off anywhere, with rubbish, huge."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InputMalformed
from pipeline.event import MAX_EVENT_BYTES
from pipeline.producer.adapters.tool_lines import MAX_LINE_BYTES, json_object
from tests.unit.producer.adapters.reading import events_of, of_type, problems_of, read, recording, terminals

SAMPLES = {
    "masscan.ndjson": "masscan",
    "masscan.json": "masscan",
    "masscan.list": "masscan",
    "nuclei.jsonl": "nuclei",
    "naabu.jsonl": "naabu",
    "httpx.jsonl": "httpx",
}
samples = pytest.mark.parametrize("sample", SAMPLES)


@samples
@pytest.mark.parametrize("chunk_bytes", [1, 97, 4096])
def test_whole_or_in_pieces_it_is_one_whole_scan(sample: str, chunk_bytes: int) -> None:
    out = read(SAMPLES[sample], recording(sample))
    types = [event["type"] for event in events_of(out)]
    assert (types[0], types[-1]) == ("scanStarted", "scanCompleted")
    assert len(types) > 5
    assert problems_of(out) == []
    assert read(SAMPLES[sample], recording(sample), chunk_bytes) == out


@samples
def test_cut_off_at_every_byte_it_ends_once_and_what_was_whole_is_there(sample: str) -> None:
    document = recording(sample)
    whole = events_of(read(SAMPLES[sample], document))
    for end in range(1, len(document)):
        out = read(SAMPLES[sample], document[:end])
        *before, last = events_of(out)
        assert terminals(out) == 1
        assert last["type"] in ("scanCompleted", "error")
        assert before[1:] == whole[1 : len(before)] or sample == "masscan.list"  # its words may be cut
        assert len(problems_of(out)) <= 1
        if problems_of(out):
            assert last["type"] == "error"
            assert f"line {document[:end].count(10) + 1}" in str(last["message"])


@samples
def test_a_part_is_the_same_without_its_ends(sample: str) -> None:
    whole = events_of(read(SAMPLES[sample], recording(sample)))
    assert events_of(read(SAMPLES[sample], recording(sample), part=True)) == whole[1:-1]


@samples
def test_rubbish_between_is_told_and_nothing_else_is_lost(sample: str) -> None:
    document = recording(sample)
    rubbish = b"\x00\xff{\n[[[[\n" + b'{"a":' * 3000 + b"\nnull nothing\n"
    out = read(SAMPLES[sample], document + rubbish)
    assert events_of(out) == events_of(read(SAMPLES[sample], document))
    first = document.count(10) + 1
    wheres = [problem.where for problem in problems_of(out)]
    assert set(wheres) <= {f"line {first + number}" for number in range(4)}
    assert len(wheres) >= 3


@samples
def test_nothing_but_rubbish_is_an_error(sample: str) -> None:
    out = read(SAMPLES[sample], b"what\nis\nthis\n")
    assert [problem.where for problem in problems_of(out)] == ["line 1", "line 2", "line 3"]
    (error,) = of_type(out, "error")
    assert error == {"message": f"nothing in the input was read as {SAMPLES[sample]}'s output"}


@samples
def test_an_empty_input_is_a_scan_that_found_nothing(sample: str) -> None:
    types = [event["type"] for event in events_of(read(SAMPLES[sample], b""))]
    assert types == ["scanStarted", "scanCompleted"]


@samples
def test_huge_values_fit_or_are_told(sample: str) -> None:
    document = recording(sample)
    for word in (b"10.0.0.5", b"nginx", b"ssh", b"tcp"):
        out = read(SAMPLES[sample], document.replace(word, "\U0001f4a3\\u0000".encode() * 40_000))
        assert all(len(item) <= MAX_EVENT_BYTES for item in out if isinstance(item, bytes))
        assert all(len(problem.message) < 400 for problem in problems_of(out))
        assert terminals(out) == 1


@pytest.mark.parametrize("name", ["masscan", "nuclei"])
def test_a_line_beyond_the_limit_is_told(name: str) -> None:
    out = read(
        name,
        b'{"a":"'
        + b"x" * MAX_LINE_BYTES
        + b'"}\n'
        + recording(f"{name}.{'list' if name == 'masscan' else 'jsonl'}"),
    )
    assert [problem.message for problem in problems_of(out)] == [
        f"line exceeds the limit of {MAX_LINE_BYTES} bytes; skipped"
    ]
    assert len(events_of(out)) > 5


PIECES = st.sampled_from(
    [line + b"\n" for sample in SAMPLES for line in recording(sample).splitlines()]
    + [
        b"\n",
        b"[",
        b"]",
        b",",
        b"{",
        b"}",
        b"\xff",
        b'{"ip":1}',
        b'{"port":[]}',
        b'{"info":{}}\n',
        b"open tcp",
    ]
)


@given(st.sampled_from(sorted(set(SAMPLES.values()))), st.lists(PIECES, max_size=12), st.integers(1, 300))
def test_whatever_comes_it_never_raises_and_ends_once(
    name: str, pieces: list[bytes], chunk_bytes: int
) -> None:
    document = b"".join(pieces)
    out = read(name, document, chunk_bytes)
    events_of(out)
    assert terminals(out) == 1
    assert out == read(name, document)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "ip",
                        "port",
                        "ports",
                        "proto",
                        "rec_type",
                        "data",
                        "info",
                        "url",
                        "host",
                        "template-id",
                        "status",
                        "requests",
                        "total",
                        "service",
                    ]
                ),
                inner,
                max_size=6,
            )
        ),
        max_leaves=12,
    )
)
def test_values_of_any_kind_are_taken(value: object) -> None:
    for name in sorted(set(SAMPLES.values())):
        events_of(read(name, json.dumps(value).encode() + b"\n"))


def test_an_object_or_the_reason() -> None:
    assert json_object(b'{"a":1}') == {"a": 1}
    for line, reason in (
        (b"[]", "other JSON"),
        (b"{", "no JSON object"),
        (b'{"a":"\xff"}', "no JSON object"),
    ):
        with pytest.raises(InputMalformed, match=reason):
            json_object(line)
