"""Which watch a job belongs to: the first that names or would discover it."""

from hypothesis import given
from hypothesis import strategies as st

from monitor.config import Discover, Watch
from monitor.polling.watch import Claims, discovers

IDS = ["a-1", "a-2", "b-1", "ab", "b", "x.y"]
GLOBS = ["*", "a*", "*-1", "[ab]-?", "b", "x.y", "*a*b*", "nothing"]
some = st.lists(st.sampled_from(GLOBS), max_size=3)


@st.composite
def watches(draw):
    discover = draw(
        st.one_of(st.booleans(), st.builds(lambda i, e: Discover(include=i, exclude=e), some, some))
    )
    jobs = draw(st.lists(st.sampled_from(IDS), max_size=3, unique=True))
    plain = {"name": "w", "type": "panorama.package-import", "jobs": jobs}
    return Watch.model_validate(plain | {"discover": discover})


def _claims(of):
    claims: Claims[int] = Claims()
    for order, watch in enumerate(of):
        claims.add(order, watch, order)
    return claims


@given(st.lists(watches(), max_size=8), st.sampled_from(IDS))
def test_a_job_belongs_to_the_first_watch_that_wants_it(of, job_id):
    wanting = [
        order for order, one in enumerate(of) if job_id in one.jobs or discovers(one, job_id)
    ]
    expected = (wanting[0], wanting[0]) if wanting else None
    assert _claims(of).first(job_id) == expected


@given(st.lists(watches(), min_size=1, max_size=8), st.sampled_from(IDS))
def test_a_watch_that_comes_later_does_not_change_whose_a_job_is(of, job_id):
    claims = _claims(of[:-1])
    before = claims.first(job_id)
    claims.add(len(of) - 1, of[-1], len(of) - 1)
    assert before is None or claims.first(job_id) == before
