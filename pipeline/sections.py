"""Config sections that several processes share. Pure: each key once, with its default, bounds and text."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from pipeline.shards import DEFAULT_SHARDS, MAX_SHARDS

RunDir = Annotated[
    str,
    msgspec.Meta(
        description="Directory of the ZeroMQ sockets, mode 0700. Empty: $PIPELINE_RUN_DIR, else "
        "$XDG_RUNTIME_DIR/scanstream, else scanstream-UID in the temporary directory."
    ),
]
BookFile = Annotated[
    str,
    msgspec.Meta(
        description="Address book: TOML file that says which ZeroMQ sockets are at TCP addresses; the same "
        "for every process. Empty: all are in the run directory.",
    ),
]
Shards = Annotated[
    int,
    msgspec.Meta(
        ge=1,
        le=MAX_SHARDS,
        description="How many shards the channels are spread over. The same for every stage; fixed once a "
        "data directory exists.",
    ),
]
MetricsPort = Annotated[
    int,
    msgspec.Meta(
        ge=0,
        le=65_535,
        description="The port of the first process of this stage; the next ones, by --index or by their "
        "first shard, take those after it. 0 takes any free one. A port that is taken is logged, and the "
        "process works without.",
    ),
]


LIVE_LOG_KEYS = frozenset({"log.level", "log.format"})
"""What every stage takes over when it reads its configuration anew."""


class PlaceSection(msgspec.Struct, frozen=True, kw_only=True):
    """Where a stage meets the others."""

    run_dir: RunDir = ""
    endpoints: BookFile = ""
    shards: Shards = DEFAULT_SHARDS


class CurveSection(msgspec.Struct, frozen=True, kw_only=True):
    """Keys for ZeroMQ over TCP (CURVE): needed beyond loopback. `pipeline keygen` makes them."""

    key_file: Annotated[
        str,
        msgspec.Meta(
            description="File with this process's own secret key; its user's own, mode 0600. Empty: no CURVE."
        ),
    ] = ""
    allowed_dir: Annotated[
        str,
        msgspec.Meta(
            description="Directory of the public keys of who may connect to what this process binds: one "
            "file NAME.pub a peer. SIGHUP reads it anew."
        ),
    ] = ""


class MetricsSection(msgspec.Struct, frozen=True, kw_only=True):
    """Where Prometheus finds this process's figures, at `/metrics`."""

    enabled: Annotated[bool, msgspec.Meta(description="Whether they are served.")] = True
    address: Annotated[
        str,
        msgspec.Meta(
            description="The address to serve them on. They hold no scan and no address, and whoever reaches "
            "it can read them."
        ),
    ] = "127.0.0.1"
    port: MetricsPort = 0


class IngestMetricsSection(MetricsSection, frozen=True, kw_only=True):
    """Where Prometheus finds this process's figures, at `/metrics`."""

    port: MetricsPort = 9700


class WorkerMetricsSection(MetricsSection, frozen=True, kw_only=True):
    """Where Prometheus finds this process's figures, at `/metrics`."""

    port: MetricsPort = 9900


class EdgeMetricsSection(MetricsSection, frozen=True, kw_only=True):
    """Where Prometheus finds this process's figures, at `/metrics`."""

    port: MetricsPort = 9800


class NotifyMetricsSection(MetricsSection, frozen=True, kw_only=True):
    """Where Prometheus finds this process's figures, at `/metrics`."""

    port: MetricsPort = 9600


class LogSection(msgspec.Struct, frozen=True, kw_only=True):
    """What is logged, and how."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"],
        msgspec.Meta(description="The least severe line that is written."),
    ] = "info"
    format: Annotated[
        Literal["auto", "text", "json"],
        msgspec.Meta(description="One line a fact, on stderr. auto: text on a terminal, JSON otherwise."),
    ] = "auto"


def is_loopback(host: str) -> bool:
    """Say whether a host name or address, without port and brackets, means this machine only."""
    if host.lower() in {"localhost", "::1"}:
        return True
    parts = host.split(".")
    return len(parts) == 4 and parts[0] == "127" and all(map(_is_octet, parts))


def _is_octet(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 3 and int(text) <= 255
