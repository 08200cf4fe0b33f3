"""Takes the pictures of the dashboard in `docs/screenshots`: `bin/screenshots`.

Runs a pipeline with scans that are made up, opens the pages in a Chromium, and waits until there is
enough to see.
The pictures have at most 256 colours, so that they are small.
"""

from __future__ import annotations

import json
import struct
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

import zmq
from playwright.sync_api import Browser, Page
from websockets.sync.client import ClientConnection, connect

from pipeline import Emitter
from pipeline.producer.simulate import heroforge
from pipeline.sockets import ingest_data
from tests.e2e.browsing import chromium
from tests.harness import Pipeline, deadline, private_dir
from tests.sockets.peers import Peers

MAX_BYTES = 120_000
WIDTH, HEIGHT = 1280, 820

SHOWN = "office-weekly"
SHOWN_AT = 88.0
"""How far, in percent, this scan must be when the pictures are taken: by then it has found what there is."""


class Picture(NamedTuple):
    """One picture: its name, the address of its page, and how that is looked at."""

    name: str
    address: str
    scheme: Literal["light", "dark"] = "light"
    whole: bool = False


PICTURES = [
    Picture("scan", f"#/scan/{SHOWN}"),
    Picture("scan-dark", f"#/scan/{SHOWN}", "dark"),
    Picture("list", "#/"),
    Picture("pipeline", "#/pipeline", whole=True),
]


class Played(NamedTuple):
    """A scan that runs meanwhile: how fast, and what it says of itself."""

    scan_id: str
    seed: int
    speed: float
    about: dict[str, object]


PLAYED = [
    Played("vpn-range", 3, 0.15, {"name": "VPN range", "targets": ["10.8.0.0/22"]}),
    Played(
        "data-centre-east",
        2,
        0.35,
        {"name": "Data centre east", "targets": ["172.16.0.0/20"], "labels": {"tier": "production"}},
    ),
    Played(
        SHOWN,
        1,
        0.7,
        {"name": "Office network", "targets": ["10.20.0.0/16"], "labels": {"site": "Berlin"}, "owner": "ada"},
    ),
]
ENDED = [
    ("dmz-november", 4, 15_000, {"name": "DMZ"}, None),
    ("branch-zurich", 5, 15_000, {"name": "Branch Zürich"}, None),
    ("lab-printers", 6, 2_300, {"name": "Lab"}, "nmap: route to 10.40.0.0/24 was lost"),
    ("guest-wifi", 7, 15_000, {"name": "Guest Wi-Fi"}, None),
]
REJECTED = [
    *[b'{"type":"portFound","scan_id":"import","ip":"10.1.1.9","port":70000,"protocol":"TCP","state":"Open"}']
    * 12,
    *[b'{"type":"hostDiscovered","ip":"10.1.1.7"}'] * 5,
    *[b'{"type":"hostDiscovered",'] * 3,
]


