"""How long ago events came, in bounded memory."""

from __future__ import annotations

from pipeline.edge.ages import Ages


def test_an_event_grows_too_old() -> None:
    ages = Ages(10.0)
    ages.came(5, 100.0)
    ages.came(9, 104.0)
    assert [ages.age_s(seq, 106.0) for seq in (1, 5, 6, 9, 10)] == [6.0, 6.0, 2.0, 2.0, 0.0]
    assert not ages.is_too_old(5, 110.0)
    assert ages.is_too_old(5, 110.1)
    assert not ages.is_too_old(6, 110.1)
    assert ages.is_too_old(9, 114.1)
    assert ages.age_s(5, 114.1) == 10.0
    assert not ages.is_too_old(10, 999.0), "what has not come is not old"


def test_a_new_life_begins_anew() -> None:
    ages = Ages(10.0)
    ages.came(5, 0.0)
    assert ages.is_too_old(5, 11.0)
    ages.clear()
    assert not ages.is_too_old(1, 12.0)


def test_however_much_comes_little_is_kept_and_ages_are_told_a_step_too_great_at_most() -> None:
    ages = Ages(10.0)
    for number in range(100_000):
        ages.came(number, number / 1_000)
    assert len(ages._came) <= 42
    now = 99.999
    for seq in range(90_100, 100_000, 77):
        assert -1e-9 <= ages.age_s(seq, now) - (now - seq / 1_000) <= 0.25 + 1e-9
