"""Objects out of a large document: each as it is there, with what stands around; bounded."""

from __future__ import annotations

import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.producer.adapters.json_parts import MAX_HEAD_BYTES, MAX_PART_BYTES, JsonParts, Part

DOCUMENT = b'{"a":"}\\"","s":[{"n":1,"l":[{"x":"{"},{"y":[{}]}]},{"n":2, "l": [ {"z":3} ] }],"e":[]}'


def cut(document: bytes, chunk_bytes: int = 0, depth: int = 4) -> tuple[list[Part], JsonParts]:
    parts = JsonParts(depth)
    step = chunk_bytes or len(document) or 1
    found = [
        part for start in range(0, len(document), step) for part in parts.feed(document[start : start + step])
    ]
    return found, parts


@pytest.mark.parametrize("chunk_bytes", [0, 1, 3])
def test_objects_come_with_what_stands_around(chunk_bytes: int) -> None:
    found, parts = cut(DOCUMENT, chunk_bytes)
    assert parts.whole
    assert [json.loads(part.text or b"") for part in found] == [{"x": "{"}, {"y": [{}]}, {"z": 3}]
    assert [json.loads(part.heads[2])["n"] for part in found] == [1, 1, 2]
    assert [json.loads(part.heads[0])["a"] for part in found] == ['}"'] * 3
    assert all(DOCUMENT[part.byte :].startswith(part.text or b"?") for part in found)


def test_until_its_end_it_is_not_whole() -> None:
    for end in range(len(DOCUMENT)):
        assert not cut(DOCUMENT[:end])[1].whole


@pytest.mark.parametrize("document", [b"}", b"[}", b'{"a":]', b"[" * 65])
def test_brackets_that_do_not_fit_are_refused(document: bytes) -> None:
    with pytest.raises(ValueError, match=r"closes what is not open|nested deeper"):
        cut(document)


def test_an_object_beyond_the_limit_is_told_and_the_next_comes() -> None:
    document = b'[[[[{"x":"' + b"x" * MAX_PART_BYTES + b'"},{"y":1}]]]]'
    for chunk_bytes in (0, 100_000):
        found, _ = cut(document, chunk_bytes)
        assert [part.text for part in found] == [None, b'{"y":1}']


def test_what_stands_around_is_held_up_to_its_limit() -> None:
    parts = JsonParts(4)
    tracemalloc.start()
    try:
        parts.feed(b'{"a":"')
        for _ in range(100):
            parts.feed(b"x" * 1_000_000)
        (part,) = parts.feed(b'","s":[{"l":[{"y":1}')
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert part.heads[0] == b""
    assert peak_bytes < 4_000_000
    assert MAX_HEAD_BYTES < 1_000_000


def test_many_things_beside_do_not_add_up() -> None:
    document = b'{"i":[' + b'{"k":"v"},' * 50_000 + b'{}],"s":[{"n":1,"l":[{"y":1}]}]}'
    (part,), _ = cut(document, 10_000)
    assert json.loads(part.heads[2]) == {"n": 1}


JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=20,
)


@given(JSON, st.integers(1, 9))
def test_any_document_in_any_pieces_gives_the_objects_of_its_depth(value: object, chunk_bytes: int) -> None:
    document = json.dumps({"top": value}).encode()

    def of_depth(node: object, depth: int) -> list[object]:
        if depth == 0:
            return [node] if isinstance(node, dict) else []
        inner = node.values() if isinstance(node, dict) else node if isinstance(node, list) else []
        return [found for each in inner for found in of_depth(each, depth - 1)]

    found, parts = cut(document, chunk_bytes, depth=2)
    assert parts.whole
    assert [json.loads(part.text or b"") for part in found] == of_depth({"top": value}, 2)
