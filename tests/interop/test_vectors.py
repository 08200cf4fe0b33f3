"""The conformance vectors of docs/vectors.json, played to a real ingest and a real worker."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import zmq

from tests.harness import Pipeline, deadline, private_dir
from tests.sockets.peers import WAIT_S, Peers

VECTORS = json.loads((Path(__file__).parents[2] / "docs" / "vectors.json").read_text())["vectors"]


@pytest.fixture(scope="module")
def run_dir() -> Iterator[Path]:
    """Give the run directory of a pipeline."""
    with private_dir() as place, ExitStack() as stack:
        pipeline = Pipeline(place)
        stack.callback(pipeline.close)
        pipeline.start()
        yield pipeline.run_dir


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["name"] for vector in VECTORS])
def test_what_comes_back_is_what_is_promised(vector: dict[str, Any], run_dir: Path) -> None:
    with Peers(run_dir) as peers:
        sockets = {
            "data": peers.connect(zmq.PUSH, "ingest-0.data"),
            "control": peers.connect(zmq.DEALER, "ingest-0.control"),
        }
        heard: list[dict[str, Any]] = []
        for number, step in enumerate(vector["steps"]):
            if "send" in step:
                sockets[step["send"]].send(step["bytes"].encode("latin-1"))
            else:
                expect(sockets["control"], step["expect"], heard, f"step {number}")


def expect(
    control: zmq.Socket[bytes], wanted: dict[str, Any], heard: list[dict[str, Any]], where: str
) -> None:
    """Wait for a message like this one; what it holds is used up."""
    end = deadline(WAIT_S)
    while True:
        for message in heard:
            if covers(message, wanted):
                for name, items in wanted.items():
                    if isinstance(items, list):
                        message[name] = [
                            one for one in message[name] if not any(is_like(one, it) for it in items)
                        ]
                if wanted["type"] == "welcome":
                    heard.remove(message)
                return
        left = end - time.monotonic()
        assert left > 0, f"{where}: {wanted} did not come, but {heard}"
        if control.poll(int(left * 1000) + 1):
            heard.append(json.loads(control.recv()))


def covers(message: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Say whether a message has at least what is wanted."""
    for name, value in wanted.items():
        if isinstance(value, list):
            if not all(any(is_like(one, item) for one in message.get(name, [])) for item in value):
                return False
        elif message.get(name) != value:
            return False
    return True


def is_like(item: list[Any], wanted: list[Any]) -> bool:
    """Say whether an item begins as the wanted one does; what follows is a text for people."""
    return item[: len(wanted)] == wanted
