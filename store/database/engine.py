"""Connections to PostgreSQL, with every wait bounded."""

from typing import Any

import orjson
import structlog
from sqlalchemy import event
from sqlalchemy.engine import ExceptionContext, make_url
from sqlalchemy.exc import InvalidatePoolError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from store.database import session
from store.database.connection import Connection
from store.database.errors import in_a_line
from store.database.session import Pooler

CONNECT_TIMEOUT_SECONDS = 3
# After a failover a pool may hold sessions of the old server, which nobody closes.
RECYCLE_SECONDS = 300
READ_ONLY = "25006"
# What a session that is of no more use answers: its server is read-only, is ending or has lost its
# connection (class 08), or knows nothing of a prepared statement, or knows another one by its name.
_OF_NO_MORE_USE = ("08", READ_ONLY, "57P", "26000", "42P05")
# What a server tells of itself, unasked and whenever it changes, since version 14.
_SAYS_READ_ONLY = ("default_transaction_read_only", "in_hot_standby")
_POOLER = "pooler"
_WAS_USED = "was used"
log = structlog.get_logger()


def connect(
    database_url: str,
    *,
    application_name: str,
    pool_size: int = 10,
    ping: bool = True,
    pooler: Pooler = Pooler.NONE,
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
        execution_options={_POOLER: pooler},
        connect_args={
            "application_name": application_name,
            "connect_timeout": CONNECT_TIMEOUT_SECONDS,
            "async_creator_fn": Connection.connect,
            **_of_sessions(pooler),
        },
    )
    sync, refusals = engine.sync_engine, _Refusals(application_name)
    event.listen(sync, "handle_error", refusals.log)
    event.listen(sync, "connect", refusals.forget)
    event.listen(sync, "handle_error", _replace_the_pool)
    if pooler is Pooler.NONE:
        event.listen(sync, "checkout", _leave_read_only)
    return engine


def beside(
    engine: AsyncEngine, *, application_name: str, pool_size: int, ping: bool = False
) -> AsyncEngine:
    """Return a small engine for the same database, for what must be quick and wait for nobody.

    Unless it pings, the first use fails after connections have died, and then all are replaced.
    """
    return connect(
        engine.url.set(drivername="postgresql").render_as_string(hide_password=False),
        application_name=application_name,
        pool_size=pool_size,
        ping=ping,
        pooler=engine.get_execution_options()[_POOLER],
    )


def _of_sessions(pooler: Pooler) -> dict[str, Any]:
    """Return how sessions begin.

    A pooler in transaction mode has another session for each transaction. It knows no statement
    that was prepared in one, and takes no startup options. What a server says of being read-only
    when a session begins, it repeats long after that has changed, and libpq would believe it.
    """
    if pooler is Pooler.TRANSACTION:
        return {"prepare_threshold": None}
    return {"options": session.options(), "target_session_attrs": "read-write"}


class _Refusals:
    """Logs why there is no connection: once, until there is one or the reason is another."""

    def __init__(self, application_name: str) -> None:
        self._pool = application_name
        self._logged = ""

    def log(self, context: ExceptionContext) -> None:
        if context.connection is not None or context.is_pre_ping:
            return
        reason = in_a_line(context.original_exception)
        if reason != self._logged:
            self._logged = reason
            log.warning("no connection to PostgreSQL", pool=self._pool, reason=reason)

    def forget(self, *_: object) -> None:
        self._logged = ""


def _leave_read_only(connection: Any, record: ConnectionPoolEntry, _: object) -> None:
    """Replace all connections when one says that its server has become read-only.

    A pool that only reads would never hear of it by an error. Of a new one libpq has just asked.
    """
    is_new = not record.info.get(_WAS_USED)
    record.info[_WAS_USED] = True
    if is_new or connection.closed:
        return
    if any(connection.info.parameter_status(name) == "on" for name in _SAYS_READ_ONLY):
        raise InvalidatePoolError


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


def _dumps(value: object) -> str:
    return orjson.dumps(value).decode()
