"""Lists in pages: from the row before or after the one that was read last."""

from typing import Any

from sqlalchemy import ColumnElement, Select, Table


def newest_first(
    query: Select[Any], position: ColumnElement[Any], before: int | None, limit: int
) -> Select[Any]:
    """Take so many rows from the newest on, or from the one before position `before`."""
    if before is not None:
        query = query.where(position < before)
    return query.order_by(position.desc()).limit(limit)


def in_order(
    query: Select[Any], key: ColumnElement[Any], after: str | int | None, limit: int
) -> Select[Any]:
    """Take so many rows in the order of their keys, from the first on or the one after `after`."""
    if after is not None:
        query = query.where(key > after)
    return query.order_by(key).limit(limit)


def fits(table: Table, **wanted: Any) -> list[ColumnElement[bool]]:
    """Say which rows are asked for, column by column; None asks for nothing in particular."""
    return [table.c[name] == value for name, value in wanted.items() if value is not None]