def main() -> None:
    """Take the pictures; each is written when it is taken."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        pipeline = Pipeline(stack.enter_context(private_dir()))
        stack.callback(pipeline.close)
        pipeline.start(workers=2)
        emitter = stack.enter_context(Emitter(run_dir=str(pipeline.run_dir)))
        for scan_id, seed, events, about, error in ENDED:
            play_at_once(emitter, scan_id, seed, events, about, error)
        stack.enter_context(played(emitter))
        stack.enter_context(rejected(pipeline))
        stack.enter_context(readers(pipeline))
        browser = stack.enter_context(chromium())
        pages = [opened(browser, pipeline.url, picture) for picture in PICTURES]
        wait_until_under_way(pipeline, pages)
        shots = [
            page.screenshot(full_page=picture.whole) for picture, page in zip(PICTURES, pages, strict=True)
        ]
        for picture, shot in zip(PICTURES, shots, strict=True):
            path = folder / f"{picture.name}.png"
            path.write_bytes(few_colours(shot))
            print(f"{path}: {path.stat().st_size} bytes")
            assert path.stat().st_size <= MAX_BYTES, f"{path}: more than {MAX_BYTES} bytes"


def opened(browser: Browser, url: str, picture: Picture) -> Page:
    """Return a page that shows what a picture is to show."""
    page = browser.new_context(
        viewport={"width": WIDTH, "height": HEIGHT}, color_scheme=picture.scheme, reduced_motion="reduce"
    ).new_page()
    page.goto(f"{url}/{picture.address}")
    return page


# --- what is seen ---------------------------------------------------------------------------------------


def events_of(scan_id: str, seed: int, about: dict[str, object]) -> list[tuple[float, bytes]]:
    """Return (seconds, event) of a simulated scan; its first event says what it is about."""
    events = list(heroforge(seed, scan_id))
    at_s, first = events[0]
    events[0] = at_s, json.dumps({**json.loads(first), **about}).encode()
    return events


def play_at_once(
    emitter: Emitter, scan_id: str, seed: int, events: int, about: dict[str, object], error: str | None
) -> None:
    """Send the first events of a scan, and how it failed, if it did."""
    for _, event in events_of(scan_id, seed, about)[:events]:
        emitter.emit(event, scan_id=scan_id)
    if error is not None:
        emitter.emit({"type": "error", "message": error}, scan_id=scan_id)


@contextmanager
def played(emitter: Emitter) -> Iterator[None]:
    """Play the scans that run, each at its speed, until the block is over."""
    over = threading.Event()

    def play(scan: Played, events: list[tuple[float, bytes]]) -> None:
        before_s = 0.0
        for at_s, event in events:
            if at_s > before_s + 0.02:
                if over.wait((at_s - before_s) / scan.speed):
                    return
                before_s = at_s
            emitter.emit(event, scan_id=scan.scan_id)

    threads = []
    for scan in PLAYED:
        (_, first), *others = events_of(scan.scan_id, scan.seed, scan.about)
        emitter.emit(first, scan_id=scan.scan_id)
        emitter.flush(20)  # so that the last one is the newest
        threads.append(threading.Thread(target=play, args=(scan, others)))
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


@contextmanager
def rejected(pipeline: Pipeline) -> Iterator[None]:
    """Send what is not taken."""
    with Peers(pipeline.run_dir) as peers:
        producer = peers.connect(zmq.PUSH, ingest_data(0))
        for message in REJECTED:
            producer.send(message)
        yield


@contextmanager
def readers(pipeline: Pipeline) -> Iterator[None]:
    """Read what browsers would."""
    paths = [
        "/ws/scans/office-weekly",
        "/api/ws/scans/office-weekly",
        "/ws/scans/data-centre-east",
        "/ws/stats",
    ]

    def read(connection: ClientConnection) -> None:
        for _ in connection:
            pass

    with ExitStack() as stack:
        connections = [stack.enter_context(connect(pipeline.ws(path), max_size=None)) for path in paths]
        threads = [threading.Thread(target=read, args=(connection,)) for connection in connections]
        for thread in threads:
            thread.start()
        yield
        for connection in connections:
            connection.close()
        for thread in threads:
            thread.join()


def wait_until_under_way(pipeline: Pipeline, pages: list[Page]) -> None:
    """Wait until the scan that is shown is as far as it should be."""
    end = deadline(240)
    while True:
        status, scan = pipeline.get(f"/api/scans/{SHOWN}")
        if status == 200 and (scan["progress"] or 0) >= SHOWN_AT:
            return
        assert time.monotonic() < end, f"never at {SHOWN_AT} %: {scan}"
        pages[0].wait_for_timeout(200)


# --- small PNGs -----------------------------------------------------------------------------------------


def few_colours(png: bytes) -> bytes:
    """Return the same picture with the 256 colours it has most of; the others become the nearest of these.

    Args:
        png: 8 bits a channel, red, green and blue, not interlaced, as Chromium takes it.
    """
    width, height, rows = decoded(png)
    colours = Counter(pixel for row in rows for pixel in pixels(row))
    palette = [colour for colour, _ in colours.most_common(256)]
    index = {colour: number for number, colour in enumerate(palette)}
    for colour in colours:
        if colour not in index:
            index[colour] = min(range(len(palette)), key=lambda one: distance(colour, palette[one]))
    data = b"".join(b"\0" + bytes(index[pixel] for pixel in pixels(row)) for row in rows)
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    parts = [
        (b"IHDR", header),
        (b"PLTE", b"".join(palette)),
        (b"IDAT", zlib.compress(data, 9)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def pixels(row: bytes) -> Iterator[bytes]:
    return (row[at : at + 3] for at in range(0, len(row), 3))


def distance(one: bytes, other: bytes) -> int:
    return sum((a - b) ** 2 for a, b in zip(one, other, strict=True))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def decoded(png: bytes) -> tuple[int, int, list[bytes]]:
    """Return (width, height, the rows) of a PNG of three or four channels; the fourth is left out."""
    at, compressed = 8, b""
    width = height = channels = 0
    while at < len(png):
        (size,) = struct.unpack_from(">I", png, at)
        kind, data = png[at + 4 : at + 8], png[at + 8 : at + 8 + size]
        at += 12 + size
        if kind == b"IHDR":
            width, height, depth, colours = struct.unpack(">IIBB", data[:10])
            channels = {2: 3, 6: 4}[colours]
            assert (depth, data[12]) == (8, 0), "8 bits a channel, not interlaced"
        elif kind == b"IDAT":
            compressed += data
    raw, stride = zlib.decompress(compressed), width * channels
    rows, before = [], bytes(stride)
    for number in range(height):
        start = number * (stride + 1)
        before = unfiltered(raw[start], raw[start + 1 : start + 1 + stride], before, channels)
        rows.append(before)
    if channels == 4:
        rows = [b"".join(row[at : at + 3] for at in range(0, stride, 4)) for row in rows]
    return width, height, rows


def unfiltered(kind: int, row: bytes, above: bytes, channels: int) -> bytes:
    """Undo the filter of a row (PNG, section 9)."""
    made = bytearray(row)
    for at, value in enumerate(row):
        left = made[at - channels] if at >= channels else 0
        corner = above[at - channels] if at >= channels else 0
        up = above[at]
        if kind == 4:
            guess = left + up - corner
            ranks = ((abs(guess - left), 0, left), (abs(guess - up), 1, up), (abs(guess - corner), 2, corner))
            predicted = min(ranks)[2]
        else:
            predicted = (0, left, up, (left + up) // 2)[kind]
        made[at] = (value + predicted) & 0xFF
    return bytes(made)


if __name__ == "__main__":
    main()
