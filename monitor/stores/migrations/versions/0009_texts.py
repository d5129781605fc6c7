"""The index of the texts of archived jobs, which SQLite has with FTS5."""

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add nothing: a daemon makes the index where it can, and fills it beside its polls.

    A version that does not keep the index must not start on such a store: what it archived would
    never be found by its text.
    """
