"""Where a stage can be made to die: points in it, each passed and counted, and what happens at the n-th pass.

Used by `broken_stage`, in the process that is to die. The production code knows nothing of it: methods are
wrapped, and ZeroMQ sockets made of a class that looks at what is sent.

================== ===================== ============================================================
stage              point                 passed
================== ===================== ============================================================
throttle-batch     in_load               when the journal has been read, before there is a socket
                   before_commit         with a wake-up's events taken, nothing of them written
                   in_commit             inside the transaction: events written, ack rows not
                   after_commit          all is durable, nobody has been told
                   after_ack             the acks are on their way
                   before_publish        a frame is about to leave
                   after_publish         a frame is on its way
                   in_trim               inside the transaction that deletes old events
                   in_delete             inside the transaction that deletes a scan
                   after_delete          that is durable, who asked has not been told
                   before_answer         a page of history has been asked for, and read
ingest             before_forward        an envelope is about to go to its shard
                   after_forward         it is on its way
                   before_feedback       acks have come, their producer has not been told
                   after_feedback        it has been told
edge               before_write          the cursor has moved, nothing is written yet
                   torn_write            half of a message is in the socket
                   after_write           all of it is
                   before_page           a page has come, the cursor has not moved yet
================== ===================== ============================================================
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import sys
from collections.abc import Callable, Sequence
from typing import Any

import zmq

MARKER_CHANNEL = "scan/marker"
"""What a process that stands still sends last goes here, so that all before it is known to have arrived."""


class Fuse:
    """Counts the passes of one point, and acts at one of them.

    Args:
        point: which one.
        nth: at which pass, from 1.
        text: only passes while a wake-up's events hold this count.
        hold: stand still for ever instead of ending; the sockets' own threads go on.

    Attributes:
        body: what the wake-up holds.
        marker: called before standing still.
    """

    def __init__(self, point: str, nth: int, text: bytes, *, hold: bool) -> None:
        self.point = point
        self.body = b""
        self.marker: Callable[[], None] = lambda: None
        self._left = nth
        self._text = text
        self._hold = hold

    def due(self, point: str) -> bool:
        """Count a pass; say whether it is the one."""
        if point != self.point or self._text not in self.body:
            return False
        self._left -= 1
        return self._left == 0

    def __call__(self, point: str) -> None:
        """Count a pass, and act if it is the one."""
        if self.due(point):
            self.blow()

    def blow(self) -> None:
        """End as by SIGKILL, or stand still."""
        if not self._hold:
            os.kill(os.getpid(), signal.SIGKILL)
        self.marker()
        print(json.dumps({"fact": "held", "point": self.point}), file=sys.stderr, flush=True)
        while True:
            signal.pause()


class Losses:
    """Which messages go nowhere.

    Args:
        place: a kind of message, see `KINDS`.
        first: the first one lost, from 1.
        last: the last one.
    """

    def __init__(self, place: str, first: int, last: int) -> None:
        self._place = place
        self._range = range(first, last + 1)
        self._passed = 0

    def takes(self, kind: str) -> bool:
        """Count a message; say whether it is lost."""
        self._passed += kind == self._place
        return kind == self._place and self._passed in self._range


KINDS = {b"\x01": "forward", b"A|": "ack", b"F|": "publish", b"H|": "beacon", b'{"': "question"}
"""How a message begins, and what it is called where points and losses are counted."""


def watch_sockets(fuses: Sequence[Fuse], losses: Sequence[Losses]) -> None:
    """Have every socket of this process count what it sends."""

    class Watched(zmq.Socket):  # type: ignore[type-arg]  # of bytes
        def send(self, data: Any, flags: int = 0, *args: Any, **kwargs: Any) -> Any:
            begins = bytes(data[:2])
            kind = KINDS.get(begins) or KINDS.get(begins[:1])
            if kind is None:
                return super().send(data, flags, *args, **kwargs)
            for fuse in fuses:
                fuse(f"before_{kind}")
            if not any(loss.takes(kind) for loss in losses):
                super().send(data, flags, *args, **kwargs)
            for fuse in fuses:
                fuse(f"after_{kind}")
            return None

    zmq.Context._socket_class = Watched


def arm_worker(fuses: Sequence[Fuse]) -> None:
    """Wrap the methods of a worker."""
    from pipeline.frame import Frame
    from pipeline.throttle_batch import journal_file
    from pipeline.throttle_batch.answers import Answers
    from pipeline.throttle_batch.producers import Producers, Verdict
    from pipeline.throttle_batch.shard import Shard
    from pipeline.throttle_batch.sqlite_journal import SqliteJournal
    from pipeline.wire import Feedback, Nack, encode_feedback, encode_frame

    again: list[object] = []  # messages of this wake-up whose events are taken and not committed

    def each(point: str) -> None:
        for fuse in fuses:
            fuse(point)

    def mark(shard: Any, commit: Any) -> None:
        nacks = [Nack(ack.pid, ack.inc, ack.channel, ack.committed, "held", "") for ack in commit.acks]
        shard.events.send(encode_feedback(Feedback(nacks=nacks)))
        shard.events.send(encode_frame(Frame(MARKER_CHANNEL, 1, 1, 1, (b'{"type":"marker"}',))))

    def shard_commit(self: Any, commit: Any) -> Any:
        body = b"\n".join(event for chunk in commit.chunks for event in chunk.events)
        for fuse in fuses:
            fuse.body = body
            fuse.marker = lambda: mark(self, commit)
        if again:
            each("before_commit_of_a_duplicate")
        again.clear()
        return commit_of_shard(self, commit)

    def judge(self: Any, header: Any, count: int) -> Any:
        producer, verdict = judge_of_producers(self, header, count)
        if verdict is Verdict.TAKEN:
            again.append(header)
        return producer, verdict

    def journal_commit(self: Any, commit: Any, now_ms: int) -> None:
        if commit.chunks:
            each("before_commit")
        commit_of_journal(self, commit, now_ms)
        if commit.chunks:
            each("after_commit")

    def load(self: Any) -> Any:
        found = load_of_journal(self)
        each("in_load")
        return found

    def page(self: Any, *args: Any) -> bytes:
        found: bytes = page_of_answers(self, *args)
        each("before_answer")
        return found

    def delete(self: Any, *args: Any) -> None:
        delete_of_journal(self, *args)
        each("after_delete")

    class Connection(sqlite3.Connection):
        def executemany(self, sql: str, rows: Any) -> sqlite3.Cursor:  # type: ignore[override]
            rows = list(rows)
            if rows and "producer" in sql:
                each("in_commit")
            return super().executemany(sql, rows)

        def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:  # type: ignore[override]
            cursor = super().execute(sql, *args)
            if sql.startswith("DELETE FROM chunk"):
                each("in_trim")
            if sql.startswith("UPDATE life SET updated_ms = ?, checksum"):
                each("in_delete")
            return cursor

    class Sqlite:
        """The module, with another class of connections."""

        def __getattr__(self, name: str) -> Any:
            return getattr(sqlite3, name)

        @staticmethod
        def connect(*args: Any, **kwargs: Any) -> sqlite3.Connection:
            return sqlite3.connect(*args, factory=Connection, **kwargs)

    commit_of_shard, page_of_answers = Shard._commit, Answers.page
    commit_of_journal, load_of_journal = SqliteJournal.commit, SqliteJournal.load
    delete_of_journal = SqliteJournal.delete
    judge_of_producers = Producers.judge
    Producers.judge = judge  # type: ignore[method-assign]
    Shard._commit, Answers.page = shard_commit, page  # type: ignore[method-assign,assignment]
    SqliteJournal.commit, SqliteJournal.load = journal_commit, load  # type: ignore[method-assign]
    SqliteJournal.delete = delete  # type: ignore[method-assign]
    journal_file.sqlite3 = Sqlite()  # type: ignore[assignment]


def arm_ingest(fuses: Sequence[Fuse]) -> None:
    """Wrap the methods of an ingest."""
    from pipeline.ingest.stage import IngestStage

    def tell(self: Any, feedback: Any) -> None:
        for fuse in fuses:
            fuse("before_feedback")
        tell_of_stage(self, feedback)
        for fuse in fuses:
            fuse("after_feedback")

    tell_of_stage = IngestStage._tell
    IngestStage._tell = tell  # type: ignore[method-assign]


def arm_edge(fuses: Sequence[Fuse]) -> None:
    """Wrap the methods of an edge."""
    from pipeline.edge.session import Session
    from pipeline.edge.transmit_socket import SocketTransmitter
    from pipeline.edge.transmit_stream import StreamTransmitter

    def begin_at_socket(self: Any, connection: Any, *args: Any) -> None:
        begin_of_socket(self, connection, *args)
        self.offer = offering(self.offer, connection.send)

    def begin_at_stream(self: Any, stream: Any, *args: Any) -> None:
        begin_of_stream(self, stream, *args)
        self.offer = offering(self.offer, stream.socket.send)

    def offering(offer_of_transmitter: Any, send: Any) -> Callable[[bytes], int]:

        def offer(frames: bytes) -> int:
            for fuse in fuses:
                fuse.body = frames
                fuse("before_write")
                if fuse.due("torn_write"):
                    send(frames[: len(frames) // 2])
                    fuse.blow()
            taken: int = offer_of_transmitter(frames)
            for fuse in fuses:
                fuse("after_write")
            return taken

        return offer

    def on_page(self: Any, *args: Any) -> Any:
        for fuse in fuses:
            fuse("before_page")
        return page_of_session(self, *args)

    begin_of_socket, begin_of_stream = SocketTransmitter.__init__, StreamTransmitter.__init__
    page_of_session = Session.on_page
    SocketTransmitter.__init__ = begin_at_socket  # type: ignore[method-assign]
    StreamTransmitter.__init__ = begin_at_stream  # type: ignore[method-assign]
    Session.on_page = on_page  # type: ignore[method-assign]


ARM: dict[str, Callable[[Sequence[Fuse]], None]] = {
    "throttle-batch": arm_worker,
    "ingest": arm_ingest,
    "edge": arm_edge,
}

POINTS = {
    "throttle-batch": (
        "in_load",
        "before_commit",
        "in_commit",
        "after_commit",
        "after_ack",
        "before_publish",
        "after_publish",
        "before_answer",
    ),
    "ingest": ("before_forward", "after_forward", "before_feedback", "after_feedback"),
    "edge": ("before_write", "torn_write", "after_write", "before_page"),
}
"""Those that any traffic passes; `in_trim` needs a journal that is full, two more that a scan is deleted."""
