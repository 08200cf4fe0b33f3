"""The command line of the ingest stage."""

from __future__ import annotations

from typing import Any

import click

from pipeline.ingest.config import IngestConfig
from pipeline.options import load, open_log, stage_options


@click.command()
@stage_options
@click.option("--index", type=int, help="Which ingest this is, from 0.")
def ingest(index: int | None, **given: Any) -> None:
    """Take events from producers, check each once, and hand it to the shard that owns its channel.

    Several ingests run side by side: give each its --index.

    \b
    Examples:
      pipeline ingest
      pipeline ingest --index 1 --shards 8
      pipeline ingest -c ingest.toml --log-level debug
    """

    def read() -> IngestConfig:
        return load(IngestConfig, "ingest", given, {"ingest.index": index})

    config = read()
    from pipeline.ingest.stage import run

    run(config, open_log(f"ingest-{config.ingest.index}", config), read)
