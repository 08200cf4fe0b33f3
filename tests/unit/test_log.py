"""Log lines: one fact a line, whatever a banner says."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.log import MAX_VALUE_CHARACTERS, LimitedLog, Log, escape, start_log


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = before


def opened(style: str, level: str = "info") -> tuple[Log, io.StringIO]:
    stream = io.StringIO()
    return start_log("edge-test", level, style, stream), stream


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


HOSTILE = [
    "\x1b[2J\x1b]0;owned\x07",
    "a\nready edge=http://evil/",
    "a\r\n",
    "\u2028",
    "\u202etxt.exe",
    "\x00",
    "\x7f\x9b",
    "\udc80",
    "\ufeff",
    "\U000e0041",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_that_drives_a_terminal_or_forges_a_line_gets_through(text: str) -> None:
    assert escape(text).isprintable()
    for style in ("text", "json"):
        log, stream = opened(style)
        log.info("said", banner=text)
        written = stream.getvalue()
        assert written.count("\n") == 1
        assert written[:-1].isprintable()


@given(st.text())
def test_escaping_loses_nothing_and_says_the_same_twice(text: str) -> None:
    escaped = escape(text)
    assert escaped.isprintable()
    assert escape(escaped) == escaped
    if text.isprintable():
        assert escaped == text


def test_plain_text_stays() -> None:
    assert escape("nginx 1.25 - größe 漢字") == "nginx 1.25 - größe 漢字"


def test_a_json_line_has_its_fact_and_its_fields() -> None:
    log, stream = opened("json")
    log.bind(scan="demo").warning("refused", code=4403, ratio=0.5, live=True, problem=ValueError("no\n"))
    (line,) = lines(stream)
    assert str(line.pop("time")).endswith("Z")
    assert line == {
        "level": "warning",
        "process": "edge-test",
        "fact": "refused",
        "scan": "demo",
        "code": 4403,
        "ratio": 0.5,
        "live": True,
        "problem": "no\\n",
    }


def test_a_text_line_quotes_what_could_be_taken_for_another_field() -> None:
    log, stream = opened("text")
    log.info("said", banner="x code=0", empty="", plain="y")
    assert stream.getvalue().rstrip().endswith('info    edge-test said banner="x code=0" empty="" plain=y')


def test_a_long_value_is_cut_with_a_mark() -> None:
    log, stream = opened("json")
    log.info("said", banner="x" * 10_000)
    (line,) = lines(stream)
    assert line["banner"] == "x" * MAX_VALUE_CHARACTERS + "…"


def test_bound_fields_stay_with_the_log_they_were_bound_to() -> None:
    log, stream = opened("json")
    bound = log.bind(a=1).bind(b=2)
    log.info("one")
    bound.info("two", b=3)
    assert [(line.get("a"), line.get("b")) for line in lines(stream)] == [(None, None), (1, 3)]


@pytest.mark.parametrize(("level", "written"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_a_level_is_the_least_severe_that_is_written(level: str, written: int) -> None:
    log, stream = opened("json", level)
    log.debug("d")
    log.info("i")
    log.warning("w")
    log.error("e")
    assert len(lines(stream)) == written


def test_libraries_warnings_are_lines_too() -> None:
    _, stream = opened("json")
    logging.getLogger("tornado.general").warning("odd %s", "thing\n")
    logging.getLogger("tornado.general").info("not this")
    (line,) = lines(stream)
    assert (line["process"], line["fact"]) == ("tornado.general", "odd thing\\n")


def test_an_exception_stands_in_the_line() -> None:
    log, stream = opened("json")
    del log
    try:
        raise ValueError("x")
    except ValueError:
        logging.getLogger("asyncio").exception("failed")
    (line,) = lines(stream)
    assert "ValueError: x" in str(line["traceback"])


@pytest.mark.parametrize("style", ["json", "text"])
def test_what_an_exception_repeats_drives_no_terminal_and_forges_no_line(style: str) -> None:
    _, stream = opened(style)
    try:
        raise ValueError("\x1b]0;x\x07 \u202e\n12:00:00.000 info    edge-0 ready")
    except ValueError:
        logging.getLogger("asyncio").exception("failed")
    written = stream.getvalue()
    assert "\x1b" not in written
    assert "\u202e" not in written
    assert "ready" in written
    assert not any(line.startswith("12:00") for line in written.splitlines()[1:])


def test_auto_is_text_on_a_terminal_and_json_otherwise() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    start_log("p", "info", "auto", terminal).info("said")
    assert not terminal.getvalue().startswith("{")
    log, stream = opened("auto")
    log.info("said")
    assert lines(stream)[0]["fact"] == "said"


def test_so_many_warnings_a_second_and_the_rest_counted_in_the_next() -> None:
    log, stream = opened("json")
    limited = LimitedLog(log, most=2)
    for number in range(5):
        limited.warning("bad", 10.0 + number / 10, n=number)
    limited.warning("bad", 11.0, n=5)
    limited.warning("bad", 11.1, n=6)
    assert [(line["n"], line.get("held_back")) for line in lines(stream)] == [
        (0, None),
        (1, None),
        (5, 3),
        (6, None),
    ]


def test_so_many_warnings_a_minute() -> None:
    log, stream = opened("json")
    limited = LimitedLog(log, 1, 60.0)
    for now in (0.0, 59.0, 60.0, 119.0, 121.0):
        limited.warning("bad", now)
    assert [line.get("held_back") for line in lines(stream)] == [None, 1, 1]
