"""The command line of the edge stage."""

from __future__ import annotations

from typing import Any

import click

from pipeline.edge.config import EdgeConfig
from pipeline.options import load, open_log, stage_options


@click.command()
@stage_options
@click.option("--index", type=int, help="Which edge this is, from 0.")
@click.option("--port", type=int, help="The port to listen on; 0 takes any free one.")
@click.option(
    "--share-port/--own-port", default=None, help="Whether several edges serve this port (SO_REUSEPORT)."
)
def edge(index: int | None, port: int | None, share_port: bool | None, **given: Any) -> None:
    """Serve browsers: WebSockets, REST and the dashboard.

    Several edges serve one port with --share-port; give each its --index.

    \b
    Examples:
      pipeline edge --port 8800
      pipeline edge --share-port --index 1
      pipeline edge -c edge.toml --log-format json
    """

    def read() -> EdgeConfig:
        flags = {"edge.index": index, "http.port": port, "http.share_port": share_port}
        return load(EdgeConfig, "edge", given, flags)

    config = read()
    from pipeline.edge.stage import run

    run(config, open_log(f"edge-{config.edge.index}", config), read)
