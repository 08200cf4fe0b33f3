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
Shards = Annotated[
    int,
    msgspec.Meta(
        ge=1,
        le=MAX_SHARDS,
        description="How many shards the channels are spread over. The same for every stage; fixed once a "
        "data directory exists.",
    ),
]


class PlaceSection(msgspec.Struct, frozen=True, kw_only=True):
    """Where a stage meets the others."""

    run_dir: RunDir = ""
    shards: Shards = DEFAULT_SHARDS


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
