"""A template is filled from the event's JSON, and reaches nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.tail.template import MAX_DEPTH, MAX_FIELDS, MISSING, Template

PLACE = {"time": "07:08:09.123", "scan": "demo", "channel": "scan/demo", "epoch": "5", "seq": "42"}


def filled(text: str, fields: dict[str, object]) -> list[object]:
    """The parts, a value that is to be shown as a list of one."""
    return [part if isinstance(part, str) else list(part) for part in Template(text).fill(PLACE, fields)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("plain", ["plain"]),
        ("{ip}:{port}", [["10.0.0.5"], ":", [443]]),
        ("{time} {scan} {channel}", ["07:08:09.123", " ", "demo", " ", "scan/demo"]),
        ("{epoch}:{seq}", ["5", ":", "42"]),
        ("{{{ip}}}", ["{", ["10.0.0.5"], "}"]),
        ("{a.b}", [["deep"]]),
        ("{a}", [[{"b": "deep", "c": {}}]]),
        ("{gone}{a.gone}{ip.x}{none}{a.b.c}", [MISSING] * 5),
    ],
)  # fmt: skip
def test_it_is_filled(text: str, expected: list[object]) -> None:
    fields = {"ip": "10.0.0.5", "port": 443, "a": {"b": "deep", "c": {}}, "none": None, "seq": "forged"}
    assert filled(text, fields) == expected


@pytest.mark.parametrize(
    "text",
    [
        "{", "}", "a{b", "a}b", "{}", "{ip!r}", "{ip:>1000000000}", "{ip[0]}", "{0}", "{.a}", "{a.}",
        "{a..b}", "{a b}",
        "{__class__.__init__.__globals__[x]}", "{ä}", "{{a}", ".".join(["{a", *"b" * MAX_DEPTH]) + "}",
        "{a}" * (MAX_FIELDS + 1),
    ],
)  # fmt: skip
def test_what_is_no_template_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"template|limit"):
        Template(text)


@pytest.mark.parametrize("text", ["{__class__}", "{ip.__class__}", "{a.__init__.__globals__}", "{a.keys}"])
def test_no_attribute_is_reached(text: str) -> None:
    assert filled(text, {"ip": "x", "a": {}}) == [MISSING]


def test_values_are_not_templates_themselves() -> None:
    assert filled("{x}", {"x": "{ip}", "ip": "secret"}) == [["{ip}"]]


@given(st.text(alphabet="{}ab.!:[", max_size=12))
def test_any_text_is_a_template_or_refused(text: str) -> None:
    try:
        template = Template(text)
    except ValueError:
        return
    template.fill(PLACE, {"a": {"b": 1}})
