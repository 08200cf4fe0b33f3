"""What does a client get of HeroForge's scan of a /24, and at what cost: ours, HeroForge's way, unbatched?

The scan is 15,000 events in 60 s, played in real time, three ways at once: through our frames; HeroForge's
own way, re-created from its description (`_heroforge.py`): at most 10 messages a second, of what was gathered
the last one, the rest is dropped; and without any limit, a message an event, which is the yardstick. The last
two come over HeroForge's wire. Counted are messages, bytes as they are on the wire, and events that came;
`with context` is reckoned: the same messages through one deflate stream that keeps its context. `lag` is what
the client was told; `if it stalls` is reckoned: how often a client that stands still for 0.5 s every 5 s is
told, if nothing but HeroForge's channel of 100 messages held what it has not read.

CPU is that of the renderer process of a page in a headless Chromium; the three pages are the same, our
dashboard, and open all the time. Needs chromium for that; without, the column is left out. HeroForge's claims
for its own frontend stand beside.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the tests' harness starts the processes

from _heroforge import CLAIMED, Timed, lags, limited
from _measuring import cpu_s, end_in_order
from _options import Option, parse
from _readers import WebSocket
from _report import Report, Table

from pipeline import Emitter
from pipeline.event import Catalogue, read_event
from pipeline.producer.simulate import EVENTS, EVENTS_PER_S, heroforge
from tests.harness import Pipeline, private_dir

MINUTES = {"quick": 0.3, "normal": 2.6, "full": 6.5}
PACKAGES = ("chromium",)
OPTIONS = (
    Option("seconds", "of the scan that are played, from its start", 60, quick=10, smallest=1),
    Option("runs", "one after the other", 2, quick=1, full=5),
    Option("browser", "whether pages are opened, too", True, quick=False),
)
ONE_EVENT_A_MESSAGE = """
[batch]
batch_interval_s = 0.001
max_frames_per_s = 1000
max_batch_events = 1
[events]
scanProgress = {class = "fact"}
"""
OURS, THEIRS, ALL = "scanstream", "HeroForge's way", "one event a message"
SCANS = {OURS: "ours", THEIRS: "limited", ALL: "all"}
STALL_EVERY_S, STALL_S = 5.0, 0.5
MOST_MESSAGES, MOST_KB, AIM_KB, MOST_CPU = 650, 0.6 * 450, 121, 0.30
WAIT_S = 60.0


class Message(msgspec.Struct):
    """What a reader looks at."""

    type: str
    events: list[msgspec.Raw] = []
    merged: int = 0


@dataclass(slots=True)
class Got:
    """What a client got.

    Attributes:
        sizes: bytes on the wire of each message with events, without the frame's header.
        texts: each of these messages, inflated.
        came: when each of them came, monotonic seconds.
        events: how many events were in them.
        merged: how many were replaced by later ones, and counted.
        lags: how often it was told that it lags.
    """

    sizes: list[int] = field(default_factory=list)
    texts: list[bytes] = field(default_factory=list)
    came: list[float] = field(default_factory=list)
    events: int = 0
    merged: int = 0
    lags: int = 0


class Client(threading.Thread):
    """A WebSocket client that keeps what comes; it inflates as was agreed."""

    def __init__(self, port: int, path: str, *, deflate: bool, native: bool) -> None:
        super().__init__(daemon=True)
        self.got = Got()
        self._native = native
        self._socket = WebSocket(port, path, deflate=deflate)
        self._keeps_context = b"server_no_context_takeover" not in self._socket.head
        self.compressed = b"permessage-deflate" in self._socket.head
        self._inflater = zlib.decompressobj(wbits=-15)
        self._over = False
        self.problem = ""
        self._socket.socket.settimeout(0.1)
        self.start()

    def run(self) -> None:
        while not self._over:
            try:
                more = self._socket.socket.recv(1_048_576)
            except TimeoutError:
                continue
            if not more:
                self.problem = "it was closed"
                return
            self._socket.data += more
            now = time.monotonic()
            for first, payload in self._socket.frames():
                if first & 0x0F == 0x9:
                    self._socket.pong()
                elif first & 0x0F == 0x1:
                    self._take(now, first, payload)

    def _take(self, now: float, first: int, payload: bytes) -> None:
        text = payload
        if first & 0x40:
            if not self._keeps_context:
                self._inflater = zlib.decompressobj(wbits=-15)
            text = self._inflater.decompress(payload + b"\0\0\xff\xff")
        message = msgspec.json.decode(text, type=Message)
        got = self.got
        if message.type == "lag":
            got.lags += 1
        elif not self._native or message.type == "batch":
            got.sizes.append(len(payload))
            got.texts.append(text)
            got.came.append(now)
            got.events += len(message.events) if self._native else 1
            got.merged += message.merged

    def wait_for(self, count: int) -> None:
        """Wait until so many events have come or were merged."""
        end = time.monotonic() + WAIT_S
        pause = threading.Event()
        while self.got.events + self.got.merged < count:
            if time.monotonic() > end or self.problem:
                raise SystemExit(f"{self.got.events} of {count} events came: {self.problem or 'time is up'}")
            pause.wait(0.02)

    def close(self) -> None:
        """Leave."""
        self._over = True
        self.join()
        self._socket.socket.close()


def play(emitters: Sequence[tuple[Emitter, Sequence[Timed]]]) -> None:
    """Send several scans' events, each at its time."""
    merged = sorted(
        ((at, number, event) for number, (_, events) in enumerate(emitters) for at, event in events),
        key=lambda entry: entry[0],
    )
    pause = threading.Event()
    began = time.monotonic()
    for at, number, event in merged:
        ahead_s = began + at - time.monotonic()
        if ahead_s > 0:
            pause.wait(ahead_s)
        emitters[number][0].emit(event)
    for emitter, _ in emitters:
        emitter.flush(WAIT_S)


