"""What everybody must have got, exactly.

The log, as history gives it, holds every event of every producer once and in order; and what a reader got is
that log, but for state events that a later one of its frame replaced, which are counted.
"""

from __future__ import annotations

from collections import defaultdict

import msgspec

from tests.e2e.watching import NativeReader
from tests.faults.readers import StayingHeroForge


class _Event(msgspec.Struct):
    type: str
    producer: str = ""


_read = msgspec.json.Decoder(_Event).decode


def check_log(log: list[bytes], sent: dict[str, list[bytes]]) -> None:
    """Hold the log against what the producers sent.

    Raises:
        AssertionError: an event is lost, there twice, out of order, or was never sent.
    """
    found: dict[str, list[bytes]] = defaultdict(list)
    for raw in log:
        found[_read(raw).producer].append(raw)
    assert found.keys() - sent.keys() <= {""}, f"from nobody: {found.keys() - sent.keys()}"
    for name, wanted in sent.items():
        got = found[name]
        if got != wanted:
            lost = [raw for raw in wanted if raw not in got]
            twice = sorted({raw for raw in got if got.count(raw) > 1})
            raise AssertionError(
                f"{name}: {len(got)} events for {len(wanted)}; lost {lost[:5]}, twice {twice[:5]}"
                f"{'' if lost or twice else ', out of order'}"
            )


def check_held(who: str, held: dict[int, bytes], log: list[bytes], first: int = 1) -> int:
    """Hold what a reader got against the log, from seq `first` on.

    Returns:
        How many state events it was not given.

    Raises:
        AssertionError: something else is missing, or not as in the log.
    """
    wrong = [seq for seq, raw in held.items() if not 0 < seq <= len(log) or log[seq - 1] != raw]
    assert not wrong, f"{who}: not what the log holds: {wrong[:5]}"
    missing = [seq for seq in range(first, len(log) + 1) if seq not in held]
    lost = [seq for seq in missing if _read(log[seq - 1]).type != "scanProgress"]
    assert not lost, f"{who}: lost {lost[:5]}"
    return len(missing)


def check_native(reader: NativeReader, log: list[bytes], first: int = 1) -> None:
    """Hold what a reader of our own messages got, by whatever transport, against the log from seq `first` on.

    Raises:
        AssertionError: it lost something, was not told, or its ledger does not add up.
    """
    who = type(reader).__name__
    assert reader.problems == [], f"{who}: {reader.problems[:5]}"
    assert (reader.lags, reader.resets) == ([], []), f"{who}: {reader.lags or reader.resets}"
    assert not any(hello.resumed is False for hello in reader.hellos), f"{who} could not resume"
    assert len(reader.events) == 1, f"{who}: lives {list(reader.events)}"
    (held,) = reader.events.values()
    merged = check_held(who, held, log, first)
    assert merged == reader.merged, f"{who}: {merged} are missing, {reader.merged} are told"


def check_heroforge(reader: StayingHeroForge, log: list[bytes]) -> None:
    """Hold each connection of HeroForge's wire against the log: a part of it without a hole.

    Raises:
        AssertionError: within a connection something is lost, twice or out of order.
    """
    assert reader.problems == [], f"HeroForge: {reader.problems[:5]}"
    for got in reader.connections:
        if not got:
            continue
        place = log.index(got[0])
        for raw in got:
            while log[place] != raw:
                assert _read(log[place]).type == "scanProgress", f"HeroForge: lost {log[place]!r} or so"
                place += 1
                assert place < len(log), f"HeroForge: out of order or twice: {raw!r}"
            place += 1
