"""The kinds of columns that tables share."""

from typing import Any

from sqlalchemy import BigInteger, Column, DateTime, ForeignKey, MetaData, Text, func

metadata = MetaData()


def string(name: str, *, nullable: bool = False, **options: Any) -> Column[str]:
    """Return a column of text. In PostgreSQL it needs no length."""
    return Column(name, Text, nullable=nullable, **options)


def minor(name: str, *, nullable: bool = False, **options: Any) -> Column[int]:
    """Return a column of money in minor units."""
    return Column(name, BigInteger, nullable=nullable, **options)


def moment(name: str, *, nullable: bool = False, **options: Any) -> Column[Any]:
    """Return a column of instants, with their time zone."""
    return Column(name, DateTime(timezone=True), nullable=nullable, **options)


def recorded(name: str) -> Column[Any]:
    """Return a column of when the row was written, by the database's clock."""
    return moment(name, server_default=func.now())


def organization(*, nullable: bool = False, primary_key: bool = False) -> Column[str]:
    """Return the column that says whose the row is."""
    return Column(
        "org_id",
        Text,
        ForeignKey("organizations.org_id"),
        nullable=nullable,
        primary_key=primary_key,
    )
