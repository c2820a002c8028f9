"""An event counts once, by its first appearance, however its repetitions are batched; those that say something else are told."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from closedloop.kpi import store
from closedloop.kpi.domain.seen import Place, Run, Seen, fresh_of, merged

Event = tuple[int, int]
"""(id, content)."""
PLACE = Place("evaluations", 0, 20_777)
# the least and the greatest hash are those that arithmetic on sorted hashes would get wrong
IDS = (0, 1, 5, 2**63, 2**64 - 2, 2**64 - 1)
events = st.tuples(st.sampled_from(IDS), st.sampled_from((0, 1, 2**32 - 1)))


def stored(run: Run) -> Run:
    return store.run_of(store.seen_segment(PLACE, run).data)


def taken(batches: list[list[Event]], *, restarts: bool) -> tuple[list[Event], int]:
    """(what counted, in order; how many said something else than the first)."""
    runs: list[Run] = []
    seen = Seen()
    counted: list[Event] = []
    others = 0
    for batch in filter(None, batches):
        hashes = np.array([id_ for id_, _ in batch], dtype=np.uint64)
        fingerprints = np.array([content for _, content in batch], dtype=np.uint32)
        fresh = fresh_of(hashes, fingerprints, seen)
        counted += [batch[row] for row in sorted(fresh.rows)]
        others += fresh.others
        runs.append(stored(fresh.run))
        if restarts:
            seen = Seen(runs)
        else:
            seen.add(fresh.run)
    return counted, others


@settings(deadline=None)
@given(st.lists(st.lists(events, max_size=12), max_size=6), st.booleans())
def test_the_first_wins_and_other_content_is_counted_in_any_order_and_batching(batches: list[list[Event]], restarts: bool) -> None:
    first: dict[int, int] = {}
    others = 0
    for id_, content in [event for batch in batches for event in batch]:
        others += first.setdefault(id_, content) != content
    assert taken(batches, restarts=restarts) == (list(first.items()), others)


@settings(deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(IDS), st.integers(0, 2**32 - 1)), min_size=1, max_size=5))
def test_merging_keeps_each_event_with_its_own_fingerprint(parts: list[dict[int, int]]) -> None:
    runs = [
        Run(np.array(sorted(part), dtype=np.uint64), np.array([part[id_] for id_ in sorted(part)], dtype=np.uint32))
        for part in parts
    ]
    whole = stored(merged(map(stored, runs)))
    expected = {id_: content for part in reversed(parts) for id_, content in part.items()}
    assert dict(zip(whole.hashes.tolist(), whole.fingerprints.tolist(), strict=True)) == expected
    assert whole.hashes.tolist() == sorted(expected)
