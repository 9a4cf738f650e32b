"""Connections to PostgreSQL, with every wait bounded."""

import orjson
from sqlalchemy import event
from sqlalchemy.engine import ExceptionContext, make_url
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

CONNECT_TIMEOUT_SECONDS = 3
# After a failover a pool may hold sessions of the old server, which nobody closes.
RECYCLE_SECONDS = 300
READ_ONLY = "25006"
# What a session that is of no more use answers: its server is read-only, is ending or has lost its
# connection (class 08), or knows nothing of a prepared statement, or knows another one by its name.
_OF_NO_MORE_USE = ("08", READ_ONLY, "57P", "26000", "42P05")
_SESSION = (
    "-c timezone=UTC -c statement_timeout=20s -c lock_timeout=10s"
    " -c idle_in_transaction_session_timeout=30s"
)


def connect(
    database_url: str, *, application_name: str, pool_size: int = 10, ping: bool = True
) -> AsyncEngine:
    """Return an engine for `postgresql://…`. Nothing is connected until it is used.

    With `ping` each connection is tried before it is used, which costs a round trip.
    """
    url = make_url(database_url).set(drivername="postgresql+psycopg")
    engine = create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=10,
        pool_pre_ping=ping,
        pool_recycle=RECYCLE_SECONDS,
        # Errors go to logs and into Temporal. What rows hold, such as telephone numbers, must not.
        hide_parameters=True,
        json_serializer=_dumps,
        json_deserializer=orjson.loads,
        connect_args={
            "application_name": application_name,
            "connect_timeout": CONNECT_TIMEOUT_SECONDS,
            "options": _SESSION,
            "target_session_attrs": "read-write",
        },
    )
    event.listen(engine.sync_engine, "handle_error", _replace_the_pool)
    return engine


def _replace_the_pool(context: ExceptionContext) -> OperationalError | None:
    """Replace all connections after an error that says that they are of no more use.

    A read-only server is a server that is away: its error becomes one of DATABASE_GONE.
    """
    state = getattr(context.original_exception, "sqlstate", None) or ""
    if not state.startswith(_OF_NO_MORE_USE):
        return None
    context.is_disconnect = True
    if state != READ_ONLY:
        return None
    return OperationalError(
        context.statement,
        None,
        context.original_exception,
        hide_parameters=True,
        connection_invalidated=True,
    )


def beside(
    engine: AsyncEngine, *, application_name: str, pool_size: int, ping: bool = False
) -> AsyncEngine:
    """Return a small engine for the same database, for what must be quick and wait for nobody.

    Unless it pings, the first use fails after connections have died, and then all are replaced.
    """
    url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    return connect(url, application_name=application_name, pool_size=pool_size, ping=ping)


def _dumps(value: object) -> str:
    return orjson.dumps(value).decode()
