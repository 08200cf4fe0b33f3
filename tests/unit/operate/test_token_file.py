"""The token that a command brings comes from a file, and nothing of it is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import OperatorError
from pipeline.operate.token_file import read_token_file


def test_a_token_is_read_without_the_space_around_it(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("\n a.b.c \n")
    assert read_token_file(tmp_path / "token") == "a.b.c"
    assert read_token_file(None) == ""


@pytest.mark.parametrize("content", [b"", b"secret", b"a.b.c\r\nX-Evil: 1", b"a.b.\xff"])
def test_what_is_none_is_refused_and_not_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(OperatorError, match=r"holds no token$"):
        read_token_file(tmp_path / "token")


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="No such file"):
        read_token_file(tmp_path / "absent")
