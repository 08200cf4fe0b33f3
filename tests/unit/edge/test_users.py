"""What one user has and does counts for that one alone, and is bounded."""

from __future__ import annotations

from msgspec.structs import replace

from pipeline.edge.accounts_section import UsersSection
from pipeline.edge.users import Users

FEW = UsersSection(
    max_connections=2,
    max_subscriptions=3,
    max_exports=1,
    requests_per_s=2.0,
    request_burst=2,
    posts_per_s=1.0,
    post_burst=1,
    messages_per_s=4.0,
    message_burst=4,
)


def test_each_thing_has_a_bound_of_its_own_and_each_user_all_of_it() -> None:
    users = Users(FEW)
    for name in ("ada", "bob"):
        for places, most in ((users.connections, 2), (users.subscriptions, 3), (users.exports, 1)):
            assert [places.enter(name) for _ in range(most + 1)] == [True] * most + [False]
        for rates, burst in ((users.requests, 2), (users.posts, 1), (users.messages, 4)):
            assert [rates.knock(name, 5.0) > 0 for _ in range(burst + 1)] == [False] * burst + [True]


def test_who_waits_as_long_as_told_is_let_in() -> None:
    users = Users(FEW)
    for rates in (users.requests, users.posts, users.messages):
        while not (wait_s := rates.knock("ada", 5.0)):
            pass
        assert rates.knock("ada", 5.0 + wait_s) == 0


def test_what_was_let_go_of_can_be_had_again() -> None:
    users = Users(FEW)
    assert users.exports.enter("ada")
    users.exports.leave("ada")
    assert users.exports.enter("ada")


def test_other_limits_hold_at_once_and_nobody_is_sent_away() -> None:
    users = Users(FEW)
    for _ in range(2):
        users.connections.enter("ada")
        users.requests.knock("ada", 5.0)
    users.follow(replace(FEW, max_connections=3, request_burst=3))
    assert [users.connections.enter("ada") for _ in range(2)] == [True, False]
    assert users.requests.knock("ada", 5.0) == 0
    users.follow(replace(FEW, max_connections=1))
    for _ in range(2):
        users.connections.leave("ada")
    assert not users.connections.enter("ada"), "one is open still, and that is all there may be"


def test_nobody_is_remembered_for_what_is_over() -> None:
    users = Users(FEW)
    users.connections.enter("ada")
    users.subscriptions.enter("ada")
    users.exports.enter("bob")
    assert users.known == 2
    users.connections.leave("ada")
    users.subscriptions.leave("ada")
    users.exports.leave("bob")
    assert users.known == 0
    for number in range(1_000):
        users.requests.knock(f"user-{number}", float(number))
    assert users.known <= 2
