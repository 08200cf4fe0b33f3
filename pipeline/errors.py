"""Everything that can go wrong, as one tree.

::

    PipelineError
    ├── OperatorError             ours or the operator's: how it was set up or started
    │   ├── ConfigError           a config file, flag or variable; exit code 78
    │   ├── EndpointError         a run directory, socket path or port that cannot be used
    │   ├── LayoutError           shards or hash differ from those the data was written with
    │   ├── LibraryError          a library with known weaknesses, or none that can be used
    │   └── JournalError          the journal cannot be used, or not be written now
    │       └── JournalDamaged    its file is damaged; `--recover` sets it aside
    │           └── EventsDamaged only a range of events is; those around it can be read
    └── PeerError                 the other side's: what it sent, or that it does not answer
        ├── EventRejected         one event that is not taken; carries a `RejectReason`
        ├── MessageMalformed      bytes from a ZeroMQ peer that are none of our messages
        ├── TokenRejected         a token that is not accepted; carries a `TokenProblem`
        ├── TimedOut              what was waited for did not come in the time given; exit code 124
        ├── InputMalformed        a tool's output that an adapter cannot read on from
        └── NotDelivered          what a producer sent and nobody has acknowledged

A message names what was wrong, the value met *and* the limit; the fields say the same to a program.
"""

from __future__ import annotations

import enum


class PipelineError(Exception):
    """The root of every error this package raises on purpose."""

    exit_code = 1


class OperatorError(PipelineError):
    """What the operator can mend: configuration, paths, ports."""


class ConfigError(OperatorError):
    """A configuration that cannot be used.

    Args:
        problems: one line a mistake, all of them, each naming its source and key.
    """

    exit_code = 78

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class EndpointError(OperatorError):
    """A run directory, socket path or port that cannot be used."""


class LayoutError(OperatorError):
    """The shards or the hash differ from those the data or a peer was set up with."""

    exit_code = 78


class LibraryError(OperatorError):
    """A library that has known weaknesses: its version is below the floor."""


class JournalError(OperatorError):
    """The journal cannot be used, or not be written now: what was to be written may be tried again."""


class JournalDamaged(JournalError):
    """The journal's file is damaged; `--recover` sets it aside and begins anew."""


class EventsDamaged(JournalDamaged):
    """Some events of a journal are not as they were written; nobody can be given them any more.

    Args:
        first: seq of the first of them.
        last: seq of the last one.
    """

    def __init__(self, first: int, last: int) -> None:
        super().__init__(f"events {first} to {last} are damaged")
        self.first = first
        self.last = last


class PeerError(PipelineError):
    """What the other side did: it sent something unusable, or it does not answer."""


class RejectReason(enum.StrEnum):
    """Why an event is not taken: the closed list behind every NACK and every `rejected` counter."""

    UTF8 = "utf8"
    JSON = "json"
    SCHEMA = "schema"
    TOO_LARGE = "too_large"
    BAD_SCAN_ID = "bad_scan_id"
    AFTER_TERMINAL = "after_terminal"
    FENCED = "fenced"
    SCAN_OWNED = "scan_owned"
    QUOTA = "quota"
    RATE = "rate"
    KEY_REUSED = "key_reused"
    PID_TAKEN = "pid_taken"
    NOT_OWNER = "not_owner"


class EventRejected(PeerError):
    """One event that is not taken.

    Args:
        reason: which of the closed list of reasons it is.
        message: what was wrong, with the value and the limit.
    """

    def __init__(self, reason: RejectReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class MessageMalformed(PeerError):
    """Bytes from a ZeroMQ peer that are none of the messages `wire` knows."""


class TokenProblem(enum.StrEnum):
    """Why a token is refused: a closed list, for counters."""

    MALFORMED = "malformed"
    ALGORITHM = "algorithm"
    SIGNATURE = "signature"
    CLAIMS = "claims"
    ISSUER = "issuer"
    AUDIENCE = "audience"
    EXPIRED = "expired"
    NOT_YET = "not_yet"
    REVOKED = "revoked"
    MISSING = "missing"


class TokenRejected(PeerError):
    """A token that is not accepted. The message never has the token in it.

    Args:
        problem: which of the closed list it is.
        message: in words.
    """

    def __init__(self, problem: TokenProblem, message: str) -> None:
        super().__init__(message)
        self.problem = problem


class TimedOut(PeerError):
    """What was waited for did not come in the time given; the exit code is that of timeout(1)."""

    exit_code = 124


class InputMalformed(PeerError):
    """A tool's output that an adapter cannot read on from."""


class NotDelivered(PeerError):
    """Events were sent and not acknowledged in the time given.

    Args:
        unacked: how many events are not acknowledged.
        message: what was waited for, where, and how long.
    """

    def __init__(self, unacked: int, message: str) -> None:
        super().__init__(message)
        self.unacked = unacked
