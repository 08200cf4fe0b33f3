"""The edge stage's configuration: every key, its default, its bounds. Pure."""

from __future__ import annotations

from typing import Annotated

import msgspec

from pipeline.edge.accounts_section import AccountsSection, UsersSection
from pipeline.edge.sections import DrainSection, HttpInSection, HttpSection, RequestsSection
from pipeline.sections import LIVE_LOG_KEYS, CurveSection, EdgeMetricsSection, LogSection, PlaceSection


class EdgeSection(msgspec.Struct, frozen=True, kw_only=True):
    """One edge among several."""

    index: Annotated[
        int,
        msgspec.Meta(
            ge=0, le=999, description="Which edge this is; its control socket is edge-INDEX.control."
        ),
    ] = 0


class HeartbeatSection(msgspec.Struct, frozen=True, kw_only=True):
    """How a dead connection is found."""

    interval_s: Annotated[
        float,
        msgspec.Meta(ge=0.05, le=3600, description="How often a browser is pinged.", extra={"unit": "s"}),
    ] = 5.0
    client_timeout_s: Annotated[
        float,
        msgspec.Meta(
            ge=0.1,
            le=86_400,
            description="A browser that has sent nothing, not even a pong, for so long is closed with 4009.",
            extra={"unit": "s"},
        ),
    ] = 30.0


