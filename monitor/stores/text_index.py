"""The texts of archived jobs, and an index of their trigrams: a search reads only what it finds.

Both follow from the jobs, so a copy of a store does not take them along. SQLite has them if it has
FTS5 and trigrams (3.34), PostgreSQL if it has the extension pg_trgm and is in UTF-8. Python folds
the texts, so that the index finds all that ``searched_text`` has, whatever its case; who searches
compares what is found.

A job that is live again keeps its text: it is not archived, so that no search shows it.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import orjson
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from monitor.model import searched_text
from monitor.stores.schema import jobs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    Read = Callable[[sa.Executable], Awaitable[Sequence[sa.Row[Any]]]]

MOST_FOUND = 500
"""Jobs that a search reads; where more may match, it goes through the list instead."""
MOST_CANDIDATES = 2000
"""Jobs with all trigrams of a text that are compared with the text itself."""
AT_ONCE = 500
"""Jobs that are indexed in one commit."""

_KEPT = "keeps_texts"
"""In what SQLAlchemy notes of a connection."""
_LEAST = 3
"""Characters of a trigram."""
_MATCHES = "CREATE VIRTUAL TABLE {} USING fts5(text, {}tokenize='trigram case_sensitive 1')"
_OPTIONS = "content='job_texts', content_rowid='id', detail='none', "
_PROGRESS_TABLE = (
    # One row: the key up to which archived jobs are indexed; null once all of them are.
    "CREATE TABLE job_texts_progress (after TEXT)",
    "INSERT INTO job_texts_progress (after) VALUES ('')",
)
_TABLES = (
    "CREATE TABLE job_texts (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, text TEXT NOT NULL)",
    *_PROGRESS_TABLE,
    _MATCHES.format("job_text_index", _OPTIONS),
)
_POSTGRESQL_TABLES = (
    # Jobs that another replica archives meanwhile wait, and then find the tables. Behind the lock,
    # all others wait as well: if it is not free, such as during a VACUUM, the next start tries.
    "SET LOCAL lock_timeout = '2s'",
    "LOCK TABLE jobs IN SHARE MODE",
    'CREATE TABLE job_texts (key TEXT COLLATE "C" PRIMARY KEY, text TEXT NOT NULL)',
    *_PROGRESS_TABLE,
    "CREATE INDEX job_text_index ON job_texts USING gin (text {}.gin_trgm_ops)",
)
# An administrator may have put it into a schema that no name is searched for in.
_EXTENSION_SCHEMA = sa.text(
    "SELECT quote_ident(nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = extnamespace"
    " WHERE extname = 'pg_trgm'"
)
_EXISTS = {
    "sqlite": sa.text("SELECT 1 FROM sqlite_master WHERE name = 'job_texts_progress'"),
    # In the schema of the other tables alone.
    "postgresql": sa.text(
        "SELECT 1 FROM pg_tables"
        " WHERE schemaname = current_schema() AND tablename = 'job_texts_progress'"
    ),
}
_ENCODING = sa.text("SELECT current_setting('server_encoding')")
_PROGRESS = sa.text("SELECT after FROM job_texts_progress")
_PROCEED = sa.text("UPDATE job_texts_progress SET after = :after")
# The candidates are bounded before their texts are read: any text may have many.
_FIND = sa.text(
    "SELECT key, instr(text, :wanted) > 0 AS hit FROM job_texts WHERE id IN"
    " (SELECT rowid FROM job_text_index WHERE job_text_index MATCH :trigrams LIMIT :most)"
)
# Materialized, so that it is planned without the limit: few that match among many are not looked
# for in all of them.
_FIND_POSTGRESQL = sa.text(
    "WITH found AS MATERIALIZED (SELECT key FROM job_texts WHERE text LIKE :pattern)"
    " SELECT key, true AS hit FROM found LIMIT :most"
)
_WORD = re.compile("[a-z0-9]{3}")
"""What pg_trgm makes a trigram of, whatever the locale of the database."""
_LAST = sa.text("SELECT coalesce(max(id), 0) FROM job_texts")
_KNOWN = sa.text("SELECT key, id, text FROM job_texts WHERE key IN :keys").bindparams(
    sa.bindparam("keys", expanding=True)
)
_ADD_POSTGRESQL = sa.text(
    "INSERT INTO job_texts (key, text) VALUES (:key, :text) ON CONFLICT (key)"
    " DO UPDATE SET text = excluded.text WHERE job_texts.text <> excluded.text"
)
_ADD = "INSERT INTO job_texts (id, key, text) VALUES (?, ?, ?)"
_CHANGE = "UPDATE job_texts SET text = ? WHERE id = ?"
_INDEX = "INSERT INTO job_text_index (rowid, text) VALUES (?, ?)"
_UNINDEX = "INSERT INTO job_text_index (job_text_index, rowid, text) VALUES ('delete', ?, ?)"
_SNAPSHOTS = sa.select(jobs.c.key, jobs.c.snapshot).where(jobs.c.archived != 0)
_OF_KEYS = _SNAPSHOTS.where(jobs.c.key.in_(sa.bindparam("keys", expanding=True)))
_NEXT = _SNAPSHOTS.where(jobs.c.key > sa.bindparam("after")).order_by(jobs.c.key).limit(AT_ONCE)


def is_supported() -> bool:
    """Return whether the SQLite of this process has trigrams."""
    with closing(sqlite3.connect(":memory:")) as connection:
        try:
            connection.execute(_MATCHES.format("tried", ""))
        except sqlite3.Error:
            return False
    return True


class TextIndex:
    """The index, as searches use it."""

    def __init__(self, read: Read, dialect: str) -> None:
        """``read`` returns the rows of a query."""
        self._read = read
        self._dialect = dialect
        self._usable: bool | None = None

    async def find(self, text: str) -> Sequence[str] | None:
        """Return the keys of archived jobs that may have a text, whatever its case, and maybe more.

        ``None`` means that the index cannot tell: the text is too short, has a line break or, in
        PostgreSQL, no three letters or digits of ASCII side by side; too many jobs may have it; or
        not all of them are indexed.
        """
        wanted = text.casefold()
        # The lines of a text are not those that a search goes through: labels are between them.
        if len(wanted) < _LEAST or "\n" in wanted or not await self.is_usable():
            return None
        if self._dialect == "postgresql" and not _WORD.search(wanted):
            return None
        found = await self._read(self._query(wanted))
        keys = [row.key for row in found if row.hit]
        return keys if len(found) <= MOST_CANDIDATES and len(keys) <= MOST_FOUND else None

    def _query(self, wanted: str) -> sa.TextClause:
        if self._dialect == "postgresql":
            pattern = "%" + re.sub(r"[\\%_]", r"\\\g<0>", wanted) + "%"
            return _FIND_POSTGRESQL.bindparams(pattern=pattern, most=MOST_FOUND + 1)
        trigrams = {wanted[at : at + _LEAST] for at in range(len(wanted) - _LEAST + 1)}
        quoted = " AND ".join('"{}"'.format(each.replace('"', '""')) for each in sorted(trigrams))
        return _FIND.bindparams(wanted=wanted, trigrams=quoted, most=MOST_CANDIDATES + 1)

    async def is_usable(self) -> bool:
        """Return whether all archived jobs are indexed, as they then are for good."""
        if self._usable is None and self._dialect == "sqlite" and not is_supported():
            self._usable = False
        if self._usable is None and await self._read(_EXISTS[self._dialect]):
            self._usable = (await self._read(_PROGRESS))[0].after is None or None
        return bool(self._usable)


def make(connection: sa.Connection) -> None:
    """Make the tables in PostgreSQL, unless they are there, or cannot be made."""
    if connection.execute(_EXISTS["postgresql"]).first() is not None:
        return
    if connection.scalar(_ENCODING) != "UTF8":
        return  # it may lack characters that folding makes
    try:
        with connection.begin_nested():
            connection.exec_driver_sql("CREATE EXTENSION IF NOT EXISTS pg_trgm")
            schema = connection.scalar(_EXTENSION_SCHEMA)
            for statement in _POSTGRESQL_TABLES:
                connection.exec_driver_sql(statement.format(schema))
    except DBAPIError as error:
        if error.connection_invalidated:
            raise


def index_again(connection: sa.Connection) -> None:
    """Let all archived jobs be indexed again, as others are copied into the store."""
    if connection.execute(_EXISTS[connection.dialect.name]).first() is not None:
        connection.execute(_PROCEED, {"after": ""})


def index(connection: sa.Connection, keys: Sequence[str]) -> None:
    """Index those of at most ``AT_ONCE`` jobs that are archived now."""
    if _is_kept(connection):
        _index(connection, connection.execute(_OF_KEYS, {"keys": keys}).all())


def index_next(connection: sa.Connection) -> int:
    """Index the next archived jobs that are not indexed yet; return 0 once all are."""
    if not _is_kept(connection) or (after := connection.scalar(_PROGRESS)) is None:
        return 0
    found = connection.execute(_NEXT, {"after": after}).all()
    _index(connection, found)
    connection.execute(_PROCEED, {"after": found[-1].key if found else None})
    return len(found)


def _is_kept(connection: sa.Connection) -> bool:
    """Return whether this connection keeps the index; make the tables of SQLite if it can."""
    if _KEPT in connection.info:
        return bool(connection.info[_KEPT])
    exists = connection.execute(_EXISTS[connection.dialect.name]).first() is not None
    if connection.dialect.name == "postgresql":
        if exists:
            connection.info[_KEPT] = True  # else another replica may make them yet
        return exists
    usable = connection.info[_KEPT] = is_supported()
    if usable and not exists:
        for statement in _TABLES:
            connection.exec_driver_sql(statement)
    elif exists and not usable:
        # What is archived from now on is indexed by a later process that can.
        connection.execute(_PROCEED, {"after": ""})
    return usable


def _index(connection: sa.Connection, found: Sequence[Any]) -> None:
    texts = {}
    for row in found:
        raw = orjson.loads(row.snapshot)
        folded = searched_text(row.key, raw["state"], raw["reason"]).casefold()
        # The tokenizer would end at a NUL, which no search has.
        texts[row.key] = folded.replace("\x00", "\N{REPLACEMENT CHARACTER}")
    if connection.dialect.name == "postgresql":
        # In their order, so that two replicas do not wait for each other.
        rows = [{"key": key, "text": texts[key]} for key in sorted(texts)]
        if rows:
            connection.execute(_ADD_POSTGRESQL, rows)
        return
    known = {
        row.key: (row.id, row.text) for row in connection.execute(_KNOWN, {"keys": list(texts)})
    }
    old = [known[key] for key, text in texts.items() if key in known and known[key][1] != text]
    changed = [(texts[key], known[key][0]) for key in known if known[key][1] != texts[key]]
    last = connection.execute(_LAST).scalar_one()
    missing = ((key, text) for key, text in texts.items() if key not in known)
    added = [(number, key, text) for number, (key, text) in enumerate(missing, last + 1)]
    for statement, values in (
        (_UNINDEX, old),
        (_CHANGE, changed),
        (_ADD, added),
        (_INDEX, [(number, text) for text, number in changed]),
        (_INDEX, [(number, text) for number, _, text in added]),
    ):
        if values:
            connection.exec_driver_sql(statement, values)
