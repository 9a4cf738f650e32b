"""Keep everything that the stand-ins know in one SQLite file, so that SIGKILL loses nothing.

A provider that forgot everything at a restart would hide the bugs that the stand-ins are to show.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson

JsonObject = dict[str, Any]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    kind     TEXT NOT NULL,
    id       TEXT NOT NULL,
    owner    TEXT,
    created  INTEGER NOT NULL,
    updated  INTEGER NOT NULL,
    data     TEXT NOT NULL,
    UNIQUE (kind, id)
);
CREATE INDEX IF NOT EXISTS objects_created ON objects (kind, created, position);
CREATE INDEX IF NOT EXISTS objects_owner ON objects (kind, owner, created, position);
"""

# A second save of a kind and id replaces the JSON. `position` and `created` stay, so the object
# keeps its place in lists.
_SAVE = """
INSERT INTO objects (kind, id, owner, created, updated, data) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (kind, id) DO UPDATE SET
    owner = excluded.owner, updated = excluded.updated, data = excluded.data
"""

_PLACE = "(SELECT created, position FROM objects WHERE kind = ? AND id = ?)"


@dataclass(frozen=True)
class Row:
    """An object to save. `created` and `updated` are milliseconds since 1970."""

    kind: str
    id: str
    created: int
    updated: int
    data: JsonObject
    owner: str | None = None


@dataclass(frozen=True)
class Filter:
    """Which objects of a kind to list, newest first.

    `bounds` are triples of column, operator and milliseconds. `where` compares top-level JSON
    fields with one value, or with any of several.
    """

    kind: str
    owner: str | None = None
    where: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    bounds: Iterable[tuple[str, str, int]] = ()
    after: str | None = None
    before: str | None = None


class Storage:
    """The objects of all stand-ins by kind and id, in one SQLite file in WAL mode."""

    def __init__(self, path: str) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.executescript(_SCHEMA)

    def close(self) -> None:
        """Write the WAL back, and close the file."""
        self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Write all that happens inside, or nothing. An inner transaction joins the outer one."""
        if self._connection.in_transaction:
            yield
            return
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def save(self, *rows: Row) -> None:
        """Insert or replace objects, all or none."""
        with self.transaction():
            self._connection.executemany(
                _SAVE,
                (
                    (r.kind, r.id, r.owner, r.created, r.updated, orjson.dumps(r.data).decode())
                    for r in rows
                ),
            )

    def get(self, kind: str, object_id: str) -> JsonObject | None:
        """Read an object; return None if there is none."""
        row = self._connection.execute(
            "SELECT data FROM objects WHERE kind = ? AND id = ?", (kind, object_id)
        ).fetchone()
        return None if row is None else _decoded(row[0])

    def delete(self, kind: str, object_id: str | None = None) -> None:
        """Delete one object, or all objects of the kind."""
        self._connection.execute(
            "DELETE FROM objects WHERE kind = ?1 AND id = coalesce(?2, id)", (kind, object_id)
        )

    def select(self, wanted: Filter, limit: int = -1) -> list[JsonObject]:
        """List objects, newest first; -1 is no limit."""
        return [_decoded(text) for text in self.select_json(wanted, limit)]

    def select_json(self, wanted: Filter, limit: int = -1) -> list[str]:
        """List like `select`, but as JSON texts, so that a thousand calls need not be parsed."""
        conditions, values = _conditions(wanted)
        # Only column names and operators of this package are put into the SQL. Values are bound.
        order = f"ORDER BY created {_order(wanted)}, position {_order(wanted)}"
        sql = f"SELECT data FROM objects WHERE {conditions} {order} LIMIT ?"  # noqa: S608
        rows = [text for (text,) in self._connection.execute(sql, (*values, limit))]
        return rows[::-1] if wanted.before else rows


def _decoded(text: str) -> JsonObject:
    decoded: JsonObject = orjson.loads(text)
    return decoded


def _order(wanted: Filter) -> str:
    return "ASC" if wanted.before else "DESC"


def _conditions(wanted: Filter) -> tuple[str, list[str | int]]:
    """Build the WHERE clause and its values."""
    parts, values = ["kind = ?"], list[str | int]([wanted.kind])
    if wanted.owner is not None:
        parts.append("owner = ?")
        values.append(wanted.owner)
    for name, value in wanted.where.items():
        parts.append("json_extract(data, ?) IN (SELECT value FROM json_each(?))")
        any_of = [value] if isinstance(value, str) else value
        values += [f"$.{name}", orjson.dumps(any_of).decode()]
    for column, operator, milliseconds in wanted.bounds:
        parts.append(f"{column} {operator} ?")
        values.append(milliseconds)
    for cursor, operator in ((wanted.after, "<"), (wanted.before, ">")):
        if cursor is not None:
            parts.append(f"(created, position) {operator} {_PLACE}")
            values += [wanted.kind, cursor]
    return " AND ".join(parts), values
