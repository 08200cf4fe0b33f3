"""Whether a pipeline that was just started can be used: every ingest answers, and the edge hears every shard.

Asks the processes themselves; a socket file or an open port may be somebody else's, or left behind.
"""

from __future__ import annotations

import contextlib
import http.client
from pathlib import Path

import zmq

from pipeline.sockets import Binder, drain, ingest_control
from pipeline.wire import StatsRequest, encode

ANSWER_S = 0.5
"""How long the edge may take to answer; on the loopback address it takes milliseconds."""


class Readiness:
    """Args:
    run_dir: the run directory.
    ingests: how many ingests there are.
    address: where the edges listen.
    port: the port they listen on.
    """

    def __init__(self, run_dir: Path, ingests: int, address: str, port: int) -> None:
        self._address = address
        self._port = port
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._binder = Binder(self._context, run_dir)
        self._unheard = {
            f"ingest-{index}": self._binder.connect(zmq.DEALER, [ingest_control(index)], high_water_mark=1)
            for index in range(ingests)
        }

    def missing(self) -> list[str]:
        """Ask once more who has not answered yet; takes `ANSWER_S` at most.

        Returns:
            Who is not ready, with what it said; empty when the pipeline can be used.
        """
        for name, control in list(self._unheard.items()):
            if any(drain(control, 1)):
                del self._unheard[name]
                continue
            with contextlib.suppress(zmq.Again):  # the question before waits still
                control.send(encode(StatsRequest()), zmq.NOBLOCK)
        edge = self._edge_problem()
        return [f"{name}: no answer" for name in self._unheard] + ([edge] if edge else [])

    def close(self) -> None:
        """Close the sockets."""
        self._binder.close()
        self._context.term()

    def _edge_problem(self) -> str | None:
        connection = http.client.HTTPConnection(self._address, self._port, timeout=ANSWER_S)
        try:
            connection.request("GET", "/readyz")
            answer = connection.getresponse()
            if answer.status == http.HTTPStatus.OK:
                return None
            return f"edge: {answer.status} {answer.read(200).decode(errors='replace').strip()}"
        except (OSError, http.client.HTTPException) as error:
            return f"edge: {error}"
        finally:
            connection.close()
