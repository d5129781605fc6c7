"""The table of routes must agree with the router itself."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from monitor.config import Route, Watch
from monitor.model import TERMINAL, Kind, Phase, Severity, StateAndPhase
from monitor.recording.router import Router
from monitor.validation.route_table import ways
from tests.contracts.store_examples import job, source, transition

SINKS = ("a", "b", "c")
WATCH = Watch(
    name="w", type=job().type, account="prod", regions=["us-east-1"], labels={"team": "vision"}
)
_GLOBS = {
    "kind": ["job.*", "*", "source.*", "job.discovered", "job.stuck"],
    "phase": ["failed", "succeeded", "run*", "*"],
    "state": ["PENDING", "un*", "*"],
    "severity": ["error", "warning", "info", "*"],
    "type": ["panorama.*", "importexport.*"],
    "account": ["prod", "dev"],
    "region": ["us-*", "eu-*"],
}
_SEVERITY = {
    Kind.SOURCE_UNAVAILABLE: ["warning"],
    Kind.SOURCE_RECOVERED: ["info"],
    Kind.UPDATED: ["info"],
    Kind.MISSING: ["warning"],
    Kind.REAPPEARED: ["info"],
    Kind.STUCK: ["warning"],
    Kind.UNSTUCK: ["info"],
    Kind.REMINDER: ["warning"],
}
_USUAL = {Phase.FAILED: ["error"], Phase.EXPIRED: ["error"], Phase.RUNNING: ["info"]}

matches = st.fixed_dictionaries(
    {},
    optional={
        **{key: st.lists(st.sampled_from(globs), max_size=2) for key, globs in _GLOBS.items()},
        "labels": st.sampled_from([{}, {"team": ["vis*"]}, {"team": ["x"]}, {"other": [""]}]),
    },
)
routes = st.builds(
    lambda match, sinks, go_on: Route.model_validate(
        {"match": match, "sinks": sinks, "continue": go_on}
    ),
    matches,
    st.lists(st.sampled_from(SINKS), max_size=2, unique=True),
    st.booleans(),
)


def _events(kind, phase):
    """Every event that the watch might tell of a kind and phase, as far as routes can see."""
    of_source = kind in {Kind.SOURCE_UNAVAILABLE, Kind.SOURCE_RECOVERED}
    first = transition(source().source if of_source else job())
    if of_source:
        states = ["unavailable" if kind is Kind.SOURCE_UNAVAILABLE else "available"]
        first = replace(first, labels={})
    else:
        states = ["PENDING", "OTHER"]
    severities = _SEVERITY.get(kind) or _USUAL.get(phase, list(Severity))
    for state in states:
        for severity in severities:
            current = StateAndPhase(state, phase)
            yield replace(first, kind=kind, current=current, severity=Severity(severity))


@given(st.lists(routes, max_size=4))
def test_what_is_certain_is_always_so_and_nothing_is_forgotten(given_routes):
    router = Router(given_routes, SINKS)
    for way in ways(WATCH, given_routes, SINKS):
        if way.phase not in {"", Phase.FAILED, Phase.RUNNING, Phase.SUCCEEDED}:
            continue
        reached = [set(router.sinks_for(event)) for event in _events(way.kind, way.phase)]
        assert set().union(*reached) <= way.sinks.keys()
        sure = {name for name, certain in way.sinks.items() if certain}
        assert all(sure <= each for each in reached)


def test_every_kind_and_phase_has_its_row():
    rows = [(way.kind, way.phase) for way in ways(WATCH, [], SINKS)]
    assert len(rows) == len(set(rows)) == 8 * len(Phase) + 2


def test_without_routes_all_but_the_first_sight_of_an_open_job_goes_everywhere():
    for way in ways(WATCH, [], SINKS):
        open_discovery = way.kind is Kind.DISCOVERED and way.phase not in TERMINAL
        expected = {} if open_discovery else dict.fromkeys(SINKS, True)
        assert way.sinks == expected


def test_a_state_that_decides_makes_a_way_possible_and_not_certain():
    chosen = [
        Route.model_validate({"match": {"state": "X*"}, "sinks": ["a"]}),
        Route.model_validate({"sinks": ["b"]}),
    ]
    told = {way.kind: way.sinks for way in ways(WATCH, chosen, SINKS)}
    assert told[Kind.STATE_CHANGED] == {"a": False, "b": False}
    assert told[Kind.SOURCE_RECOVERED] == {"b": True}
