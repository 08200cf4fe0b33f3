"""What every stage told, as one document."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from pipeline.stages import MAX_AGE_S, SLOW_S, Stages, Told, labelled, place
from pipeline.wire import ReadersSummary, StatsReply

NOW_MS = 1_795_416_708_000


def reply(name: str, counters: dict[str, float], *, pid: int = 1, **about: Any) -> StatsReply:
    return StatsReply(1, name, counters, pid, **{"version": "1", "uptime_s": 5.0, **about})


def told(name: str, counters: dict[str, float] | None = None, **about: Any) -> Told:
    readers = ReadersSummary() if name.startswith("edge") else None
    return Told(name, reply(name, counters or {}, **about), readers)


def entries(stages: Stages, answers: list[Told], now: float = 0.0) -> dict[str, Any]:
    document = json.loads(json.dumps(stages.document(answers, now, NOW_MS)))
    return {entry["name"]: entry for entry in document["stages"]}


def test_stages_stand_in_the_order_in_which_an_event_passes_them() -> None:
    names = ["notify", "edge-0", "shard-10", "shard-2", "ingest-1", "ingest-0"]
    assert list(entries(Stages(), [told(name) for name in names])) == [
        *("ingest-0", "ingest-1", "shard-2", "shard-10", "edge-0", "notify")
    ]
    assert place("shard-10") > place("shard-2")


def test_a_rate_needs_two_answers_of_one_process() -> None:
    stages = Stages()
    rates = {"events_per_s": None, "bytes_per_s": None}
    assert entries(stages, [told("ingest-0", {"events": 10})], 1.0)["ingest-0"]["rates"] == rates
    now = entries(stages, [told("ingest-0", {"events": 30, "bytes": 5})], 3.0)["ingest-0"]
    assert now["rates"] == {"events_per_s": 10.0, "bytes_per_s": 2.5}
    again = entries(stages, [told("ingest-0", {"events": 8}, pid=2)], 4.0)["ingest-0"]
    assert again["rates"] == rates
    late = entries(stages, [told("ingest-0", {"events": 9}, pid=2)], 4.1 + MAX_AGE_S)["ingest-0"]
    assert late["rates"] == rates


def test_one_that_is_silent_is_told_with_what_was_last_known() -> None:
    stages = Stages()
    never = entries(stages, [Told("shard-0")], 1.0)["shard-0"]
    assert (never["alive"], never["heard_s"], never["pid"]) == (False, None, None)
    assert never["problems"] == ["silent"]
    assert never["journal"]["writable"] is None
    entries(stages, [told("shard-0", {"channels": 4, "writable": 0}, pid=9)], 2.0)
    silent = entries(stages, [Told("shard-0")], 5.5)["shard-0"]
    assert (silent["alive"], silent["heard_s"], silent["pid"]) == (False, 3.5, 9)
    assert (silent["channels"], silent["uptime_s"]) == (4, None)
    assert silent["problems"] == ["silent"]
    assert silent["rates"] == dict.fromkeys(("events_per_s", "frames_per_s", "bytes_per_s"))


def test_one_that_is_gone_is_forgotten() -> None:
    stages = Stages()
    entries(stages, [told("ingest-0", {"events": 5})], 1.0)
    assert entries(stages, [], 2.0) == {}
    assert entries(stages, [Told("ingest-0")], 3.0)["ingest-0"]["heard_s"] is None


def test_what_is_wrong_is_named() -> None:
    behind = Told("edge-1", reply("edge-1", {"draining": 1.0}), ReadersSummary(paces={10: 3, 5: 1, 1: 1}), 5)
    found = entries(
        Stages(),
        [
            told("ingest-0"),
            told("shard-0", {"writable": 0.0}),
            told("shard-1", {"writable": 1.0}, delay_s=SLOW_S),
            told("edge-0", version="2"),
            behind,
        ],
    )
    assert {name: entry["problems"] for name, entry in found.items()} == {
        "ingest-0": [],
        "shard-0": ["unwritable"],
        "shard-1": ["slow"],
        "edge-0": ["other_version"],
        "edge-1": ["readers_behind", "draining"],
    }
    assert found["edge-1"]["readers"]["behind"] == 2
    assert list(found["edge-1"]["readers"]["paces"]) == ["10", "5", "1"]


def test_what_an_edge_has_sent_includes_connections_that_are_open() -> None:
    stages = Stages()
    for at, (ended, open_) in enumerate([(10, 0), (10, 30), (45, 5)]):
        answer = Told(
            "edge-0", reply("edge-0", {"messages_sent": ended}), ReadersSummary(messages=open_, bytes=1), 1
        )
        edge = entries(stages, [answer], float(at))["edge-0"]
        assert edge["counters"]["messages_sent"] == ended + open_
    assert edge["rates"]["messages_per_s"] == 10.0


def test_a_commit_is_told_with_its_age() -> None:
    found = entries(Stages(), [told("shard-0", {"committed_ms": NOW_MS - 1_500, "writable": 1.0})])["shard-0"]
    assert found["journal"]["committed_s"] == 1.5
    assert found["journal"]["committed_at"] == "2026-11-23T06:51:46.500Z"


def test_labels_are_counted_the_greatest_first() -> None:
    counters = {"rejected{reason=json}": 2.0, "rejected{reason=utf8}": 5, "dropped{reason=x}": 1, "events": 9}
    assert list(labelled({**counters, "rejected{reason=quota}": 0}, "rejected").items()) == [
        ("utf8", 5),
        ("json", 2),
    ]


def test_the_answer_shown_has_the_fields_of_the_code() -> None:
    text = (Path(__file__).parents[2] / "docs" / "PROTOCOL.md").read_text()
    (shown,) = re.findall(r'^\{"at":.*"stages":.*$', text, re.MULTILINE)
    answers = []
    for entry in json.loads(shown)["stages"]:
        readers = ReadersSummary({"native": 1}, {10: 1}) if entry["stage"] == "edge" else None
        answers.append(Told(entry["name"], reply(entry["name"], entry["counters"]), readers, 1))
    made = entries(Stages(), answers)
    assert [fields(entry) for entry in json.loads(shown)["stages"]] == [fields(e) for e in made.values()]
    for entry in json.loads(shown)["stages"]:
        assert made[entry["name"]]["rejected"] == entry["rejected"]
        assert made[entry["name"]].get("journal") == entry.get("journal")
        assert made[entry["name"]].get("queue") == entry.get("queue")


def fields(value: Any) -> Any:
    """Return the fields of an object and of what is in it, not their values."""
    return {name: fields(inner) for name, inner in value.items()} if isinstance(value, dict) else None


def test_of_notify_there_is_one_and_its_hooks_are_told() -> None:
    counters = {"frames": 2, "delivered": 3, "waiting": 4, "hooks_failing": 1}
    stages = Stages()
    notify = entries(stages, [told("notify", counters)], 1.0)["notify"]
    assert (notify["stage"], notify["index"], notify["problems"]) == ("notify", 0, ["hooks_failing"])
    assert notify["messages"] == {"waiting": 4, "delivered": 3, "hooks_failing": 1, "hooks_gone": 0}
    again = entries(stages, [told("notify", {**counters, "delivered": 7, "hooks_failing": 0})], 3.0)["notify"]
    assert again["rates"] == {"frames_per_s": 0.0, "messages_per_s": 2.0}
    assert again["problems"] == []
    gone = entries(stages, [told("notify", {"hooks_gone": 1})], 4.0)["notify"]
    assert gone["problems"] == ["hooks_failing"]
