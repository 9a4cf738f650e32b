"""Two database roles: an owner, who migrates, and a service, which cannot undo what it wrote.

See docs/decisions/0038.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import structlog
from psycopg import AsyncConnection as Driver
from sqlalchemy import URL, func, make_url, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from store.database.errors import Unusable
from store.schema.grants import GRANTS, Grant

log = structlog.get_logger()

_ROLE = text("SELECT rolname FROM pg_roles WHERE rolname = :service")
_MAY_MAKE_ROLES = text(
    "SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user"
)
# Whose our tables are, where we may not do with them what their owner may.
_OF_OTHERS = text("""
    SELECT DISTINCT pg_get_userbyid(relowner) FROM pg_class
    WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p')
        AND relname = ANY(:tables) AND NOT pg_has_role(relowner, 'USAGE')""")
# Each row is a statement. Sequences go with their tables, multiranges with their ranges, and what
# belongs to an extension is none of ours. The database and the schema are given by a superuser
# only: to others they may be a platform's.
_TAKE_OVER = text("""
    SELECT format('ALTER TABLE %s OWNER TO CURRENT_USER', oid::regclass) FROM pg_class
    WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p')
        AND relname = ANY(:tables) AND pg_get_userbyid(relowner) = CAST(:service AS text)
    UNION ALL
    SELECT format('ALTER ROUTINE %s OWNER TO CURRENT_USER', oid::regprocedure) FROM pg_proc
    WHERE pronamespace = current_schema()::regnamespace
        AND pg_get_userbyid(proowner) = CAST(:service AS text)
        AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_proc.oid AND deptype = 'e')
    UNION ALL
    SELECT format('ALTER TYPE %s OWNER TO CURRENT_USER', oid::regtype) FROM pg_type
    WHERE typnamespace = current_schema()::regnamespace AND typtype IN ('r', 'e', 'd')
        AND pg_get_userbyid(typowner) = CAST(:service AS text)
        AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_type.oid AND deptype = 'e')
    UNION ALL
    SELECT format('ALTER SCHEMA %I OWNER TO CURRENT_USER', nspname) FROM pg_namespace
    WHERE nspname = current_schema() AND pg_get_userbyid(nspowner) = CAST(:service AS text)
        AND (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
    UNION ALL
    SELECT format('ALTER DATABASE %I OWNER TO CURRENT_USER', datname) FROM pg_database
    WHERE datname = current_database() AND pg_get_userbyid(datdba) = CAST(:service AS text)
        AND (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)""")
# What a role mostly has as everybody does; some servers give everybody nothing. Numbers of rows
# come out of sequences that nobody needs a right to, and nobody should have one.
_AROUND = text("""
    WITH given AS (SELECT CAST(:service AS text) AS service)
    SELECT format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), service) FROM given
    WHERE NOT has_database_privilege(service, current_database(), 'CONNECT')
    UNION ALL
    SELECT format('GRANT USAGE ON SCHEMA %I TO %I', current_schema(), service) FROM given
    WHERE NOT has_schema_privilege(service, current_schema(), 'USAGE')
    UNION ALL
    SELECT format('REVOKE CREATE ON SCHEMA %I FROM %I, PUBLIC', current_schema(), service)
    FROM given WHERE has_schema_privilege(service, current_schema(), 'CREATE')
    UNION ALL
    SELECT format('REVOKE CREATE ON DATABASE %I FROM %I', current_database(), service) FROM given
    WHERE has_database_privilege(service, current_database(), 'CREATE')
    UNION ALL
    SELECT format('GRANT EXECUTE ON ROUTINE %s TO %I', oid::regprocedure, service)
    FROM pg_proc, given WHERE pronamespace = current_schema()::regnamespace
        AND proowner = current_user::regrole AND NOT has_function_privilege(service, oid, 'EXECUTE')
    UNION ALL
    SELECT format('GRANT USAGE ON TYPE %s TO %I', oid::regtype, service)
    FROM pg_type, given WHERE typnamespace = current_schema()::regnamespace
        AND typtype IN ('r', 'e', 'd') AND typowner = current_user::regrole
        AND NOT has_type_privilege(service, oid, 'USAGE')
    UNION ALL
    SELECT format('REVOKE ALL ON SEQUENCE %s FROM %I, PUBLIC', c.oid::regclass, service)
    FROM given, pg_class AS c JOIN pg_depend AS of_column
        ON of_column.objid = c.oid AND of_column.deptype = 'i'
    JOIN pg_class AS its ON its.oid = of_column.refobjid
    WHERE c.relkind = 'S' AND its.relnamespace = current_schema()::regnamespace
        AND its.relname = ANY(:tables)""")
_EXCESS = text("""
    SELECT rolsuper AS is_superuser,
        rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls AS may_more,
        has_schema_privilege(current_schema(), 'CREATE')
            OR has_database_privilege(current_database(), 'CREATE') AS may_create,
        has_parameter_privilege('session_replication_role', 'SET') AS may_skip_triggers,
        EXISTS (SELECT FROM pg_class WHERE relnamespace = current_schema()::regnamespace
            AND relname = ANY(:tables) AND pg_has_role(relowner, 'MEMBER')) AS owns_tables,
        ARRAY(SELECT relname::text FROM pg_class
            WHERE relnamespace = current_schema()::regnamespace AND relname = ANY(:append_only)
                AND (has_table_privilege(oid, 'UPDATE, DELETE, TRUNCATE, TRIGGER')
                    OR has_any_column_privilege(oid, 'UPDATE'))
            ORDER BY relname) AS may_change
    FROM pg_roles WHERE rolname = current_user""")


class NotPrepared(Unusable):
    """The roles are not as they must be, and whoever asks may not make them so."""


@dataclass(frozen=True, slots=True)
class ServiceRole:
    """The role of API and worker; the password is only for when it is made."""

    name: str
    password: str | None = field(repr=False)


def service_beside(owner_url: str | URL, service_url: str | URL) -> ServiceRole:
    """Return the role of the service's URL; raise NotPrepared if the two URLs do not fit."""
    owner, service = make_url(owner_url), make_url(service_url)
    if not service.username or owner.username == service.username:
        raise NotPrepared(
            "DATABASE_OWNER_URL and DATABASE_URL must name two roles:"
            " leave the first out, or give the service one of its own"
        )
    if owner.database != service.database:
        raise NotPrepared("DATABASE_OWNER_URL and DATABASE_URL must name the same database")
    return ServiceRole(service.username, service.password)


