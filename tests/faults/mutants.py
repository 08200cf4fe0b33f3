"""Variants of the pipeline that are broken on purpose, one rule each: every one must be caught by the suite.

A variant is the real source with a small text replaced, compiled when the module is imported. A text that is
not in the source exactly once is an error, so that the table keeps up with the code.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Mutant:
    """One variant.

    Attributes:
        stage: which process runs it: `ingest`, `throttle-batch`, `edge` or `emit`.
        module: what is changed.
        edits: (old text, new text).
    """

    stage: str
    module: str
    edits: tuple[tuple[str, str], ...]

    def source(self) -> str:
        """Return the module's source as it is run.

        Raises:
            ValueError: a text to be replaced is not in the source exactly once.
        """
        spec = importlib.util.find_spec(self.module)
        assert spec is not None
        assert spec.origin is not None
        text = Path(spec.origin).read_text()
        for old, new in self.edits:
            if text.count(old) != 1:
                raise ValueError(f"{self.module} holds {text.count(old)} times, not once: {old!r}")
            text = text.replace(old, new)
        return text


MUTANTS = {
    "worker does not look for gaps": Mutant(
        "throttle-batch",
        "pipeline.throttle_batch.producers",
        (("Verdict.GAP if header.pseq > producer.taken + 1 else Verdict.NEW", "Verdict.NEW"),),
    ),
    "ack before the journal": Mutant(
        "throttle-batch",
        "pipeline.throttle_batch.shard",
        (
            (
                "        if commit and not self._commit(commit):\n            return\n",
                "        from pipeline.wire import Feedback\n\n"
                "        self.events.send(encode_feedback(Feedback(acks=commit.acks)), zmq.NOBLOCK)\n"
                "        if commit and not self._commit(commit):\n            return\n",
            ),
        ),
    ),
    "publish before the journal": Mutant(
        "throttle-batch",
        "pipeline.throttle_batch.shard",
        (
            (
                "        if commit and not self._commit(commit):\n            return\n"
                "        released = self._batcher.committed(now)\n",
                "        released = self._batcher.committed(now)\n"
                "        while released.frames:\n"
                "            self._publish(released.frames.pop(0), now)\n"
                "        if commit and not self._commit(commit):\n            return\n",
            ),
        ),
    ),
    "what cannot be written is acked": Mutant(
        "throttle-batch",
        "pipeline.throttle_batch.shard",
        (
            (
                "            self._journal_failing = True\n            return False\n",
                "            return True\n",
            ),
        ),
    ),
    "dedup outside the transaction": Mutant(
        "throttle-batch",
        "pipeline.throttle_batch.sqlite_journal",
        (
            (
                "                    self._db.executemany(\n"
                '                        "INSERT OR REPLACE INTO producer',
                "                if commit:\n"
                "                    self._db.executemany(\n"
                '                        "INSERT OR REPLACE INTO producer',
            ),
        ),
    ),
    "what is taken and not committed is acked again": Mutant(
        "throttle-batch",
        "pipeline.throttle_batch.shard",
        (
            (
                "                self._batcher.receive(decode_envelope(message), now)\n",
                "                from pipeline.wire import Ack, Feedback\n\n"
                '                before = self._batcher.counters["duplicates"]\n'
                "                envelope = decode_envelope(message)\n"
                "                self._batcher.receive(envelope, now)\n"
                '                if self._batcher.counters["duplicates"] > before:\n'
                "                    header = envelope.header\n"
                "                    last = header.pseq + len(envelope.events) - 1\n"
                "                    ack = Ack(header.pid, header.inc, header.channel, last)\n"
                "                    self.events.send(encode_feedback(Feedback([ack])), zmq.NOBLOCK)\n",
            ),
        ),
    ),
    "critical events are numbered first": Mutant(
        "throttle-batch",
        "pipeline.throttle_batch.intake",
        (
            (
                "        for run in runs:\n",
                "        runs.sort(key=lambda run: run.treatment.event_class is not EventClass.CRITICAL)\n"
                "        for run in runs:\n",
            ),
        ),
    ),
    "critical frames overtake": Mutant(
        "throttle-batch",
        "pipeline.throttle_batch.shard",
        (
            (
                "        for frame in released.frames:\n",
                "        for frame in sorted(released.frames, key=lambda frame: not frame.critical):\n",
            ),
        ),
    ),
    "no beacon": Mutant(
        "throttle-batch",
        "pipeline.throttle_batch.shard",
        (("self.events.send(encode_beacon(beacon), zmq.NOBLOCK)", "pass"),),
    ),
    "no tombstone": Mutant(
        "ingest",
        "pipeline.ingest.admission",
        (("replace(header, rejected=tuple(sorted(rejected.items())))", "replace(header, rejected=())"),),
    ),
    "edge does not look for gaps": Mutant(
        "edge",
        "pipeline.edge.session",
        (
            (
                "                if delivery is None:\n                    break\n",
                "                if delivery is None and feed._ring and feed._ring[-1].first > self._next:\n"
                "                    delivery = feed._ring[-1]\n"
                "                if delivery is None:\n                    break\n",
            ),
        ),
    ),
    "edge asks only once": Mutant(
        "edge",
        "pipeline.edge.upstream",
        (("timeout=self._settings.answer_timeout_s", "timeout=None"),),
    ),
    "producer does not send again": Mutant(
        "emit",
        "pipeline.outbox",
        (
            (
                "min(wait_s, MAX_PAUSE_S))\n        self.go_back(now)\n",
                "min(wait_s, MAX_PAUSE_S))\n",
            ),
            ("if not self._inflight or now < self._progress_at + self._timeout_s:", "if True:"),
        ),
    ),
}


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives one module the source of a variant."""

    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant
        self._source = mutant.source()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._mutant.module:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, origin=f"mutant of {fullname}")

    def exec_module(self, module: types.ModuleType) -> None:
        exec(compile(self._source, module.__spec__.origin or "", "exec"), module.__dict__)  # type: ignore[union-attr]


def install(mutant: Mutant) -> None:
    """Have this process import a variant; call it before the module is imported.

    Raises:
        RuntimeError: the module is imported already.
    """
    if mutant.module in sys.modules:
        raise RuntimeError(f"{mutant.module} is imported already")
    sys.meta_path.insert(0, _Finder(mutant))
