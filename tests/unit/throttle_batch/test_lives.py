from __future__ import annotations

from collections import Counter

import pytest

from pipeline.throttle_batch.config import LimitsSection, ThrottleBatchConfig
from pipeline.throttle_batch.lives import Lives
from tests.unit.throttle_batch.conftest import CATALOGUE, TERMINAL, Core

BOOT_MS = 1_000_000


def new_lives(**limits: int) -> tuple[Lives, Counter[str]]:
    counters: Counter[str] = Counter()
    config = ThrottleBatchConfig(limits=LimitsSection(**limits))
    return Lives(config, CATALOGUE, BOOT_MS, 0.0, counters), counters


def end(core: Core, channel) -> None:
    (run,) = core.read([TERMINAL])
    channel.accept(run, 0.0)
    channel.uncommitted()
    channel.committed(0.0)


def test_an_event_goes_to_the_present_life_until_a_start_after_its_end(core: Core) -> None:
    lives, _ = new_lives()
    assert lives.taking("scan/a", starts=False) is None
    first = lives.open("scan/a", "p", 1.0, starts=False)
    assert first.epoch == BOOT_MS + 1_000
    assert lives.taking("scan/a", starts=True) is first, "it has not ended"
    end(core, first)
    assert lives.taking("scan/a", starts=False) is first
    assert lives.taking("scan/a", starts=True) is None
    second = lives.open("scan/a", "p", 1.0, starts=True)
    assert second.epoch == first.epoch + 1, "later, though no time has passed"
    assert lives.current("scan/a") is second
    assert not lives.is_present(first)
    assert lives.holds(first)
    assert lives.life("scan/a", first.epoch) is first
    assert list(lives) == [first, second]
    assert lives.present() == [second]


@pytest.mark.parametrize("starts", [False, True])
def test_a_life_that_was_freed_is_gone_on_with(core: Core, starts: bool) -> None:
    lives, _ = new_lives()
    first = lives.open("scan/a", "p", 0.0, starts=True)
    end(core, first)
    lives.retire(first)
    assert not lives.holds(first)
    assert lives.past("scan/a").head == 1
    again = lives.open("scan/a", "q", 10.0, starts=starts)
    assert (again.epoch == first.epoch) == (not starts)
    assert lives.past("scan/a") is None


def test_what_a_producer_has_opened_is_counted_while_it_is_in_memory() -> None:
    lives, _ = new_lives()
    opened = [lives.open(f"scan/{name}", "p", 0.0, starts=False) for name in "ab"]
    lives.open("scan/c", "", 0.0, starts=False)
    assert (lives.opened_by("p"), lives.opened_by("q"), lives.opened_by("")) == (2, 0, 0)
    for channel in opened:
        lives.retire(channel)
    assert lives.opened_by("p") == 0
    assert not lives._opened, "and nothing is left behind"


def test_the_bounds() -> None:
    lives, counters = new_lives(max_channels=2, max_past_channels=1)
    opened = [lives.open(f"scan/{name}", "p", 0.0, starts=False) for name in "ab"]
    assert lives.full
    for channel in opened:
        lives.retire(channel)
    assert not lives.full
    assert lives.past("scan/a") is None, "freed longest ago"
    assert lives.past("scan/b") is not None
    assert counters == {"past_channels_forgotten": 1}
    lives.forget("scan/b", 1)
    assert lives.past("scan/b") is not None, "another life was meant"
    lives.forget("scan/b", BOOT_MS)
    assert lives.past("scan/b") is None
