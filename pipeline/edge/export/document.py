"""A scan as JSON: its state, with all its hosts; and as NDJSON: its events with their positions. Pure."""

from __future__ import annotations

import msgspec

from pipeline.wire import StateHeader, channel_name

_read_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def document_head(scan_id: str, header: StateHeader, body: bytes) -> bytes:
    """Return the beginning of the JSON: all that stands before the hosts.

    Args:
        scan_id: the scan.
        header: of the state.
        body: the state, as a worker told it.
    """
    fields = _read_fields(body)
    for name in ("hosts", "hosts_next"):
        fields.pop(name, None)
    about = {"scan_id": scan_id, "kind": "scan", "epoch": header.epoch, "seq": header.seq, **fields}
    return msgspec.json.encode(about)[:-1] + b',"hosts":['


def document_hosts(hosts: bytes, *, first: bool) -> bytes:
    """Return a page of hosts, a JSON array, as a part of the JSON."""
    inner = hosts.strip()[1:-1]
    return inner if first or not inner else b"," + inner


DOCUMENT_END = b"]}\n"


def event_lines(scan_id: str, epoch: int, first: int, events: list[bytes]) -> bytes:
    """Return events as `tail --record` writes them, one a line; `emit --replay` plays them.

    Args:
        scan_id: the scan.
        epoch: its life.
        first: seq of the first of `events`.
        events: the JSON of each.
    """
    name = msgspec.json.encode(channel_name("scan", scan_id))
    return b"".join(
        b'{"channel":%b,"epoch":%d,"seq":%d,"event":%b}\n' % (name, epoch, seq, raw)
        for seq, raw in enumerate(events, first)
    )
