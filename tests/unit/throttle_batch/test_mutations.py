"""The core broken on purpose: each small change of its source must make the check named beside it fail.

The checks are those of the other test files, run against a core compiled from the changed source. A text
that is no longer in the source fails its row, so that the table keeps up with the code.
"""

from __future__ import annotations

import pytest

from tests.unit.throttle_batch import test_batcher as batcher
from tests.unit.throttle_batch import test_channel as channel
from tests.unit.throttle_batch import test_history as history
from tests.unit.throttle_batch import test_pending as pending
from tests.unit.throttle_batch import test_scan_state as scan_state
from tests.unit.throttle_batch import test_token_bucket as token_bucket
from tests.unit.throttle_batch.conftest import Core


def timeline(name: str):
    def check(core: Core) -> None:
        channel.check_timeline(core, name)

    return check


def mixed(core: Core) -> None:
    channel.check_schedule(core, channel.MIXED)


# (module, old text, new text, the check that must notice)
MUTATIONS = {
    "a bucket of two": (
        "token_bucket",
        "capacity: float = 1.0",
        "capacity: float = 2.0",
        timeline("the next fifty wait for the next token"),
    ),
    "a bucket of two, in a mixed schedule": (
        "token_bucket",
        "capacity: float = 1.0",
        "capacity: float = 2.0",
        mixed,
    ),
    "a frame leaves before its time, in a mixed schedule": (
        "channel",
        "if due is not None and now >= due and self._frame_bucket.take(now):",
        "if due is not None and self._frame_bucket.take(now):",
        mixed,
    ),
    "a bucket that gives a token early": (
        "token_bucket",
        "self._full_at = max(self._full_at, now) + self._interval_s",
        "self._full_at = now + 0.9 * self._interval_s",
        token_bucket.check_capacity_one_spaces_tokens,
    ),
    "merged is not counted": ("pending", "merged += 1", "pass", pending.check_state_merging),
    "the first of a key survives": (
        "pending",
        "            if replaced is not None:\n                del kept[replaced.seq]\n",
        "            if replaced is not None:\n                entry = kept.pop(replaced.seq)\n",
        pending.check_state_merging,
    ),
    "facts are merged as well": (
        "pending",
        "replaced = latest.get(entry.treatment.key) if entry.treatment.key is not None else None",
        'replaced = latest.get(entry.treatment.key or "")\n            latest.setdefault("", entry)',
        mixed,
    ),
    "a cut is not contiguous": (
        "pending",
        "            last = entry.seq\n",
        "            last = entry.seq + 1\n",
        mixed,
    ),
    "a cut forgets the frame's limit": (
        "pending",
        "if grown > self._max_frame_bytes and kept:",
        "if False:",
        timeline("a frame of too many bytes is cut, the rest waits for tokens"),
    ),
    "a critical event overtakes": (
        "pending",
        "if self._entries[0].seq < first_critical:",
        "if False:",
        pending.check_criticals_keep_their_place,
    ),
    "the interval runs from the newest event": (
        "pending",
        "return self._entries[0].received_at",
        "return self._entries[-1].received_at",
        timeline("the interval runs from the first pending event"),
    ),
    "a critical event waits for a token": (
        "channel",
        "now if self._critical_bucket.take(now) else now + self._batch.critical_gather_s",
        "self._frame_bucket.available_at(now)",
        timeline("a critical event flushes without a token just the same"),
    ),
    "criticals are never gathered": (
        "channel",
        "else now + self._batch.critical_gather_s",
        "else now",
        timeline("past twenty critical frames a second they are gathered"),
    ),
    "criticals are always gathered": (
        "channel",
        "now if self._critical_bucket.take(now) else",
        "",
        mixed,
    ),
    "a flush takes no token": (
        "channel",
        "                self._frame_bucket.take(now)\n",
        "                pass\n",
        timeline("a critical event flushes what is before it, with the token"),
    ),
    "fifty do not leave early": (
        "channel",
        "if len(self._pending) >= self._batch.max_batch_events:",
        "if False:",
        timeline("fifty leave at once when there is a token"),
    ),
    "a frame leaves before its time": (
        "channel",
        "if due is not None and now >= due and self._frame_bucket.take(now):",
        "if due is not None and self._frame_bucket.take(now):",
        channel.check_early_and_repeated_calls_do_nothing,
    ),
    "frames leave without a token": (
        "channel",
        "return max(wanted, self._frame_bucket.available_at(now))",
        "return wanted",
        timeline("without a token the batch grows"),
    ),
    "a channel of no bound": (
        "channel",
        "return waiting + size_bytes <= self._batch.max_pending_bytes",
        "return True",
        batcher.check_a_full_channel_takes_no_more_of_a_numbered_producer,
    ),
    "cleanup comes early": (
        "channel",
        "return max(self.terminal_at, self._kept_from) + self._cleanup_after_s",
        "return max(self.terminal_at, self._kept_from) + self._cleanup_after_s - 1",
        batcher.check_cleanup_is_exactly_after_the_terminal_event,
    ),
    "cleanup looks at what is pending no more": (
        "channel",
        "return now >= self.cleanup_at() and not self._pending and not self._uncommitted",
        "return now >= self.cleanup_at()",
        batcher.check_cleanup_waits_for_what_is_pending,
    ),
    "idle cleanup counts from the first event": (
        "channel",
        "        self.last_event_at = now\n        if treatment.terminal:",
        "        if treatment.terminal:",
        batcher.check_idle_cleanup,
    ),
    "a loss alone wakes nobody": (
        "channel",
        "if due is None and self.lost:",
        "if False:",
        batcher.check_a_loss_is_told_though_nothing_else_comes,
    ),
    "a retry is never sent": (
        "batcher",
        "        if producer.may_ask(now):\n",
        "        if False:\n",
        batcher.check_a_gap_is_asked_for_once,
    ),
    "a tombstone leaves a hole": (
        "batcher",
        "producer.taken = number  # a tombstone: its sender was told why",
        "pass",
        batcher.check_a_tombstone_leaves_no_hole,
    ),
    "taken does not move": (
        "batcher",
        "            producer.taken = number\n",
        "",
        batcher.check_what_is_taken_is_acked_with_the_commit,
    ),
    "what was taken is taken again": (
        "batcher",
        "if number > producer.taken:",
        "if True:",
        batcher.check_of_an_overlap_the_new_is_taken,
    ),
    "a gap is stepped over": (
        "producers",
        "Verdict.GAP if header.pseq > producer.taken + 1 else Verdict.NEW",
        "Verdict.NEW",
        batcher.check_a_gap_is_asked_for_once,
    ),
    "a gap is asked for at every message": (
        "producers",
        "now - self._retried_at < RETRY_INTERVAL_S",
        "False",
        batcher.check_a_gap_is_asked_for_once,
    ),
    "what is committed is not acked again": (
        "producers",
        "Verdict.AGAIN if last <= producer.committed else Verdict.TAKEN",
        "Verdict.TAKEN",
        batcher.check_what_is_committed_is_acked_again,
    ),
    "an unknown producer starts at 1": (
        "producers",
        "Producer(header.inc, header.una - 1, header.una - 1)",
        "Producer(header.inc, 0, 0)",
        batcher.check_an_unknown_producer_starts_at_its_una,
    ),
    "an old process is heard": (
        "producers",
        "elif header.inc < producer.inc:",
        "elif False:",
        batcher.check_an_older_incarnation_is_fenced,
    ),
    "a jump is not made": (
        "producers",
        "if header.una > producer.taken + 1:",
        "if False:",
        batcher.check_a_una_beyond_our_state_is_jumped_to,
    ),
    "two terminal events": (
        "batcher",
        "            if treatment.terminal and channel.terminal_accepted:\n                self._nack(",
        "            if False:\n                self._nack(",
        batcher.check_a_second_terminal_is_refused,
    ),
    "a critical message waits for room": (
        "batcher",
        "if channel is not None and critical and channel.has_room(0):",
        "if False:",
        batcher.check_a_critical_message_is_taken_although_full,
    ),
    "every critical message goes over the bound": (
        "batcher",
        "and critical and channel.has_room(0):",
        "and critical:",
        batcher.check_only_one_critical_message_goes_over_the_bound,
    ),
    "a loss is not told": (
        "batcher",
        "self._owed[channel.name, channel.epoch] = channel\n",
        "pass\n",
        batcher.check_what_a_foreign_producer_loses_is_told,
    ),
    "a loss is told twice": (
        "batcher",
        "                channel.lost = 0\n",
        "",
        batcher.check_what_a_foreign_producer_loses_is_told,
    ),
    "a new life has the epoch of the old": (
        "batcher",
        "epoch = max(epoch, channel.epoch + 1)",
        "epoch = channel.epoch",
        batcher.check_a_start_after_the_end_begins_a_new_life,
    ),
    "a start begins no new life": (
        "batcher",
        "starts = event_type(event) in _STARTS",
        "starts = False",
        batcher.check_a_start_after_the_end_begins_a_new_life,
    ),
    "an old life is not closed": (
        "batcher",
        "                frames.extend(channel.close())\n",
        "                pass\n",
        batcher.check_a_start_after_the_end_begins_a_new_life,
    ),
    "an old life tells its loss too late": (
        "batcher",
        "if channel.has_room(len(raw)) or self._current.get(channel.name) is not channel:",
        "if channel.has_room(len(raw)):",
        batcher.check_what_an_ended_life_lost_is_told_before_the_next,
    ),
    "a freed life is scheduled": (
        "batcher",
        "if life in self._lives:",
        "if True:",
        batcher.check_a_life_replaced_as_it_expires,
    ),
    "frames leave ahead of the commit": (
        "batcher",
        "                accepted += 1\n",
        "                accepted += bool(channel.committed(now)) or 1\n",
        batcher.check_nothing_leaves_before_the_commit,
    ),
    "deadlines hold what is gone": (
        "deadlines",
        "if len(self._heap) > 2 * len(self._at) + 16:",
        "if False:",
        batcher.check_a_freed_channel_leaves_nothing_behind,
    ),
    "an idle channel is looked at all the time": (
        "batcher",
        "max(channel.cleanup_at(), now + _CLEANUP_GRAIN_S)",
        "min(channel.cleanup_at(), now + 3_600)",
        batcher.check_ten_thousand_idle_channels_cost_no_wakeups,
    ),
    "no limit of channels": (
        "batcher",
        "if len(self._lives) >= self._config.limits.max_channels:",
        "if False:",
        batcher.check_the_limit_of_channels,
    ),
    "no limit of producers": (
        "producers",
        "if len(self._known) > self._max_producers:",
        "if False:",
        batcher.check_the_limit_of_producers,
    ),
    "what was acked is forgotten in a restart": (
        "batcher",
        "            self._producers.restore(known)\n",
        "            pass\n",
        batcher.check_what_was_committed_is_acked_again_after_a_restart,
    ),
    "a restart numbers from 1 again": (
        "channel",
        "        self._next_seq = record.head + 1\n",
        "",
        batcher.check_a_restart_goes_on_where_it_was,
    ),
    "a restart forgets what came after the checkpoint": (
        "channel",
        "        for raw in record.tail:\n",
        "        for raw in record.tail[:0]:\n",
        batcher.check_a_restart_goes_on_where_it_was,
    ),
    "a restart gives every channel its time again": (
        "channel",
        "self.terminal_at = now - max(0, now_ms - record.ended_ms) / 1000",
        "self.terminal_at = now",
        batcher.check_a_restart_counts_the_time_it_was_away,
    ),
    "an event after cleanup begins a new life": (
        "batcher",
        "if past is not None and not (past.cut or (past.ended and starts)):",
        "if False:",
        batcher.check_an_event_after_cleanup_goes_on_with_the_life,
    ),
    "a life that came back is freed at once": (
        "batcher",
        "            channel.keep_from(now)\n",
        "",
        batcher.check_an_event_after_cleanup_goes_on_with_the_life,
    ),
    "a life that came back has ended just now": (
        "channel",
        "        self._kept_from = now\n",
        "        self._kept_from = self.terminal_at = now\n",
        batcher.check_an_event_after_cleanup_goes_on_with_the_life,
    ),
    "a start after cleanup goes on with what ended": (
        "batcher",
        "if past is not None and not (past.cut or (past.ended and starts)):",
        "if past is not None:",
        batcher.check_a_start_after_cleanup_begins_a_new_life,
    ),
    "a life that was cut off goes on": (
        "batcher",
        "not (channel.cut or (channel.terminal_accepted and starts))",
        "not (channel.terminal_accepted and starts)",
        batcher.check_a_life_that_was_cut_off_takes_no_more,
    ),
    "a life that was cut off goes on after cleanup": (
        "batcher",
        "not (past.cut or (past.ended and starts))",
        "not (past.ended and starts)",
        batcher.check_a_life_that_was_cut_off_takes_no_more,
    ),
    "cleanup forgets that a life was cut off": (
        "batcher",
        "cut=channel.cut,",
        "",
        batcher.check_a_life_that_was_cut_off_takes_no_more,
    ),
    "a later life has an earlier epoch": (
        "batcher",
        "            epoch = max(epoch, past.epoch + 1)\n",
        "            pass\n",
        batcher.check_a_new_life_after_a_restart_is_later,
    ),
    "states are never kept": (
        "batcher",
        "CHECKPOINT_EVENTS = 256",
        "CHECKPOINT_EVENTS = 1 << 60",
        batcher.check_states_are_kept_now_and_then,
    ),
    "a page begins within the wrong block": (
        "history",
        "max(0, start - block.first)",
        "0",
        history.check_reading,
    ),
    "a page gives one too many": (
        "history",
        "upto - block.first + 1]",
        "upto - block.first + 2]",
        history.check_reading,
    ),
    "a page grows past its bytes": (
        "history",
        "if size > max_bytes and events:",
        "if size > max_bytes + 100 and events:",
        history.check_pages,
    ),
    "a page may be empty": (
        "history",
        "if size > max_bytes and events:",
        "if size > max_bytes:",
        history.check_pages,
    ),
    "a channel holds more than it may": (
        "history",
        "while log.size_bytes > self._max_channel_bytes:",
        "while False:",
        history.check_a_channel_lets_go_of_its_oldest,
    ),
    "all hold more than they may": (
        "history",
        "while self.size_bytes > self._max_total_bytes:",
        "while False:",
        history.check_in_all_the_largest_lets_go,
    ),
    "trimming is not counted": (
        "history",
        "self.trimmed_events += len(oldest.events)",
        "pass",
        history.check_a_channel_lets_go_of_its_oldest,
    ),
    "progress goes back": (
        "scan_state",
        "max(known, shown)",
        "shown",
        scan_state.check_states,
    ),
    "100 before the end": ("scan_state", "min(progress, 99.9)", "progress", scan_state.check_states),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_broken_core_is_noticed(core: Core, core_with, name: str) -> None:
    module, old, new, check = MUTATIONS[name]
    check(core)
    broken = core_with({module: [(old, new)]})
    with pytest.raises((AssertionError, KeyError)):
        check(broken)
