"""Who may connect to which socket: a row of the module's table each."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.allow_list import MAX_KEYS, Peer, allow_list, parse_peer

KEY = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
OTHER = "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs"


def peer(*words: str, name: str = "ada", keys: tuple[str, ...] = (KEY,)) -> Peer:
    found, problems = parse_peer(name, "\n".join((*keys, *words)))
    assert not problems
    assert found is not None
    return found


def test_a_file_has_keys_words_and_remarks() -> None:
    text = f"# ada's scanner\n#\n\n  {KEY}\r\n{OTHER}\nproduce\nnames-owners\n"
    assert parse_peer("ada", text) == (
        Peer("ada", (KEY, OTHER), frozenset({"produce", "names-owners"})),
        [],
    )


def test_a_key_may_begin_as_a_remark_does() -> None:
    key = "#" + KEY[1:]
    assert peer(keys=(key,)).keys == (key,)


SOCKETS = {
    "ingest-0.data": "produce",
    "ingest-7.control": "produce",
    "shard-0.events": "read",
    "shard-12.history": "read",
    "shard-0.in": "stage",
    "edge-0.control": "stage",
    "notify.control": "stage",
    "": "stage",
    "something": "stage",
}


@pytest.mark.parametrize(
    "words", [(), ("produce",), ("read",), ("stage",), ("names-owners",), ("produce", "read")]
)
@pytest.mark.parametrize("socket", SOCKETS)
def test_a_key_opens_what_its_words_say_and_nothing_else(words: tuple[str, ...], socket: str) -> None:
    listed, _ = allow_list([peer(*words)])
    may = SOCKETS[socket] in (words or ("produce",)) or "stage" in words
    may = may or (words == ("names-owners",) and SOCKETS[socket] == "produce")
    assert listed.judge(socket, KEY) == (listed.peers["ada"], None if may else "role")
    assert listed.judge(socket, OTHER) == (None, "unknown_key")


def test_who_names_owners() -> None:
    assert [peer(word).names_owners for word in ("produce", "read", "stage", "names-owners")] == [
        False,
        False,
        True,
        True,
    ]
    assert [peer(word).may_produce for word in ("produce", "read", "stage", "names-owners")] == [
        True,
        False,
        True,
        True,
    ]


def test_every_key_of_a_peer_is_the_peer_s() -> None:
    ada, bob = peer(keys=(KEY, OTHER)), peer(name="bob", keys=("a" * 40,))
    listed, problems = allow_list([ada, bob])
    assert problems == []
    assert listed.by_key == {KEY: ada, OTHER: ada, "a" * 40: bob}


def test_a_key_of_two_peers_is_refused() -> None:
    _, problems = allow_list([peer(), peer(name="bob")])
    assert problems == [f"bob.pub: {KEY} is in ada.pub, too"]


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("ada", "", "0 keys; 1 to 8 are needed"),
        ("ada", "produce", "0 keys; 1 to 8 are needed"),
        ("ada", "\n".join([KEY] * (MAX_KEYS + 1)), "9 keys; 1 to 8 are needed"),
        (
            "ada",
            f"{KEY}\nadmin",
            "line 2: neither a public key of 40 Z85 characters (these are 5), nor one of produce",
        ),
        ("ada", KEY[:-1], "line 1: neither a public key of 40 Z85 characters (these are 39)"),
        ("a b", KEY, "the name may have 64 letters, digits and"),
        (".ada", KEY, "the name may have 64 letters, digits and"),
        ("a" * 65, KEY, "the name may have 64 letters, digits and"),
    ],
)
def test_what_is_wrong_is_named(name: str, text: str, problem: str) -> None:
    found, problems = parse_peer(name, text)
    assert found is None
    assert problems[0].startswith(problem)


@given(st.text(max_size=200), st.text(max_size=300))
def test_whatever_it_holds_it_is_read_or_refused(name: str, text: str) -> None:
    found, problems = parse_peer(name, text)
    assert (found is None) == bool(problems)
