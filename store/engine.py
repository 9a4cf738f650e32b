"""Connections to PostgreSQL, with every wait bounded."""

import orjson
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

CONNECT_TIMEOUT_SECONDS = 3
_SESSION = (
    "-c timezone=UTC -c statement_timeout=20s -c lock_timeout=10s"
    " -c idle_in_transaction_session_timeout=30s"
)


def connect(
    database_url: str, *, application_name: str, pool_size: int = 10, ping: bool = True
) -> AsyncEngine:
    """Make an engine for `postgresql://…`; nothing is connected until it is used.

    With `ping` a connection is tried before it is used, which costs a way to the server and back.
    """
    url = make_url(database_url).set(drivername="postgresql+psycopg")
    return create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=10,
        pool_pre_ping=ping,
        # Errors travel to logs and into Temporal; what a row holds, a number of somebody, does not.
        hide_parameters=True,
        json_serializer=_dumps,
        json_deserializer=orjson.loads,
        connect_args={
            "application_name": application_name,
            "connect_timeout": CONNECT_TIMEOUT_SECONDS,
            "options": _SESSION,
        },
    )


def beside(engine: AsyncEngine, *, application_name: str, pool_size: int) -> AsyncEngine:
    """Make a small engine for the same database, for what must be quick and wait for nobody.

    Of connections that died, the first to be used fails; then all are made anew.
    """
    url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    return connect(url, application_name=application_name, pool_size=pool_size, ping=False)


def _dumps(value: object) -> str:
    return orjson.dumps(value).decode()
