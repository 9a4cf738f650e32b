"""Connections to PostgreSQL, with every wait bounded."""

import orjson
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

CONNECT_TIMEOUT_SECONDS = 3
_SESSION = (
    "-c timezone=UTC -c statement_timeout=20s -c lock_timeout=10s"
    " -c idle_in_transaction_session_timeout=30s"
)


def connect(database_url: str, *, application_name: str, pool_size: int = 10) -> AsyncEngine:
    """Make an engine for `postgresql://…`; nothing is connected until it is used."""
    url = make_url(database_url).set(drivername="postgresql+psycopg")
    return create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=10,
        pool_pre_ping=True,
        json_serializer=_dumps,
        json_deserializer=orjson.loads,
        connect_args={
            "application_name": application_name,
            "connect_timeout": CONNECT_TIMEOUT_SECONDS,
            "options": _SESSION,
        },
    )


def _dumps(value: object) -> str:
    return orjson.dumps(value).decode()
