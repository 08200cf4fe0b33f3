"""TOML, written: what comes out loads as what went in."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.toml_text import assignments, comment, encodable, shown, toml_key, toml_value

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    TEXTS | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(TEXTS, VALUES, max_size=4))
def test_what_is_written_loads_as_what_it_was(table: dict[str, object]) -> None:
    lines = assignments(table)
    assert tomllib.loads("\n".join(lines)) == table
    assert not any("\n" in line for line in lines)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (False, "false"),
        (1, "1"),
        (1.0, "1.0"),
        ('a"b\\', r'"a\"b\\"'),
        ("é\x7f\n", r'"é\u007f\n"'),
        ([1, "a"], '[1, "a"]'),
        ({"a": 1, "b c": []}, '{a = 1, "b c" = []}'),
    ],
)
def test_values(value: object, text: str) -> None:
    assert toml_value(value) == text


@pytest.mark.parametrize(
    ("key", "text"), [("a-b_C9", "a-b_C9"), ("a b", '"a b"'), ("", '""'), ("a\n", r'"a\n"'), ("é", '"é"')]
)
def test_keys(key: str, text: str) -> None:
    assert toml_key(key) == text


def test_what_utf8_cannot_say_is_a_question_mark() -> None:
    assert encodable("aé\udcff") == "aé?"
    assert toml_value("\udcff") == '"?"'


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a" * 78, f'"{"a" * 78}"'),
        ("a" * 79, f'"{"a" * 79}...'),
        (["a"], "(a list)"),
        ({"a": 1}, "(a table)"),
        (2**63 - 1, "9223372036854775807"),
        (2**63, "(a number of 64 bits)"),
    ],
)
def test_in_a_message(value: object, text: str) -> None:
    assert shown(value) == text


def test_a_number_too_long_to_be_printed() -> None:
    assert shown(-(2**20_000)) == "(a number of 20001 bits)"


def test_a_comment_is_at_most_100_columns_wide() -> None:
    lines = comment("word " * 100)
    assert all(line.startswith("# word") for line in lines)
    assert max(map(len, lines)) in range(96, 101)
    assert " ".join(line.removeprefix("# ") for line in lines).split() == ["word"] * 100


def test_a_comment_is_broken_at_spaces_only() -> None:
    long = "a-" * 100
    assert comment(f"see {long} there") == ["# see", f"# {long}", "# there"]
    assert comment("") == []
