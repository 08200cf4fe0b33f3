"""A libzmq with known weaknesses is refused, at the start of each process."""

from __future__ import annotations

import pytest
import zmq

from pipeline.errors import LibraryError
from pipeline.libzmq import MIN_LIBZMQ, check_libzmq


@pytest.mark.parametrize("version", [MIN_LIBZMQ, (4, 3, 5), (4, 4, 0), (5, 0, 0), zmq.zmq_version_info()])
def test_one_that_is_new_enough_is_taken(version: tuple[int, int, int]) -> None:
    check_libzmq(version)


@pytest.mark.parametrize("version", [(4, 3, 2), (4, 2, 9), (3, 9, 9)])
def test_an_older_one_is_refused_with_both_versions_and_what_to_do(version: tuple[int, int, int]) -> None:
    with pytest.raises(LibraryError, match=r"at least 4\.3\.3 is needed.*CVE-2020-15166.*install") as refused:
        check_libzmq(version)
    assert ".".join(map(str, version)) in str(refused.value)
