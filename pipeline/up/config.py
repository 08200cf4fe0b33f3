"""The configuration of `up`: every key, its default, its bounds. Pure."""

from __future__ import annotations

from typing import Annotated

import msgspec

from pipeline.sections import BookFile, CurveSection, LogSection, RunDir

MIN_HUNG_S = 0.5
"""A busy machine may keep a process waiting for nearly as long."""
MIN_MEMORY_BYTES = 134_217_728
"""A stage that does nothing yet takes up to a half of it."""


class UpPlaceSection(msgspec.Struct, frozen=True, kw_only=True):
    """Where the pipeline lives; handed on to every stage."""

    run_dir: RunDir = ""
    endpoints: BookFile = ""
    data_dir: Annotated[
        str,
        msgspec.Meta(
            description="Directory of what outlives a run. Empty: $XDG_STATE_HOME/scanstream, else "
            "~/.local/state/scanstream."
        ),
    ] = ""
    shards: Annotated[
        int,
        msgspec.Meta(
            ge=0,
            le=256,
            description="How many shards a new data directory gets; 0 means 4 for a new one, and what an "
            "existing one was made with.",
        ),
    ] = 0


class StagesSection(msgspec.Struct, frozen=True, kw_only=True):
    """How many processes of each stage there are, and what they read."""

    ingests: Annotated[int, msgspec.Meta(ge=1, le=64, description="Ingest processes.")] = 1
    workers: Annotated[
        int,
        msgspec.Meta(ge=1, le=64, description="Throttle-batch processes; the shards are dealt out to them."),
    ] = 1
    edges: Annotated[int, msgspec.Meta(ge=1, le=64, description="Edge processes; they share one port.")] = 1
    port: Annotated[int, msgspec.Meta(ge=1, le=65_535, description="The port browsers connect to.")] = 8800
    ingest_config: Annotated[
        str, msgspec.Meta(description="TOML file for every ingest; empty for defaults.")
    ] = ""
    throttle_batch_config: Annotated[
        str, msgspec.Meta(description="TOML file for every throttle-batch process; empty for defaults.")
    ] = ""
    edge_config: Annotated[str, msgspec.Meta(description="TOML file for every edge; empty for defaults.")] = (
        ""
    )
    notify_config: Annotated[
        str, msgspec.Meta(description="TOML file with hooks for the notify process; empty for none of it.")
    ] = ""


class RestartSection(msgspec.Struct, frozen=True, kw_only=True):
    """How a process that died comes back: the first time at once, then after a growing pause."""

    first_pause_s: Annotated[
        float,
        msgspec.Meta(
            ge=0.01,
            le=60,
            description="The pause before the second restart; it doubles with each further one.",
            extra={"unit": "s"},
        ),
    ] = 0.2
    max_pause_s: Annotated[
        float, msgspec.Meta(ge=0.01, le=600, description="The longest pause.", extra={"unit": "s"})
    ] = 10.0
    steady_s: Annotated[
        float,
        msgspec.Meta(
            ge=0.1,
            le=3600,
            description="A process that has run for so long begins anew: its next restart is at once.",
            extra={"unit": "s"},
        ),
    ] = 10.0
    stop_s: Annotated[
        float,
        msgspec.Meta(
            ge=0.1,
            le=600,
            description="How long a process may take to stop before it is killed.",
            extra={"unit": "s"},
        ),
    ] = 5.0
    start_s: Annotated[
        float,
        msgspec.Meta(
            ge=0.1,
            le=600,
            description="How long the pipeline may take to become ready before `up` says what is missing "
            "and gives up.",
            extra={"unit": "s"},
        ),
    ] = 20.0
    hung_s: Annotated[
        float,
        msgspec.Meta(
            ge=0,
            le=600,
            description="A process that gives no sign of life for so long is killed and started again; 0 for "
            "never. A worker's sign is its beacon, an ingest's and a single edge's an answer.",
            extra={"unit": "s"},
        ),
    ] = 3.0
    max_memory_bytes: Annotated[
        int,
        msgspec.Meta(
            ge=0,
            le=1_125_899_906_842_624,
            description="A process that takes more memory is killed and started again: whoever may connect "
            "to its sockets can fill it. 0: half of what the machine has.",
            extra={"unit": "bytes"},
        ),
    ] = 0


class UpConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Everything `up` can be told."""

    pipeline: UpPlaceSection = UpPlaceSection()
    curve: CurveSection = CurveSection()
    stages: StagesSection = StagesSection()
    restart: RestartSection = RestartSection()
    log: LogSection = LogSection()

    def problems(self) -> list[str]:
        """Return what is wrong between keys, one line each."""
        problems = []
        shards = self.pipeline.shards or 4
        if self.stages.workers > shards:
            problems.append(f"[stages] workers = {self.stages.workers}: must be <= shards ({shards})")
        if 0 < self.restart.hung_s < MIN_HUNG_S:
            problems.append(f"[restart] hung_s = {self.restart.hung_s:g}: must be 0, or >= {MIN_HUNG_S:g}")
        most = self.restart.max_memory_bytes
        if 0 < most < MIN_MEMORY_BYTES:
            problems.append(f"[restart] max_memory_bytes = {most}: must be 0, or >= {MIN_MEMORY_BYTES}")
        return problems
