"""Shares: each resource has one owner, in equal counts, and few move."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.runtime.sharing import SINK, SOURCE, UPKEEP, share_out

MOST_MOVED = 0.1
"""The part of all resources that may move although neither their owner left nor one that came took
them."""

names = st.text("abcdefgh-0123456789", min_size=1, max_size=12)
replicas = st.sets(names, min_size=1, max_size=6)
resources = st.sets(
    st.one_of(names.map(SOURCE.__add__), names.map(SINK.__add__), st.just(UPKEEP)), max_size=40
)


def pods(many):
    return [f"job-monitor-{number}" for number in range(many)]


def sources(many):
    return [f"{SOURCE}panorama/account-{number % 7}/region-{number}" for number in range(many)]


def all_want(members, wanted):
    return share_out(dict.fromkeys(members, wanted))


def counts(shares, members, prefix):
    owned = Counter(owner for name, owner in shares.items() if name.startswith(prefix))
    return [owned[each] for each in members]


def moved(before, after):
    return {name for name in before if after[name] != before[name]}


@given(st.dictionaries(names, resources, min_size=1, max_size=6))
@settings(max_examples=60)
def test_each_resource_is_owned_once_by_one_that_wants_it(wanted):
    shares = share_out(wanted)
    assert shares.keys() == {name for some in wanted.values() for name in some}
    assert all(name in wanted[owner] for name, owner in shares.items())


@given(replicas, resources)
@settings(max_examples=60)
def test_counts_of_a_kind_differ_by_one_at_most_where_all_want_all(members, wanted):
    shares = all_want(members, wanted)
    for prefix in (SOURCE, SINK, UPKEEP):
        found = counts(shares, members, prefix)
        assert max(found) - min(found) <= 1, (prefix, found)


@given(st.dictionaries(names, resources, min_size=1, max_size=6), st.randoms())
@settings(max_examples=60)
def test_all_replicas_find_the_same_in_whichever_order_they_know_each_other(wanted, random):
    order = list(wanted)
    random.shuffle(order)
    shuffled = {name: random.sample(sorted(wanted[name]), len(wanted[name])) for name in order}
    assert share_out(shuffled) == share_out(wanted)


def test_one_alone_owns_all_and_nobody_owns_nothing():
    assert set(all_want(["only"], sources(9)).values()) == {"only"}
    assert share_out({"only": []}) == {}
    assert share_out({}) == {}


@pytest.mark.parametrize(("members", "many"), [(3, 30), (3, 500), (5, 100), (8, 64)])
def test_what_one_leaves_behind_is_spread_and_little_else_moves(members, many):
    before = all_want(pods(members), sources(many))
    others = 0
    for gone in pods(members):
        left = [each for each in pods(members) if each != gone]
        after = all_want(left, sources(many))
        changed = moved(before, after)
        orphans = {name for name, owner in before.items() if owner == gone}
        assert orphans <= changed
        found = counts(after, left, SOURCE)
        assert max(found) - min(found) <= 1
        others += len(changed - orphans)
    assert others / members <= MOST_MOVED * many, others / members / many


@pytest.mark.parametrize(("members", "many"), [(2, 30), (2, 500), (4, 100), (7, 64)])
def test_one_that_comes_takes_its_share_and_little_else_moves(members, many):
    before = all_want(pods(members), sources(many))
    others = 0
    for number in range(8):
        comer = f"newcomer-{number}"
        after = all_want([*pods(members), comer], sources(many))
        taken = {name for name, owner in after.items() if owner == comer}
        assert len(taken) <= -(-many // (members + 1))
        others += len(moved(before, after) - taken)
    assert others / 8 <= MOST_MOVED * many, others / 8 / many


def test_one_that_comes_back_under_its_name_gets_what_it_had():
    before = all_want(pods(3), sources(100))
    all_want(pods(2), sources(100))
    assert all_want(pods(3), sources(100)) == before


def test_a_new_resource_moves_few_others():
    for many in (30, 99, 100, 300):
        before = all_want(pods(3), sources(many))
        changed = moved(before, all_want(pods(3), sources(many + 1)))
        assert len(changed) <= MOST_MOVED * many, len(changed) / many


def test_a_sink_that_one_cannot_open_goes_to_another_that_wants_it():
    wanted = {each: [f"{SINK}ops", *sources(9)] for each in pods(3)}
    owner = share_out(wanted)[f"{SINK}ops"]
    wanted[owner] = sources(9)
    again = share_out(wanted)[f"{SINK}ops"]
    assert again in set(pods(3)) - {owner}
