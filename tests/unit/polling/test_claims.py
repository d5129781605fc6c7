"""Which watch a job belongs to: the first that names or would discover it."""

from hypothesis import given
from hypothesis import strategies as st

from monitor.config import Discover, Watch
from monitor.polling import claims as claims_module
from monitor.polling.claims import Claims, discovers
from monitor.recording.baselines import includes

IDS = ["a-1", "a-2", "b-1", "ab", "b", "x.y"]
GLOBS = ["*", "a*", "*-1", "[ab]-?", "b", "x.y", "*a*b*", "nothing"]
PARENTS = ["p", "q", "r"]
some = st.lists(st.sampled_from(GLOBS), max_size=3)


@st.composite
def watches(draw):
    of = st.one_of(st.none(), st.just("all"), st.lists(st.sampled_from(PARENTS), max_size=2))
    filters = st.builds(
        lambda i, e, of: Discover(include=i, exclude=e, of=of or None), some, some, of
    )
    discover = draw(st.one_of(st.booleans(), filters))
    jobs = draw(st.lists(st.sampled_from(IDS), max_size=3, unique=True))
    plain = {"name": "w", "type": "panorama.package-import", "jobs": jobs}
    return Watch.model_validate(plain | {"discover": discover})


def _claims(of):
    claims: Claims[int] = Claims()
    for order, watch in enumerate(of):
        claims.add(order, watch, order)
    return claims


@given(st.lists(watches(), max_size=8), st.sampled_from(IDS), st.sampled_from([None, *PARENTS]))
def test_a_job_belongs_to_the_first_watch_that_wants_it(of, job_id, parent):
    wanting = [
        order
        for order, one in enumerate(of)
        if job_id in one.jobs or discovers(one, job_id, parent)
    ]
    expected = (wanting[0], wanting[0]) if wanting else None
    assert _claims(of).first(job_id, parent) == expected


def test_a_claim_costs_no_more_where_many_watches_have_their_own_parents(monkeypatch):
    plain = {"name": "w", "type": "panorama.package-import"}
    of = [
        Watch.model_validate(plain | {"discover": {"of": [f"p-{number}"]}})
        for number in range(1000)
    ]
    claims, tried = _claims(of), []

    def counted(discover, job_id):
        tried.append(job_id)
        return includes(discover, job_id)

    monkeypatch.setattr(claims_module, "includes", counted)
    for number in range(1000):
        assert claims.first("any", f"p-{number}") == (number, number)
    assert claims.first("any", "of-no-watch") is None
    assert len(tried) == 1000


@given(st.lists(watches(), min_size=1, max_size=8), st.sampled_from(IDS))
def test_a_watch_that_comes_later_does_not_change_whose_a_job_is(of, job_id):
    claims = _claims(of[:-1])
    before = claims.first(job_id)
    claims.add(len(of) - 1, of[-1], len(of) - 1)
    assert before is None or claims.first(job_id) == before
