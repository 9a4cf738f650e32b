"""Many rows in one statement: sent as one JSON parameter, typed by the columns they are for."""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Column, bindparam, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql.selectable import TableValuedAlias


def rowset(columns: Iterable[Column[Any]], rows: Iterable[Mapping[str, Any]]) -> TableValuedAlias:
    """Make `rows` a relation with the names and types of `columns`.

    One statement and one parameter for any number of rows, so that PostgreSQL and SQLAlchemy both
    plan it once. Values are what JSON carries; times are ISO 8601 (orjson writes them so).
    """
    as_json = bindparam(None, list(rows), JSONB, unique=True)
    record = func.jsonb_to_recordset(as_json).table_valued(
        *(Column(column.name, column.type) for column in columns)
    )
    return record.render_derived(name="given", with_types=True)
