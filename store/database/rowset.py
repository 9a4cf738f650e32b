"""Send many rows in one statement, as one JSON parameter typed by the columns they are for."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Column, bindparam, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql.selectable import TableValuedAlias


def rowset(columns: Iterable[Column[Any]]) -> TableValuedAlias:
    """Return the parameter `rows`, a list of objects, as a relation with these names and types.

    A VALUES list has another statement text for each number of rows. This has one for any number,
    so that PostgreSQL plans it once and SQLAlchemy compiles it once. Values must be what JSON
    carries; times are ISO 8601, as orjson writes them. See docs/decisions/0007.
    """
    record = func.jsonb_to_recordset(bindparam("rows", type_=JSONB)).table_valued(
        *(Column(column.name, column.type) for column in columns)
    )
    return record.render_derived(name="given", with_types=True)
