"""The command line of `notify`: the process, and a test of one hook."""

from __future__ import annotations

import asyncio
import os
import uuid
from pathlib import Path
from typing import Any

import click

from pipeline.errors import ConfigError, PeerError
from pipeline.log import escape
from pipeline.notify.config import Hook, NotifyConfig
from pipeline.notify.signing import Secrets
from pipeline.notify.signing import read_secrets as secrets_of
from pipeline.options import load, open_log, stage_options

_MAX_SECRET_FILE = 4_096


@click.command()
@stage_options
@click.option("--data-dir", help="Directory of what outlives a run.")
@click.option(
    "--test",
    "test_hook",
    metavar="HOOK",
    help="Send this hook one message that says test, print what came back, end.",
)
def notify(data_dir: str | None, test_hook: str | None, **given: Any) -> None:
    """Tell others by webhooks how scans end, fail and stall, and what grave they find.

    The hooks stand in its configuration; see `pipeline config default notify`. Messages are signed, kept on
    disk, and sent again until they are taken.

    \b
    Examples:
      pipeline notify -c configs/notify.toml
      pipeline notify -c configs/notify.toml --test team
    """

    base = given["config"].parent if given["config"] is not None else Path()

    def read() -> NotifyConfig:
        return load(NotifyConfig, "notify", given, {"pipeline.data_dir": data_dir})

    def read_secrets(config: NotifyConfig) -> Secrets:
        check_hooks(config)
        return all_secrets(config, base)

    config = read()
    secrets = all_secrets(config, base)
    if test_hook is not None:
        if test_hook not in config.hooks:
            raise click.BadParameter(
                f"{test_hook!r} is no hook; there are: {', '.join(config.hooks) or 'none'}"
            )
        _test(test_hook, config.hooks[test_hook], secrets[test_hook], config.delivery.timeout_s)
        return
    check_hooks(config)
    from pipeline.notify.stage import run

    run(config, secrets, open_log("notify", config), read, read_secrets)


def check_hooks(config: NotifyConfig) -> None:
    """See that somebody is to be told.

    Raises:
        ConfigError: there is no hook.
    """
    if not config.hooks:
        raise ConfigError(["notify: [hooks] is empty: nobody is to be told; give a configuration with hooks"])


def all_secrets(config: NotifyConfig, base: Path) -> Secrets:
    """Return what each hook's messages are signed with.

    Args:
        config: the configuration.
        base: what a relative `secret_file` is relative to: the directory of the configuration's file.

    Raises:
        ConfigError: with every secret that cannot be used; none is shown.
    """
    problems: list[str] = []
    secrets: Secrets = {}
    for name, hook in config.hooks.items():
        source = hook.secret_file or f"environment variable {hook.secret_env}"
        try:
            secrets[name] = secrets_of(_secret_text(hook, base))
        except OSError as error:
            problems.append(f"[hooks] {name}: {source}: {error.strerror}")
        except ValueError as error:
            problems.append(f"[hooks] {name}: {source}: {error}")
    if problems:
        raise ConfigError([f"notify: {problem}" for problem in problems])
    return secrets


def _secret_text(hook: Hook, base: Path) -> str:
    if not hook.secret_file:
        if hook.secret_env not in os.environ:
            raise ValueError("is not set")
        return os.environ[hook.secret_env]
    with (base / hook.secret_file).open("rb") as file:
        raw = file.read(_MAX_SECRET_FILE + 1)
    if len(raw) > _MAX_SECRET_FILE or not raw.isascii():
        raise ValueError(f"holds no secrets: at most {_MAX_SECRET_FILE} bytes of ASCII")
    return raw.decode()


def _test(name: str, hook: Hook, secrets: tuple[bytes, ...], timeout_s: float) -> None:
    """Send a test message, and print what came back.

    Raises:
        PeerError: it was not taken.
    """
    from pipeline.notify.messages import compose_test
    from pipeline.notify.retrying import Verdict, judge
    from pipeline.notify.sending import Answer, Sender
    from pipeline.notify.target import shown_target
    from pipeline.runtime import wall_ms

    async def send() -> Answer:
        sender = Sender(1, timeout_s)
        try:
            wall = wall_ms()
            identity = f"msg_{uuid.uuid4().hex}"
            return await sender.post(hook.url, secrets, identity, compose_test(name, wall), wall // 1000)
        finally:
            sender.close()

    answer = asyncio.run(send())
    what = f"status {answer.status}" if answer.status is not None else escape(answer.problem)
    if judge(answer.status) is not Verdict.DELIVERED:
        raise PeerError(f"hook {name}: {shown_target(hook.url)} did not take the test message: {what}")
    click.echo(f"hook {name}: {shown_target(hook.url)} took the test message: {what}")
