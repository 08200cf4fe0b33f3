"""A configuration with a key of every kind there may be, for the tests of what reads, checks and prints."""

from typing import Annotated, Literal

import msgspec

Meta = msgspec.Meta


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    class_: Literal["critical", "fact", "state"] = msgspec.field(name="class")
    key: str = ""


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True):
    """How a silent reader is noticed."""

    interval_s: Annotated[float, Meta(gt=0, le=60, description="Between two pings.", extra={"unit": "s"})] = 5
    client_timeout_s: Annotated[float, Meta(ge=1, lt=3600, extra={"unit": "s"})] = 30.0


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    max_batch_events: Annotated[int, Meta(ge=1, le=1000, description="Events in a batch.")] = 50
    block_bytes: Annotated[int, Meta(multiple_of=512)] = 4096
    anything: int = 0


class Access(msgspec.Struct, frozen=True, kw_only=True):
    required: Annotated[bool, Meta(description="Ask for a token.")] = False
    token_secret: Annotated[str, Meta(description="Signs tokens.", max_length=8, extra={"secret": True})] = ""
    origins: list[str] = msgspec.field(default_factory=lambda: ["https://a.example", "https://b.example"])
    ports: Annotated[list[Annotated[int, Meta(ge=1, le=65_535)]], Meta(max_length=3)] = []
    name: Annotated[str, Meta(min_length=1, pattern="^[a-z]+$")] = "edge"
    mode: Literal["auto", "text", "json"] = "auto"
    level: Literal[1, 2] = 1
    greeting: str = 'tab\t, quote ", back\\slash, é, \x7f, line\nend'
    labels: Annotated[dict[str, str], Meta(extra={"example": 'labels = {team = "red"}'})] = {}
    weights: dict[str, float] = msgspec.field(default_factory=lambda: {"a b": 1.5})


class Tuning(msgspec.Struct, frozen=True, kw_only=True):
    loop_count: int = msgspec.field(default=1, name="loop-count")


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a sample can be told.

    This paragraph is not for operators.
    """

    heartbeat: Heartbeat = Heartbeat()
    batch: Batch = Batch()
    access: Access = Access()
    tuning: Tuning = msgspec.field(default=Tuning(), name="fine-tuning")
    events: Annotated[
        dict[str, Rule],
        Meta(
            description="Types treated otherwise.", extra={"example": 'mine = {class = "state", key = "k"}'}
        ),
    ] = {}

    def problems(self) -> list[str]:
        if self.heartbeat.client_timeout_s <= self.heartbeat.interval_s:
            return ["[heartbeat] client_timeout_s: must be > interval_s"]
        return []