async def make(connection: AsyncConnection, service: ServiceRole) -> None:
    """Make the service's role unless it exists; one that exists keeps its password.

    Raise NotPrepared if there is none, and the owner may make none.
    """
    if await connection.scalar(_ROLE, {"service": service.name}) is not None:
        return
    if not await connection.scalar(_MAY_MAKE_ROLES):
        raise NotPrepared(
            f"there is no database role {service.name}, and {await _me(connection)} may make none:"
            f" have it made (CREATE ROLE {service.name} LOGIN PASSWORD …), then run"
            " `callwallet setup` again"
        )
    role = _quoted(connection, service.name)
    secret = await _verifier(connection, service)
    # Not as format's parameter: a statement that makes a role takes none. It is only a hash.
    await connection.exec_driver_sql(f"CREATE ROLE {role} LOGIN{secret}")
    log.info("the database role of API and worker is made", role=service.name)


async def take_over(connection: AsyncConnection, service: str) -> None:
    """Make the owner the owner of what was the service's while there was one role.

    Raise NotPrepared if the owner may not.
    """
    if of_others := (await connection.scalars(_OF_OTHERS, {"tables": list(GRANTS)})).all():
        owner = await _me(connection)
        raise NotPrepared(
            f"the tables belong to {', '.join(of_others)}, and {owner} is no member of that role:"
            f" as a superuser, GRANT {of_others[0]} TO {owner}, then run `callwallet setup` again"
        )
    given = {"tables": list(GRANTS), "service": service}
    if statements := (await connection.scalars(_TAKE_OVER, given)).all():
        await connection.exec_driver_sql(";".join(statements))
        log.info("the database belongs to its owner now", before=service, objects=len(statements))


async def grant(connection: AsyncConnection, service: str) -> None:
    """Give the service what its table says, and take what it has beside; again changes nothing."""
    role = _quoted(connection, service)
    given = {"tables": list(GRANTS), "service": service}
    around = (await connection.scalars(_AROUND, given)).all()
    tables = [
        statement for name, rights in GRANTS.items() for statement in _of_table(name, rights, role)
    ]
    await connection.exec_driver_sql(";".join((*around, *tables)))


async def excess(connection: AsyncConnection) -> list[str]:
    """Say what the role of this session may do that the service does not need."""
    append_only = [name for name, rights in GRANTS.items() if rights.is_append_only]
    given = {"tables": list(GRANTS), "append_only": append_only}
    found = (await connection.execute(_EXCESS, given)).one()
    return [f"the database role {what}" for what in _what_it_may(found)]


async def warn(connection: AsyncConnection) -> None:
    """Log what the role of this session may do that the service does not need."""
    if found := await excess(connection):
        log.warning("the database role may do more than it needs", problems=found)


def _what_it_may(found: Any) -> Iterator[str]:
    if found.is_superuser:
        yield "is a superuser"
        return
    if found.may_more:
        yield "may make roles or databases, replicate, or read past row security"
    if found.owns_tables:
        yield "owns the tables, or is a member of who does"
    if found.may_create:
        yield "may create in the database"
    if found.may_skip_triggers:
        yield "may set session_replication_role"
    if found.may_change and not found.owns_tables:
        yield f"may change what is append-only: {', '.join(found.may_change)}"


def _of_table(name: str, rights: Grant, role: str) -> Iterator[str]:
    """Return the statements by which the service has this right to a table and no other.

    To revoke all of a table revokes all of its columns too.
    """
    yield f"REVOKE ALL ON {name} FROM {role}"
    yield f"REVOKE INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER ON {name} FROM PUBLIC"
    yield f"GRANT SELECT ON {name} TO {role}"
    if rights.insert:
        yield f"GRANT INSERT ON {name} TO {role}"
    if rights.delete:
        yield f"GRANT DELETE ON {name} TO {role}"
    if rights.updates:
        named = rights.updates if isinstance(rights.updates, tuple) else ()
        columns = f" ({', '.join(named)})" if named else ""
        yield f"GRANT UPDATE{columns} ON {name} TO {role}"


async def _me(connection: AsyncConnection) -> str:
    me: str = (await connection.execute(select(func.current_user()))).scalar_one()
    return me


async def _verifier(connection: AsyncConnection, service: ServiceRole) -> str:
    """Return what PostgreSQL checks the password by, so that no log of statements shows it."""
    if service.password is None:
        return ""
    raw = await connection.get_raw_connection()
    driver = cast("Driver[Any]", raw.driver_connection)
    name, password = service.name.encode(), service.password.encode()
    hashed = driver.pgconn.encrypt_password(password, name, b"scram-sha-256")
    return f" PASSWORD '{hashed.decode()}'"


def _quoted(connection: AsyncConnection, name: str) -> str:
    return connection.dialect.identifier_preparer.quote_identifier(name)