@contextlib.contextmanager
def pages(urls: dict[str, str], wanted: bool) -> Iterator[dict[str, int]]:
    """Open a page for each scan; give the renderer process of each."""
    if not wanted:
        yield {}
        return
    from page import renderer_pid

    from tests.e2e.browsing import Dashboard, chromium

    with chromium() as browser:
        found = {}
        for name, url in urls.items():
            page = browser.new_context(viewport={"width": 1360, "height": 900}).new_page()
            dashboard = Dashboard(page, url)
            dashboard.open_scan(SCANS[name])
            dashboard.expect_connection("live")
            found[name] = renderer_pid(browser, dashboard)
        yield found


@dataclass(slots=True)
class Run:
    """What one run gave: of each way what its client got, and the CPU seconds of its page."""

    got: dict[str, Got]
    compressed: Got
    cpu: dict[str, float]


def run(seconds: int, browser: bool) -> Run:
    """Play the scan once, the three ways at once."""
    events = list(heroforge(7, "reference"))[: seconds * EVENTS_PER_S]
    catalogue = Catalogue()
    critical = lambda raw: catalogue.treatment(read_event(raw), raw).event_class == "critical"  # noqa: E731
    ways = {OURS: events, THEIRS: limited(events, critical), ALL: events}
    with contextlib.ExitStack() as stack:
        ours = Pipeline(stack.enter_context(private_dir()))
        stack.callback(ours.close)
        single = Pipeline(stack.enter_context(private_dir()))
        stack.callback(single.close)
        ours.start()
        single.start(config={"throttle-batch": ONE_EVENT_A_MESSAGE})
        places = {OURS: ours, THEIRS: single, ALL: single}
        emitters = []
        for name, place in places.items():
            emitter = stack.enter_context(Emitter(SCANS[name], run_dir=str(place.run_dir)))
            emitter.emit(ways[name][0][1])  # its start; so it is there for readers
            emitter.flush(WAIT_S)
            emitters.append((emitter, ways[name][1:]))
        clients = {
            name: Client(place.port, f"/api/ws/scans/{SCANS[name]}", deflate=False, native=False)
            for name, place in places.items()
            if name != OURS
        }
        path = f"/ws/scans/{SCANS[OURS]}?since=start"
        clients[OURS] = Client(ours.port, path, deflate=False, native=True)
        compressed = Client(ours.port, path, deflate=True, native=True)
        for client in (*clients.values(), compressed):
            stack.callback(client.close)
        urls = {name: place.url for name, place in places.items()}
        pids = stack.enter_context(pages(urls, browser))
        before = {name: cpu_s([pid]) for name, pid in pids.items()}
        play(emitters)
        for name, client in (*clients.items(), (OURS, compressed)):
            client.wait_for(len(ways[name]) - (name != OURS))  # HeroForge's wire is live only
        threading.Event().wait(1)  # the last picture is drawn
        cpu = {name: cpu_s([pid]) - before[name] for name, pid in pids.items()}
        if not compressed.compressed:
            raise SystemExit("the edge did not take the compression that was offered")
        return Run({name: client.got for name, client in clients.items()}, compressed.got, cpu)


