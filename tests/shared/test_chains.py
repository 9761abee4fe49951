"""Lineages that are kept whole: never another answer than walking anew gives, and no question where nothing changed."""

from __future__ import annotations

from dataclasses import replace
from typing import Optional

from hypothesis import given
from hypothesis import strategies as st

from cbsigned.cache import MemoryCache, TieredCache
from cbsigned.chains import Chains
from cbsigned.codec import decode_process, encode
from cbsigned.enrichment import process_cache
from cbsigned.errors import SourceTimeout
from cbsigned.lineage import EndedBy, Lineage, lineages, process_key
from cbsigned.process import Process, process_of_guid
from cbsigned.timing import Deadline
from recording import Recording, guid_of

LIFE_S = 60.0


def family(length: int = 4) -> list[Process]:
    """Return processes, each the child of the one before; the first has no parent."""
    return [
        replace(process_of_guid(guid_of(n)), name=f"p{n}.exe", host="ws01", start_recorded=True, from_guid=False,
                parent_guid=guid_of(n - 1) if n else None)
        for n in range(length)
    ]  # fmt: skip


def asked(
    chains: Chains, source: Recording, cache: TieredCache[Process], number: int = 3, max_depth: int = 16,
    told: Optional[dict[str, Process]] = None,
) -> Lineage:  # fmt: skip
    guid = guid_of(number)
    found = chains.lineages(
        source, [guid], Deadline(5), cache, max_depth=max_depth, told=told or {}, cache_life_s=LIFE_S
    )
    return found[guid]


def test_a_lineage_asked_for_again_is_the_same_object_and_costs_no_question() -> None:
    chains, source, cache = Chains(), Recording(processes=family()), process_cache()
    first, questions = asked(chains, source, cache), len(source.guid_calls)

    second = asked(chains, source, cache)

    assert first is second
    assert questions == len(source.guid_calls)


def test_a_process_that_has_changed_in_the_cache_changes_the_lineage() -> None:
    chains, source, cache = Chains(), Recording(processes=family()), process_cache()
    asked(chains, source, cache)
    changed = replace(family()[1], cmdline="p1.exe -k")

    cache.put_many({process_key(source.name, changed.guid): (changed, LIFE_S)})

    assert asked(chains, source, cache).nodes[2].process.cmdline == "p1.exe -k"


def test_a_process_that_has_left_the_cache_is_asked_for_again() -> None:
    now = [0.0]
    cache = TieredCache(encode, decode_process, None, MemoryCache[Process](clock=lambda: now[0]))
    chains, source = Chains(), Recording(processes=family())
    asked(chains, source, cache)
    questions = len(source.guid_calls)

    now[0] = LIFE_S + 1
    asked(chains, source, cache)

    assert len(source.guid_calls) > questions


def test_a_smaller_depth_limit_is_kept_although_a_longer_lineage_is_known() -> None:
    chains, source, cache = Chains(), Recording(processes=family()), process_cache()
    asked(chains, source, cache)

    found = asked(chains, source, cache, max_depth=1)

    assert (len(found.nodes), found.ended_by) == (2, EndedBy.MAX_DEPTH)


def test_a_lineage_that_ended_for_want_of_an_answer_is_walked_again() -> None:
    chains, source, cache = Chains(), Recording(processes=family()), process_cache()
    source.failure = SourceTimeout("no answer within 1 s")
    assert EndedBy.SOURCE_FAILED is asked(chains, source, cache).ended_by

    source.failure = None

    assert len(asked(chains, source, cache).nodes) == 4


def test_only_the_newest_lineages_are_kept() -> None:
    chains, source, cache = Chains(most=1), Recording(processes=family()), process_cache()
    first = asked(chains, source, cache, 3)

    asked(chains, source, cache, 2)

    assert first is not asked(chains, source, cache, 3)


@given(
    parents=st.lists(st.none() | st.integers(0, 7), min_size=6, max_size=6),
    unrecorded=st.sets(st.integers(0, 5)),
    claimed=st.dictionaries(st.integers(0, 5), st.none() | st.integers(0, 7)),
    depths=st.lists(st.integers(0, 8), min_size=2, max_size=4),
)
def test_whatever_is_kept_the_lineages_are_those_of_a_walk(
    parents: list[Optional[int]], unrecorded: set[int], claimed: dict[int, Optional[int]], depths: list[int]
) -> None:
    def made(number: int, parent: Optional[int]) -> Process:
        of_guid = replace(process_of_guid(guid_of(number)), name=f"p{number}.exe", from_guid=False)
        return replace(of_guid, parent_guid=None if parent is None else guid_of(parent),
                       start_recorded=number not in unrecorded)  # fmt: skip

    source = Recording(processes=[made(number, parent) for number, parent in enumerate(parents)])
    told = {guid_of(number): made(number, parent) for number, parent in claimed.items()}
    chains, cache, guids = Chains(), process_cache(), [guid_of(number) for number in range(8)]

    for depth in depths:
        for alerts_say in ({}, told):
            options = {"max_depth": depth, "told": alerts_say}
            plain = lineages(source, guids, Deadline(5), **options)  # type: ignore[arg-type]
            kept = chains.lineages(source, guids, Deadline(5), cache, cache_life_s=LIFE_S, **options)  # type: ignore[arg-type]

            assert plain == kept
