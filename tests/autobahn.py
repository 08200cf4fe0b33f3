"""Autobahn's WebSocket cases against the edge's own reading and writing of frames.

The testsuite runs under Python 2.7 only and is no dependency of this project. Where it can be installed:

    python2.7 -m pip install --target SITE autobahntestsuite
    .venv/bin/python -m tests.autobahn --python python2.7 --site SITE

The edge does not echo, and Autobahn needs an echo. So this serves one that is made of the edge's WebSocket:
frames are read by `ws_reading` through `ws_protocol`, text goes out as the edge composes it, compressed as
it agrees to. Bounds are raised so that the large cases of section 9 can run; the edge itself refuses what is
above `max_inbound_bytes`. Prints each case that is not passed, and a count by section; exit code 1 if one
failed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import tempfile
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tornado.web import Application

from pipeline.edge.config import EdgeConfig
from pipeline.edge.handlers.websocket import ScanSocket
from pipeline.edge.transmit import websocket_stream
from pipeline.edge.visitors import Rate
from pipeline.edge.ws_frame import text_frame

MAX_BYTES = 64 * 1024 * 1024
PASSED = {"OK", "INFORMATIONAL", "NON-STRICT"}
"""What Autobahn itself counts as passed; NON-STRICT: right, but later than could be."""
STARTER = "import site; site.addsitedir({site!r}); from autobahntestsuite.wstest import run; run()"


class Echo(ScanSocket):
    """The edge's WebSocket, which gives back what it gets."""

    def initialize(self, service: Any) -> None:
        super().initialize(service, "heroforge", "scan")

    def prepare(self) -> None:
        self._agree_on_compression()

    def open(self) -> None:
        pass

    def on_message(self, message: str | bytes) -> None:
        if isinstance(message, bytes):
            self.write_message(message, binary=True)
        else:
            data = message.encode()
            framed = self._variant.message(data) if self._variant.deflate is not None else text_frame(data)
            websocket_stream(self).write(framed)

    def on_close(self) -> None:
        pass


async def serve(python: str, site: str, cases: list[str], place: Path) -> dict[str, Any]:
    """Run the cases; return what Autobahn says of each."""
    service = SimpleNamespace(
        config=EdgeConfig(),
        inbound_rate=Rate(1e9, 1e9),
        refuse=lambda *_a, **_f: None,
        log=SimpleNamespace(bind=lambda **_: None),
    )
    application = Application(
        [(r"/", Echo, {"service": service})],
        websocket_max_message_size=MAX_BYTES,
        websocket_ping_interval=None,
    )
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