class LimitsSection(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one edge process."""

    max_connections: Annotated[
        int,
        msgspec.Meta(
            ge=1,
            le=1_000_000,
            description="Open browser connections; a further one is closed with 4029.",
            extra={"unit": "connections"},
        ),
    ] = 10_000
    max_connections_per_address: Annotated[
        int,
        msgspec.Meta(
            ge=1,
            le=1_000_000,
            description="Of them, those of one address; a further one is closed with 4029.",
            extra={"unit": "connections"},
        ),
    ] = 10_000
    kernel_buffer_bytes: Annotated[
        int,
        msgspec.Meta(
            ge=4_096,
            le=67_108_864,
            description="The kernel's send buffer of each connection (SO_SNDBUF); it may use twice as much. "
            "A browser that is further behind is given the next message when it has taken the last one.",
            extra={"unit": "bytes"},
        ),
    ] = 131_072
    max_lag_s: Annotated[
        float,
        msgspec.Meta(
            ge=0.1,
            le=3600,
            description="When the oldest event that is due to a browser came so long ago, it is told that it "
            "lags, and goes on with the newest; critical events are given all the same.",
            extra={"unit": "s"},
        ),
    ] = 10.0
    stalled_s: Annotated[
        float,
        msgspec.Meta(
            ge=0.1,
            le=3600,
            description="A browser that takes not one byte for so long is closed with 4008.",
            extra={"unit": "s"},
        ),
    ] = 20.0
    max_inbound_bytes: Annotated[
        int,
        msgspec.Meta(
            ge=125,
            le=1_048_576,
            description="The largest message a browser may send.",
            extra={"unit": "bytes"},
        ),
    ] = 16_384
    max_inbound_per_s: Annotated[
        float,
        msgspec.Meta(
            ge=1,
            le=1_000_000,
            description="WebSocket frames a browser may send, pongs and fragments too; faster than that, "
            "past twice as many at once, it is closed with 4029.",
            extra={"unit": "frames/s"},
        ),
    ] = 100.0
    max_subscriptions: Annotated[
        int,
        msgspec.Meta(
            ge=1,
            le=10_000,
            description="Scans that one connection to /ws/scans may be subscribed to; a further one is "
            "refused with an error.",
            extra={"unit": "scans"},
        ),
    ] = 100
    max_waiting: Annotated[
        int,
        msgspec.Meta(
            ge=1,
            le=100_000,
            description="Connections of one address that wait for a scan that does not exist yet; a further "
            "one is closed with 4029.",
            extra={"unit": "connections"},
        ),
    ] = 100
    waiting_s: Annotated[
        float,
        msgspec.Meta(
            ge=0.1,
            le=86_400,
            description="How long a connection may wait for a scan that does not exist yet; then it is "
            "closed with 4404.",
            extra={"unit": "s"},
        ),
    ] = 600.0


class RingSection(msgspec.Struct, frozen=True, kw_only=True):
    """The recent frames of each watched scan, shared by all its browsers; what is older is asked for."""

    max_frames: Annotated[
        int,
        msgspec.Meta(ge=1, le=100_000, description="Frames held of one scan.", extra={"unit": "frames"}),
    ] = 200
    max_bytes: Annotated[
        int,
        msgspec.Meta(
            ge=65_536, le=1_073_741_824, description="Bytes held of one scan.", extra={"unit": "bytes"}
        ),
    ] = 4_194_304
    max_total_bytes: Annotated[
        int,
        msgspec.Meta(
            ge=1_048_576,
            le=1_099_511_627_776,
            description="Bytes held of all scans; beyond it the ring of the scan quiet for longest goes "
            "first.",
            extra={"unit": "bytes"},
        ),
    ] = 268_435_456


class CompressionSection(msgspec.Struct, frozen=True, kw_only=True):
    """Compression of WebSocket messages, for browsers that offer it; each is compressed once for all."""

    enabled: Annotated[
        bool,
        msgspec.Meta(description="Agree to permessage-deflate when a browser offers it."),
    ] = True
    level: Annotated[
        int,
        msgspec.Meta(ge=1, le=9, description="zlib's level: 1 is fastest, 9 smallest."),
    ] = 1
    min_bytes: Annotated[
        int,
        msgspec.Meta(
            ge=0,
            le=1_048_576,
            description="A message smaller than this is sent as it is.",
            extra={"unit": "bytes"},
        ),
    ] = 512
    max_contexts: Annotated[
        int,
        msgspec.Meta(
            ge=0,
            le=100_000,
            description="Readers of one scan who are given the same share a window that is kept from frame "
            "to frame, which saves most of the bytes; 260 KiB each. Beyond these, and with 0, each frame is "
            "compressed alone.",
        ),
    ] = 256


class UpstreamSection(msgspec.Struct, frozen=True, kw_only=True):
    """How the edge talks to the workers."""

    answer_timeout_s: Annotated[
        float,
        msgspec.Meta(
            ge=0.05,
            le=60,
            description="A question a worker has not answered for so long is asked again.",
            extra={"unit": "s"},
        ),
    ] = 1.0
    silent_s: Annotated[
        float,
        msgspec.Meta(
            ge=0.1,
            le=600,
            description="A shard that has sent no beacon for so long makes /readyz red.",
            extra={"unit": "s"},
        ),
    ] = 3.0
    high_water_mark: Annotated[
        int,
        msgspec.Meta(
            ge=1,
            le=1_000_000,
            description="Frames queued from the workers; beyond it frames are missed, seen as a gap, and "
            "asked for.",
            extra={"unit": "frames"},
        ),
    ] = 10_000
    drain_messages: Annotated[
        int,
        msgspec.Meta(
            ge=1, le=100_000, description="Messages taken in one wake-up.", extra={"unit": "messages"}
        ),
    ] = 200


LIVE_KEYS = (
    LIVE_LOG_KEYS
    | {f"drain.{key}" for key in DrainSection.__struct_fields__}
    | {f"limits.{key}" for key in LimitsSection.__struct_fields__ if key != "max_lag_s"}
    | {f"compression.{key}" for key in CompressionSection.__struct_fields__}
    | {f"users.{key}" for key in UsersSection.__struct_fields__}
    | {f"http_in.{key}" for key in HttpInSection.__struct_fields__}
    | {"http.hosts", "http.trusted_proxies", "http.origins"}
    | {"requests.header_timeout_s", "requests.max_unfinished", "requests.max_idle"}
    | {"requests.answer_stalled_s", "requests.max_untaken_bytes"}
    | {"requests.connects_per_s", "requests.connect_burst"}
    | {"requests.requests_per_s", "requests.request_burst", "requests.max_exports"}
)
"""What an edge that runs takes over when it reads its configuration anew."""


class EdgeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Everything an edge process can be told."""

    pipeline: PlaceSection = PlaceSection()
    curve: CurveSection = CurveSection()
    edge: EdgeSection = EdgeSection()
    http: HttpSection = HttpSection()
    accounts: AccountsSection = AccountsSection()
    users: UsersSection = UsersSection()
    requests: RequestsSection = RequestsSection()
    http_in: HttpInSection = HttpInSection()
    drain: DrainSection = DrainSection()
    heartbeat: HeartbeatSection = HeartbeatSection()
    limits: LimitsSection = LimitsSection()
    ring: RingSection = RingSection()
    compression: CompressionSection = CompressionSection()
    upstream: UpstreamSection = UpstreamSection()
    metrics: EdgeMetricsSection = EdgeMetricsSection()
    log: LogSection = LogSection()

    def problems(self) -> list[str]:
        """Return what is wrong between keys, one line each."""
        found = []
        if self.heartbeat.client_timeout_s <= self.heartbeat.interval_s:
            found.append(
                f"[heartbeat] client_timeout_s = {self.heartbeat.client_timeout_s:g}: must be greater than "
                f"interval_s ({self.heartbeat.interval_s:g}), or live browsers are closed"
            )
        found += self.http.problems(accounts=self.accounts.on)
        found += self.accounts.problems()
        return found
