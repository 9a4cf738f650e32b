"""Many rows in one statement: sent as one JSON parameter, typed by the columns they are for."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Column, bindparam, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql.selectable import TableValuedAlias


def rowset(columns: Iterable[Column[Any]]) -> TableValuedAlias:
    """Make the parameter `rows`, a list of objects, a relation with these names and types.

    One statement and one parameter for any number of rows, so that PostgreSQL plans it once and we
    build it once. Values are what JSON carries; times are ISO 8601 (orjson writes them so).
    """
    record = func.jsonb_to_recordset(bindparam("rows", type_=JSONB)).table_valued(
        *(Column(column.name, column.type) for column in columns)
    )
    return record.render_derived(name="given", with_types=True)
