"""The index of the texts of archived jobs, which PostgreSQL has by its extension pg_trgm."""

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Add nothing: a daemon makes the index at its start if it can, and fills it beside its polls.

    A version that does not keep the index must not start on such a store: what it archived would
    never be found by its text.
    """
