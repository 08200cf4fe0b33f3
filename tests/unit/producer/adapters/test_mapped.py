"""Maps: rules read or refused with the reason, and lines made into events by them."""

from __future__ import annotations

import pytest

from pipeline.errors import OperatorError
from pipeline.producer.adapters.mapped import MAX_RULES, MapAdapter, read_rules
from tests.unit.producer.adapters.reading import Out, events_of, problems_of, read_by


def mapped(rules: list[str], document: bytes, *, part: bool = True) -> Out:
    return read_by(MapAdapter(read_rules(rules), part=part), document)


PORT = ["type==portFound", "ip=addr", "port=net.0.p", "protocol=net.0.proto", "state==Open"]


def test_paths_and_constants_and_other_spellings() -> None:
    out = mapped(PORT, b'{"addr":"10.0.0.5","net":[{"p":"443","proto":"tcp"}],"more":1}\n')
    assert events_of(out) == [
        {"type": "portFound", "ip": "10.0.0.5", "port": 443, "protocol": "TCP", "state": "Open"}
    ]


def test_a_whole_scan() -> None:
    out = mapped(PORT, b'{"addr":"a","net":[{"p":1,"proto":"udp"}]}\n', part=False)
    assert [event["type"] for event in events_of(out)] == ["scanStarted", "portFound", "scanCompleted"]


def test_types_and_values_are_translated_and_nothing_leaves_out() -> None:
    rules = ["type=kind{open:portFound,down:-,*:note}", "ip=ip", "port=port", "protocol==TCP"]
    rules += ["state==Open", "weight=w{1:low,true:2,*:-}"]
    lines = b'{"kind":"open","ip":"a","port":1,"w":1}\n{"kind":"down"}\n{"kind":"other","w":true}\n'
    assert events_of(mapped(rules, lines)) == [
        {"type": "portFound", "ip": "a", "port": 1, "protocol": "TCP", "state": "Open", "weight": "low"},
        {"type": "note", "protocol": "TCP", "state": "Open", "weight": 2},
    ]


def test_severities_in_any_case() -> None:
    rules = ["type==vulnerabilityFound", "ip=h", "severity=s", "title=t", "score==7.5", "kev==true"]
    (event,) = events_of(mapped(rules, b'{"h":"a","s":"HIGH","t":"x"}\n'))
    assert event == {
        "type": "vulnerabilityFound", "ip": "a", "severity": "High", "title": "x", "score": 7.5, "kev": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (
            b'{"net":[{"p":1,"proto":"tcp"}]}',
            "portFound: Object missing required field `ip`; nothing is found by ip=addr",
        ),
        (b'{"addr":"a","net":[]}', "; nothing is found by port=net.0.p, protocol=net.0.proto"),
        (b'{"addr":"a","net":[{"p":70000,"proto":"tcp"}]}', "portFound: Expected `int` <= 65535"),
        (b'{"addr":"a","net":[{"p":1,"proto":"sctp"}]}', "Invalid enum value 'sctp'"),
        (b"nonsense", "no JSON object: 'nonsense'"),
        (b"[1]", "no JSON object, but other JSON"),
    ],
)
def test_a_line_that_makes_no_event_is_told_with_the_rules_that_found_nothing(
    line: bytes, reason: str
) -> None:
    (problem,) = problems_of(mapped(PORT, b"\n" + line + b"\n"))
    assert problem.where == "line 2"
    assert reason in problem.message


def test_a_type_that_is_not_found_is_told() -> None:
    (problem,) = problems_of(mapped(["type=kind.name"], b'{"kind":"x"}\n'))
    assert problem.message == "type=kind.name finds nothing"


def test_values_of_any_kind_are_taken() -> None:
    lines = b'{"k":[[1]]}\n{"k":{"a":null}}\n{"k":null}\n{"k":1e308}\n{"k":"\\u0000"}\n'
    out = mapped(["type=k{*:note}", "x=k.0.0.0", "y=k.99999999999999999999", "z=k"], lines)
    assert len(events_of(out)) == 5


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        ([], "no rule says the type"),
        (["ip=x"], "no rule says the type; add one such as type==portFound"),
        (["type==a", "ip"], "'ip' is no rule: it must be FIELD=PATH"),
        (["type==a", "=x"], "'=x' is no rule"),
        (["type==a", "ip="], "'ip=' is no rule"),
        (["type==a", "ip=a..b"], "'a..b' is no path: names with dots between them"),
        (["type==a", "ip=.a"], "'.a' is no path"),
        (["type=k{a}"], "'a' is no translation: it must be FROM:TO"),
        (["type=k{a:b"], "'k{a:b' is no path"),
        (["type==a", "type==b"], "field 'type' has 2 rules; one is allowed"),
        (
            ["type==a", *(f"f{n}=x" for n in range(MAX_RULES))],
            f"{MAX_RULES + 1} rules exceed the limit of {MAX_RULES}",
        ),
    ],
)
def test_a_map_that_cannot_be_read_is_refused_with_the_reason(rules: list[str], reason: str) -> None:
    with pytest.raises(OperatorError) as refused:
        read_rules(rules)
    assert reason in str(refused.value)
