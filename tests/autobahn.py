"""Autobahn's WebSocket cases against the edge's own reading and writing of frames.

The testsuite runs under Python 2.7 only and is no dependency of this project. Where it can be installed:

    python2.7 -m pip install --target SITE autobahntestsuite
    .venv/bin/python -m tests.autobahn --python python2.7 --site SITE

The edge does not echo, and Autobahn needs an echo. So this serves one that is made of the edge's WebSocket:
the request is upgraded by its handler, frames are read and answered by `ws_connection`, text goes out as the
edge composes it, compressed as it agrees to. Bounds are raised so that the large cases of section 9 can run;
the edge itself refuses what is above `max_inbound_bytes`. Prints each case that is not passed, and a count by
section; exit code 1 if one failed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import subprocess
import tempfile
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from msgspec.structs import replace
from tornado.web import Application

from pipeline.edge.access import Visit
from pipeline.edge.config import EdgeConfig, LimitsSection
from pipeline.edge.handlers.websocket import BrowserSocket
from pipeline.edge.visitors import Rate
from pipeline.edge.ws_connection import WebSocketConnection
from pipeline.edge.ws_frame import text_frame
from pipeline.log import Log

MAX_BYTES = 64 * 1024 * 1024
PASSED = {"OK", "INFORMATIONAL", "NON-STRICT"}
"""What Autobahn itself counts as passed; NON-STRICT: right, but later than could be."""
STARTER = "import site; site.addsitedir({site!r}); from autobahntestsuite.wstest import run; run()"


class Echo(BrowserSocket):
    """The edge's WebSocket, which gives back what it gets."""

    def initialize(self, service: Any) -> None:
        super().initialize(service, "heroforge")

    def prepare(self) -> None:
        self._visit = Visit(address="127.0.0.1", scheme="http", refused=None, foreign=None)

    def _check(self, channel_id: str) -> None:
        """Take whatever comes."""

    def _read(self, connection: WebSocketConnection, channel_id: str) -> None:
        def give_back(message: str | bytes) -> None:
            if isinstance(message, bytes):
                connection.transmitter.write(b"\x82" + text_frame(message)[1:])
            else:
                connection.transmitter.write(self._variant.message(message.encode()))

        connection.hear = give_back


async def serve(python: str, site: str, cases: list[str], place: Path) -> dict[str, Any]:
    """Run the cases; return what Autobahn says of each."""
    service = SimpleNamespace(
        config=replace(EdgeConfig(), limits=replace(LimitsSection(), max_inbound_bytes=MAX_BYTES)),
        counters=Counter(),
        inbound_rate=Rate(1e9, 1e9),
        admit=lambda *_: None,
        release=lambda *_: None,
        refuse=lambda *_a, **_f: None,
        log=Log(logging.getLogger("autobahn")),
    )
    application = Application([(r"/", Echo, {"service": service})])
    server = application.listen(0, "127.0.0.1", max_buffer_size=2 * MAX_BYTES)
    (listening,) = server._sockets.values()
    spec = {
        "outdir": str(place / "reports"),
        "servers": [{"agent": "edge", "url": f"ws://127.0.0.1:{listening.getsockname()[1]}/"}],
        "cases": cases,
        "exclude-cases": [],
        "exclude-agent-cases": {},
    }
    (place / "spec.json").write_text(json.dumps(spec))
    command = [python, "-c", STARTER.format(site=site), "-m", "fuzzingclient", "-s", str(place / "spec.json")]
    process = await asyncio.create_subprocess_exec(*command, cwd=place, stdout=subprocess.DEVNULL)
    await process.wait()
    server.stop()
    found: dict[str, Any] = json.loads((place / "reports" / "index.json").read_text())["edge"]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="Autobahn's cases against the edge's WebSocket.")
    parser.add_argument("--python", default="python2.7", help="a Python 2.7")
    parser.add_argument("--site", default="", help="where autobahntestsuite is installed")
    parser.add_argument("--cases", default="*", help="which cases, separated by commas, such as 1.*,7.9.*")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        found = asyncio.run(serve(options.python, options.site, options.cases.split(","), Path(place)))
    counted: Counter[tuple[int, str]] = Counter()
    failed = 0
    for case, told in sorted(found.items(), key=lambda item: [int(part) for part in item[0].split(".")]):
        behavior, close = told["behavior"], told["behaviorClose"]
        counted[int(case.partition(".")[0]), behavior] += 1
        if behavior != "OK" or close not in ("OK", "INFORMATIONAL"):
            print(f"{case}: {behavior}, close {close}")
        failed += behavior not in PASSED or close not in PASSED
    for (section, behavior), count in sorted(counted.items()):
        print(f"section {section}: {count} {behavior}")
    print(f"{len(found)} cases, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
