"""The notify stage's configuration: every key, its default, its bounds. Pure."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from pipeline.event import Severity
from pipeline.notify.target import target_problem
from pipeline.sections import (
    LIVE_LOG_KEYS,
    BookFile,
    CurveSection,
    LogSection,
    NotifyMetricsSection,
    RunDir,
    Shards,
)

Rule = Literal["completed", "failed", "stalled", "resumed", "orphaned", "critical_finding"]
"""What a hook can be told of."""

MAX_HOOKS = 64


class NotifyPlaceSection(msgspec.Struct, frozen=True, kw_only=True):
    """Where it meets the others, and keeps how far it is."""

    run_dir: RunDir = ""
    data_dir: Annotated[
        str,
        msgspec.Meta(
            description="Directory of what outlives a run; it keeps notify.db there. Empty: "
            "$XDG_STATE_HOME/scanstream, else ~/.local/state/scanstream."
        ),
    ] = ""
    endpoints: BookFile = ""
    shards: Shards = 4


class Hook(msgspec.Struct, frozen=True, kw_only=True):
    """One receiver of messages: where it is, what it is told, and of which scans.

    Attributes:
        url: http or https. It may hold a user and password, which are sent as basic authentication.
        on: the rules that tell it.
        secret_file: a file with what its messages are signed with; see `signing`.
        secret_env: or the environment variable that holds it.
        min_severity: how grave a finding must be for `critical_finding`.
        scans: patterns of scan ids, of which one must match; `*` and `?` stand for any characters. Empty for
            all.
        labels: labels that the scan must carry, each with this value.
    """

    url: Annotated[str, msgspec.Meta(min_length=1, max_length=2_000, extra={"secret": True})]
    on: Annotated[list[Rule], msgspec.Meta(min_length=1)]
    secret_file: str = ""
    secret_env: str = ""
    min_severity: Severity = "Critical"
    scans: list[str] = []
    labels: dict[str, str] = {}


class DeliverySection(msgspec.Struct, frozen=True, kw_only=True):
    """How messages are sent, and sent again until they are taken."""

    timeout_s: Annotated[
        float,
        msgspec.Meta(
            ge=0.1,
            le=300,
            description="How long a receiver may take to answer; after that it is tried again.",
            extra={"unit": "s"},
        ),
    ] = 15.0
    first_retry_s: Annotated[
        float,
        msgspec.Meta(
            ge=0.01,
            le=3600,
            description="The pause before a message is sent again; it doubles with each further one. Each "
            "pause is cut by up to half, at random.",
            extra={"unit": "s"},
        ),
    ] = 5.0
    max_retry_s: Annotated[
        float,
        msgspec.Meta(
            ge=0.01,
            le=86_400,
            description="The longest pause, also where a receiver asks for a longer one.",
            extra={"unit": "s"},
        ),
    ] = 3600.0
    give_up_after_s: Annotated[
        float,
        msgspec.Meta(
            ge=1,
            le=2_592_000,
            description="A message that is so old and was not taken is dropped, counted and logged.",
            extra={"unit": "s"},
        ),
    ] = 86_400.0
    max_waiting: Annotated[
        int,
        msgspec.Meta(
            ge=1,
            le=1_000_000,
            description="Messages that wait for one hook; beyond it the oldest is dropped, counted and "
            "logged.",
            extra={"unit": "messages"},
        ),
    ] = 10_000


class MemorySection(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept in mind of scans."""

    forget_after_s: Annotated[
        float,
        msgspec.Meta(
            ge=3600,
            le=31_536_000,
            description="How far a scan is read is forgotten when it had no event for so long; not less than "
            "the workers' retention_age_s.",
            extra={"unit": "s"},
        ),
    ] = 604_800.0


class NotifyConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a notify process can be told."""

    pipeline: NotifyPlaceSection = NotifyPlaceSection()
    curve: CurveSection = CurveSection()
    hooks: Annotated[
        dict[str, Hook],
        msgspec.Meta(
            description="Who is told, each under a name of letters, digits, - and _. Without any, nothing is "
            "to be done.",
            extra={
                "example": 'team = {url = "https://hooks.example.org/scans", secret_file = "team.secret", '
                'on = ["completed", "failed", "critical_finding"], min_severity = "High", '
                'scans = ["office-*"], labels = {team = "red"}}'
            },
        ),
    ] = {}
    delivery: DeliverySection = DeliverySection()
    memory: MemorySection = MemorySection()
    metrics: NotifyMetricsSection = NotifyMetricsSection()
    log: LogSection = LogSection()

    def problems(self) -> list[str]:
        """Return what is wrong between keys, one line each; no secret stands in them."""
        problems = []
        if len(self.hooks) > MAX_HOOKS:
            problems.append(f"[hooks] has {len(self.hooks)} hooks: at most {MAX_HOOKS} are possible")
        for name, hook in self.hooks.items():
            where = f"[hooks] {name}"
            if not (name.isascii() and 0 < len(name) <= 64 and set(name) <= _NAME_CHARACTERS):
                problems.append(f"{where}: a name is 1 to 64 letters, digits, - and _")
            if (problem := target_problem(hook.url)) is not None:
                problems.append(f"{where}.url: {problem}")
            if bool(hook.secret_file) == bool(hook.secret_env):
                problems.append(f"{where}: one of secret_file and secret_env must be given")
        if self.delivery.max_retry_s < self.delivery.first_retry_s:
            problems.append(
                f"[delivery] max_retry_s = {self.delivery.max_retry_s:g}: must be >= first_retry_s "
                f"({self.delivery.first_retry_s:g})"
            )
        return problems


LIVE_KEYS = (
    LIVE_LOG_KEYS
    | {"memory.forget_after_s", "hooks.*"}
    | {f"delivery.{name}" for name in DeliverySection.__struct_fields__}
)
"""What a process takes over while it runs."""

_NAME_CHARACTERS = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")
