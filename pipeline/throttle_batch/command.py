"""The command line of the throttle-batch stage."""

from __future__ import annotations

from typing import Any

import click

from pipeline.options import load, open_log, stage_options
from pipeline.throttle_batch.config import ThrottleBatchConfig


@click.command("throttle-batch")
@stage_options
@click.option("--data-dir", help="Directory of what outlives a run.")
@click.option(
    "--own",
    metavar="K,K…",
    help="The shards this process owns, such as 0,1; all of them if not given.",
    callback=lambda _context, _option, value: _numbers(value),
)
@click.option(
    "--recover",
    is_flag=True,
    help="Check the journals; set a damaged one aside and begin it anew. All scans get new epochs.",
)
def throttle_batch(data_dir: str | None, own: list[int] | None, recover: bool, **given: Any) -> None:
    """Number each channel's events, keep them, and publish them as frames within the channel's budget.

    Several processes share the shards: give each the ones it owns.

    \b
    Examples:
      pipeline throttle-batch --data-dir /var/lib/scanstream
      pipeline throttle-batch --own 0,1
      pipeline throttle-batch --recover
    """

    def read() -> ThrottleBatchConfig:
        flags = {"pipeline.data_dir": data_dir, "pipeline.own": own}
        return load(ThrottleBatchConfig, "throttle-batch", given, flags)

    config = read()
    from pipeline.throttle_batch.stage import run

    name = "-".join(["throttle-batch", *(str(shard) for shard in config.pipeline.own)])
    run(config, open_log(name, config), read, recover=recover)


def _numbers(text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise click.BadParameter(f"{text!r}: whole numbers joined by commas are needed") from None