def with_context_kb(texts: Sequence[bytes]) -> float:
    """Return what these messages take through one deflate stream, as permessage-deflate with context does."""
    deflater = zlib.compressobj(6, wbits=-15)
    parts = (deflater.compress(text) + deflater.flush(zlib.Z_SYNC_FLUSH) for text in texts)
    return sum(len(part) - 4 for part in parts) / 1000


def tell(report: Report, runs: Sequence[Run], seconds: int) -> None:
    """Add the tables."""
    heads = [("", 0), ("messages", 0), ("x unbatched", 3), ("events that came", 0), ("merged, counted", 0)]
    heads += [("KB", 0), ("KB compressed", 0), ("KB with context", 0), ("lag", 0), ("if it stalls", 0)]
    table = Table(f"{min(EVENTS, seconds * EVENTS_PER_S):,} events in {seconds} s", [*heads, ("CPU %", 1)])
    for name in (ALL, THEIRS, OURS):
        of = [each.got[name] for each in runs]
        ratios = [len(each.got[name].sizes) / len(each.got[ALL].sizes) for each in runs]
        packed = [sum(each.compressed.sizes) / 1000 for each in runs] if name == OURS else None
        cpu = [each.cpu[name] / seconds * 100 for each in runs if each.cpu]
        table.add(
            *(name, [len(got.sizes) for got in of], ratios, [got.events for got in of]),
            *([got.merged for got in of], [sum(got.sizes) / 1000 for got in of], packed),
            [with_context_kb(got.texts) for got in of],
            *([got.lags for got in of], [lags(got.came, STALL_EVERY_S, STALL_S) for got in of], cpu or None),
        )
    claimed = (CLAIMED["messages"], None, None, None, CLAIMED["KB"], None, None, CLAIMED["lag"], None)
    table.add("HeroForge claims", *claimed, CLAIMED["CPU %"])
    report.add(table)
    report.bars(table, "messages", "The reference scan: messages to a client")
    if any(each.cpu for each in runs):
        report.bars(table, "CPU %", "The reference scan: CPU of the page's renderer, % of a core")
        ratio = max(each.cpu[OURS] / each.cpu[ALL] for each in runs)
        report.target("CPU of the page, x one event a message", ratio, "<=", MOST_CPU)
    got = [each.got[OURS] for each in runs]
    if seconds * EVENTS_PER_S >= EVENTS:
        report.target("messages", max(len(each.sizes) for each in got), "<=", MOST_MESSAGES, 0)
        most_kb = max(sum(each.compressed.sizes) for each in runs) / 1000
        report.target("KB compressed", most_kb, "<=", MOST_KB, 0)
        report.target("KB compressed, the aim", most_kb, "<=", AIM_KB, 0)
    lost = max(min(EVENTS, seconds * EVENTS_PER_S) - each.events - each.merged for each in got)
    report.target("events that did not come and were not counted", lost, "<=", 0, 0)
    report.target("lag, told to a client", max(each.lags for each in got), "<=", 0, 0)


def main() -> None:
    """Measure, and tell."""
    options = parse("reference_scan", __doc__ or "", MINUTES, OPTIONS)
    end_in_order()
    report = Report("reference_scan", options.scale, options.into, ("chromium", "tornado"))
    seconds = min(60, options.seconds)
    browser = options.browser
    if browser and shutil.which("chromium") is None:
        report.note("the pages' CPU is not measured: chromium is not installed")
        browser = False
    tell(report, [run(seconds, browser) for _ in range(options.runs)], seconds)
    report.close()


if __name__ == "__main__":
    main()
