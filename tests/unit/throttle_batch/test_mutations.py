"""The core broken on purpose: each small change of its source must make the check named beside it fail.

The checks are those of the other test files, run against a core compiled from the changed source. A text
that is no longer in the source fails its row, so that the table keeps up with the code.
"""

from __future__ import annotations

import pytest

from tests.unit import test_token_bucket as token_bucket
from tests.unit.throttle_batch import test_batcher as batcher
from tests.unit.throttle_batch import test_channel as channel
from tests.unit.throttle_batch import test_history as history
from tests.unit.throttle_batch import test_intake as intake
from tests.unit.throttle_batch import test_pending as pending
from tests.unit.throttle_batch import test_scan_state as scan_state
from tests.unit.throttle_batch.conftest import Core


def timeline(name: str):
    def check(core: Core) -> None:
        channel.check_timeline(core, name)

    return check


def mixed(core: Core) -> None:
    channel.check_schedule(core, channel.MIXED)


def folded_in_runs(core: Core) -> None:
    scan_state.check_runs(core, scan_state.REFERENCE, 20)


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
        "self._full_at = max(self._full_at, now) + self._interval_s * count",
        "self._full_at = now + 0.9 * self._interval_s",
        lambda core: token_bucket.check_capacity_one_spaces_tokens(core.token_bucket),
    ),
    "merged is not counted": ("pending", "merged += 1", "pass", pending.check_state_merging),
    "the first of a key survives": (
        "pending",
        "                del kept[replaced.first]\n",
        "                run = kept.pop(replaced.first)\n",
        pending.check_state_merging,
    ),
    "facts are merged as well": (
        "pending",
        "replaced = latest.get(key) if key is not None else None",
        'replaced = latest.get(key or "")\n            latest.setdefault("", run)',
        mixed,
    ),
    "a cut is not contiguous": (
        "pending",
        "last = run.first + fitting - 1\n",
        "last = run.first + fitting\n",
        mixed,
    ),
    "a cut forgets the frame's limit": (
        "pending",
        "fitting = run.fitting(room) or (0 if kept else 1)",
        "fitting = len(run)",
        timeline("a frame of too many bytes is cut, the rest waits for tokens"),
    ),
    "a critical event overtakes": (
        "pending",
        "if self._runs[0].first < first_critical:",
        "if False:",
        pending.check_criticals_keep_their_place,
    ),
    "the interval runs from the newest event": (
        "pending",
        "return self._runs[0].received_at",
        "return self._runs[-1].received_at",
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
        "return self._batch.max_pending_bytes - self.waiting_bytes",
        "return 1 << 40",
        intake.check_a_full_channel_takes_no_more_of_a_numbered_producer,
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
        "        self.last_event_at = now\n        if run.treatment.terminal:",
        "        if run.treatment.terminal:",
        batcher.check_idle_cleanup,
    ),
    "a loss alone wakes nobody": (
        "channel",
        "if due is None and self.lost:",
        "if False:",
        intake.check_a_loss_is_told_though_nothing_else_comes,
    ),
    "a retry is never sent": (
        "intake",
        "        if producer.may_ask(now):\n",
        "        if False:\n",
        intake.check_a_gap_is_asked_for_once,
    ),
    "a tombstone leaves a hole": (
        "intake",
        "producer.taken = first + len(raws) - 1",
        "pass",
        intake.check_a_tombstone_leaves_no_hole,
    ),
    "taken does not move": (
        "intake",
        "                producer.taken += fitting\n",
        "",
        intake.check_a_full_channel_takes_no_more_of_a_numbered_producer,
    ),
    "what was taken is taken again": (
        "intake",
        "_with_tombstones(envelope)[producer.taken + 1 - header.pseq :]",
        "_with_tombstones(envelope)",
        intake.check_of_an_overlap_the_new_is_taken,
    ),
    "a gap is stepped over": (
        "producers",
        "Verdict.GAP if header.pseq > producer.taken + 1 else Verdict.NEW",
        "Verdict.NEW",
        intake.check_a_gap_is_asked_for_once,
    ),
    "a gap is asked for at every message": (
        "producers",
        "now - self._retried_at < RETRY_INTERVAL_S",
        "False",
        intake.check_a_gap_is_asked_for_once,
    ),
    "what is committed is not acked again": (
        "producers",
        "Verdict.AGAIN if last <= producer.committed else Verdict.TAKEN",
        "Verdict.TAKEN",
        intake.check_what_is_committed_is_acked_again,
    ),
    "an unknown producer starts at 1": (
        "producers",
        "Producer(header.inc, header.una - 1, header.una - 1, posted)",
        "Producer(header.inc, 0, 0, posted)",
        intake.check_an_unknown_producer_starts_at_its_una,
    ),
    "an old process is heard": (
        "producers",
        "elif header.inc < producer.inc:",
        "elif False:",
        intake.check_an_older_incarnation_is_fenced,
    ),
    "a jump is not made": (
        "producers",
        "if header.una > producer.taken + 1:",
        "if False:",
        intake.check_a_una_beyond_our_state_is_jumped_to,
    ),
    "two terminal events": (
        "intake",
        "if run.treatment.terminal:",
        "if False:",
        intake.check_a_second_terminal_is_refused,
    ),
    "a critical message waits for room": (
        "intake",
        "if critical and channel.room_bytes >= 0:",
        "if False:",
        intake.check_a_critical_message_is_taken_although_full,
    ),
    "every critical message goes over the bound": (
        "intake",
        "if critical and channel.room_bytes >= 0:",
        "if critical:",
        intake.check_only_one_critical_message_goes_over_the_bound,
    ),
    "a loss is not told": (
        "intake",
        "self._owed[channel.name, channel.epoch] = channel\n",
        "pass\n",
        intake.check_what_a_foreign_producer_loses_is_told,
    ),
    "a loss is told twice": (
        "intake",
        "                channel.lost = 0\n",
        "",
        intake.check_what_a_foreign_producer_loses_is_told,
    ),
    "a new life has the epoch of the old": (
        "lives",
        "epoch = max(epoch, before.epoch + 1)",
        "epoch = before.epoch",
        batcher.check_a_start_after_the_end_begins_a_new_life,
    ),
    "a start begins no new life": (
        "intake",
        "header.pid, run.treatment.starts",
        "header.pid, False",
        batcher.check_a_start_after_the_end_begins_a_new_life,
    ),
    "an old life is not closed": (
        "batcher",
        "                frames.extend(channel.close())\n",
        "                pass\n",
        batcher.check_a_start_after_the_end_begins_a_new_life,
    ),
    "an old life tells its loss too late": (
        "intake",
        "if len(raw) <= channel.room_bytes or not self._lives.is_present(channel):",
        "if len(raw) <= channel.room_bytes:",
        batcher.check_what_an_ended_life_lost_is_told_before_the_next,
    ),
    "a life that came back for nothing stays": (
        "intake",
        "            self.gathered.channels[name, channel.epoch] = channel\n",
        "",
        batcher.check_a_life_that_came_back_for_what_is_refused_is_freed_again,
    ),
    "a freed life is scheduled": (
        "batcher",
        "if self._lives.holds(channel):",
        "if True:",
        batcher.check_a_life_replaced_as_it_expires,
    ),
    "frames leave ahead of the commit": (
        "intake",
        "        channel.accept(run, now)\n",
        "        channel.accept(run, now)\n        channel.committed(now)\n",
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
        "lives",
        "return len(self._lives) >= self._config.limits.max_channels",
        "return False",
        intake.check_the_limit_of_channels,
    ),
    "no limit of producers": (
        "producers",
        "if len(self._known) > self._max_producers:",
        "if False:",
        intake.check_the_limit_of_producers,
    ),
    "what was acked is forgotten in a restart": (
        "batcher",
        "            self._intake.restore(known)\n",
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
        "enumerate(record.tail, record.head",
        "enumerate(record.tail[:0], record.head",
        batcher.check_a_restart_goes_on_where_it_was,
    ),
    "a restart gives every channel its time again": (
        "channel",
        "self.terminal_at = now - max(0, now_ms - record.ended_ms) / 1000",
        "self.terminal_at = now",
        batcher.check_a_restart_counts_the_time_it_was_away,
    ),
    "an event after cleanup begins a new life": (
        "lives",
        "if isinstance(before, LifeRecord) and not (before.cut or (starts and before.ended)):",
        "if False:",
        batcher.check_an_event_after_cleanup_goes_on_with_the_life,
    ),
    "a life that came back is freed at once": (
        "lives",
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
        "lives",
        "if isinstance(before, LifeRecord) and not (before.cut or (starts and before.ended)):",
        "if isinstance(before, LifeRecord) and not before.cut:",
        batcher.check_a_start_after_cleanup_begins_a_new_life,
    ),
    "a life that was cut off goes on": (
        "lives",
        "channel is None or channel.cut or (starts and channel.terminal_accepted)",
        "channel is None or (starts and channel.terminal_accepted)",
        batcher.check_a_life_that_was_cut_off_takes_no_more,
    ),
    "a life that was cut off goes on after cleanup": (
        "lives",
        "not (before.cut or (starts and before.ended))",
        "not (starts and before.ended)",
        batcher.check_a_life_that_was_cut_off_takes_no_more,
    ),
    "cleanup forgets that a life was cut off": (
        "lives",
        "cut=channel.cut,",
        "",
        batcher.check_a_life_that_was_cut_off_takes_no_more,
    ),
    "a later life has an earlier epoch": (
        "lives",
        "            epoch = max(epoch, before.epoch + 1)\n",
        "            pass\n",
        batcher.check_a_new_life_after_a_restart_is_later,
    ),
    "anybody feeds an owned scan": (
        "intake",
        "elif channel.owner != pid and (channel.owner or header.own):",
        "elif channel.owner != pid and header.own:",
        intake.check_an_owned_scan_is_its_owners,
    ),
    "a scan that others feed is claimed": (
        "intake",
        "elif channel.owner != pid and (channel.owner or header.own):",
        "elif channel.owner != pid and channel.owner:",
        intake.check_a_scan_that_others_feed_is_not_claimed,
    ),
    "a claim outlives the end": (
        "intake",
        "        elif channel.owner != pid and (",
        "        if channel.owner != pid and (",
        intake.check_a_claim_ends_with_the_scan,
    ),
    "a claim is forgotten in a restart": (
        "channel",
        "        self.owner = state.owner\n",
        "",
        intake.check_a_claim_outlives_a_restart,
    ),
    "a claim is kept too late": (
        "channel",
        "best_effort=self.best_effort, owner=self.owner, present",
        "best_effort=self.best_effort, owner=self._kept.owner, present",
        intake.check_a_claim_outlives_a_restart,
    ),
    "no quota": (
        "intake",
        "if opened >= quota:",
        "if False:",
        intake.check_the_quota_of_a_producer,
    ),
    "a quota that nothing gives back": (
        "lives",
        "            self._opened[channel.opened_by] -= 1\n",
        "",
        intake.check_the_quota_of_a_producer,
    ),
    "a quota for all together": (
        "lives",
        "            self._opened[opener] += 1\n",
        '            self._opened["q"] += 1\n',
        intake.check_the_quota_of_a_producer,
    ),
    "a quota of pids, where there are keys": (
        "intake",
        'f"key {header.by}" if header.by else ',
        "",
        intake.check_the_quota_of_a_key,
    ),
    "no bound of what is kept in mind": (
        "lives",
        "if len(self._past) > self._config.limits.max_past_channels:",
        "if False:",
        intake.check_the_limit_of_past_channels,
    ),
    "why a number is empty is not told": (
        "intake",
        "if before < header.pseq + offset <= producer.taken:",
        "if False:",
        intake.check_why_a_number_is_empty_is_told,
    ),
    "a run is taken whole though it does not fit": (
        "runs",
        "if self.size_bytes <= room_bytes:",
        "if True:",
        intake.check_a_full_channel_takes_no_more_of_a_numbered_producer,
    ),
    "what is special is taken for a fact": (
        "runs",
        "if treatment is not FACT:",
        "if False:",
        batcher.check_a_start_after_the_end_begins_a_new_life,
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
        "progress",
        "elif percent < known:",
        "elif False:",
        scan_state.check_states,
    ),
    "100 before the end": (
        "progress",
        "self.percent = percent = min(percent, HIGHEST_UNFINISHED)",
        "self.percent = percent",
        scan_state.check_states,
    ),
    "a restart forgets the hosts": (
        "scan_state",
        "            self.hosts.restore(found.hosts)\n",
        "",
        scan_state.check_restart_in_the_midst,
    ),
    "a run is counted as one event": (
        "scan_state",
        "self._counts.get(kind, 0) + count\n",
        "self._counts.get(kind, 0) + 1\n",
        folded_in_runs,
    ),
    "a run forgets what is no port": (
        "scan_state",
        "                fold(self, event, seq, at_s)\n",
        "                pass\n",
        folded_in_runs,
    ),
    "a restart forgets the phases": (
        "scan_state",
        "            self.progress.restore(found.progress, ended=self.status in _ENDED)\n",
        "",
        scan_state.check_restart_in_the_midst,
    ),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_broken_core_is_noticed(core: Core, core_with, name: str) -> None:
    module, old, new, check = MUTATIONS[name]
    check(core)
    broken = core_with({module: [(old, new)]})
    with pytest.raises((AssertionError, KeyError)):
        check(broken)
