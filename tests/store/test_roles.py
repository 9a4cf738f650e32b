"""The owner migrates; the service writes what it must, and can undo nothing of what it wrote."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from psycopg.errors import InsufficientPrivilege
from sqlalchemy import make_url, text
from sqlalchemy.exc import IntegrityError, ProgrammingError
from sqlalchemy.ext.asyncio import AsyncEngine

from store.database import engine as store_engine
from store.database import migrate, roles
from store.database.roles import NotPrepared, ServiceRole
from store.schema import metadata
from store.schema.grants import APPEND_ONLY, GRANTS, READ_ONLY, REVISIONS, Grant
from tests.conftest import NewDatabase
from tests.support.factories import an_organization, unique
from tests.support.migrations import migrate_to, set_up
from tests.support.systems import url_of

# What anybody may do with a table, a column and a sequence, as the server itself sees it.
HELD = text("""
    SELECT relname, privilege FROM pg_class, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE',
        'TRUNCATE', 'REFERENCES', 'TRIGGER']) AS privilege
    WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p', 'v', 'm')
        AND has_table_privilege(oid, privilege)""")
HELD_OF_COLUMNS = text("""
    SELECT relname, privilege, attname FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid,
        unnest(ARRAY['INSERT', 'UPDATE', 'REFERENCES']) AS privilege
    WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p', 'v', 'm')
        AND attnum > 0 AND NOT attisdropped
        AND has_column_privilege(attrelid, attname, privilege)
        AND NOT has_table_privilege(attrelid, privilege)""")
SEQUENCES = text("""
    SELECT count(*) FROM pg_class WHERE relnamespace = current_schema()::regnamespace
        AND CASE relkind WHEN 'S' THEN has_sequence_privilege(oid, 'USAGE, SELECT, UPDATE') END""")


@asynccontextmanager
async def connected(engine: AsyncEngine, service: ServiceRole) -> AsyncIterator[AsyncEngine]:
    """The same database, as another role."""
    url = make_url(url_of(engine)).set(username=service.name, password=service.password)
    other = store_engine.connect(
        url.render_as_string(hide_password=False), application_name="tests"
    )
    try:
        yield other
    finally:
        await other.dispose()


@pytest.fixture(scope="module")
def service() -> ServiceRole:
    return ServiceRole(unique("service"), "its' own \\ password")


@pytest.fixture(scope="module")
async def owner(new_database: NewDatabase, service: ServiceRole) -> AsyncIterator[AsyncEngine]:
    """A database with two roles, as its owner."""
    engine = await new_database()
    await migrate.upgrade(engine, service)
    await set_up(engine)
    await an_organization(engine, 100)
    yield engine
    await engine.dispose()


@pytest.fixture
async def served(owner: AsyncEngine, service: ServiceRole) -> AsyncIterator[AsyncEngine]:
    """The same database, as its service."""
    async with connected(owner, service) as engine:
        yield engine


async def held(engine: AsyncEngine) -> dict[str, Grant]:
    """What a role may do with each table, in the words of the table of grants."""
    async with engine.connect() as connection:
        rights: dict[str, set[str]] = {}
        for table, privilege in await connection.execute(HELD):
            rights.setdefault(table, set()).add(privilege)
        columns: dict[str, set[str]] = {}
        for table, privilege, column in await connection.execute(HELD_OF_COLUMNS):
            assert privilege == "UPDATE", (table, privilege, column)
            columns.setdefault(table, set()).add(column)
    for table, has in rights.items():
        assert has <= {"SELECT", "INSERT", "UPDATE", "DELETE"}, table
        assert "SELECT" in has, table
    return {
        table: Grant(
            insert="INSERT" in has,
            updates="UPDATE" in has or tuple(sorted(columns.get(table, ()))) or False,
            delete="DELETE" in has,
        )
        for table, has in rights.items()
    }


def in_order(grants: Mapping[str, Grant]) -> dict[str, Grant]:
    return {
        table: Grant(
            one.insert,
            tuple(sorted(one.updates)) if isinstance(one.updates, tuple) else one.updates,
            one.delete,
        )
        for table, one in grants.items()
    }


async def run(engine: AsyncEngine, statement: str, **values: Any) -> None:
    async with engine.begin() as connection:
        await connection.execute(text(statement), values)


def test_every_table_has_a_line_and_every_column_that_may_change_exists() -> None:
    assert GRANTS.keys() == metadata.tables.keys() | {REVISIONS}
    for name, grant in GRANTS.items():
        if isinstance(grant.updates, tuple):
            assert set(grant.updates) <= set(metadata.tables[name].columns.keys()), name


def test_what_the_ledger_and_people_have_said_is_only_ever_added_to() -> None:
    named = {name for name, grant in GRANTS.items() if grant == APPEND_ONLY}
    assert named >= {
        "ledger_entries", "decisions", "audits", "tariffs", "sms_tariffs", "card_caps",
        "former_customers", "admin_log",
    }  # fmt: skip


async def test_the_service_has_exactly_the_rights_of_the_table(served: AsyncEngine) -> None:
    assert await held(served) == in_order(GRANTS)
    async with served.connect() as connection:
        assert await connection.scalar(SEQUENCES) == 0
        assert await roles.excess(connection) == []


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE ledger_entries DISABLE TRIGGER ledger_entries_append_only",
        "ALTER TABLE ledger_entries DISABLE TRIGGER ALL",
        "DROP TRIGGER ledger_entries_append_only ON ledger_entries",
        "CREATE TRIGGER own BEFORE INSERT ON ledger_entries"
        " FOR EACH ROW EXECUTE FUNCTION refuse_change()",
        "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql"
        " AS 'BEGIN RETURN NEW; END'",
        "ALTER FUNCTION refuse_change() RENAME TO refuse_nothing",
        "SET session_replication_role = replica",
        "UPDATE ledger_entries SET amount_minor = 1",
        "UPDATE ledger_entries SET note = ''",
        "DELETE FROM ledger_entries",
        "SELECT * FROM ledger_entries FOR UPDATE",
        "TRUNCATE ledger_entries",
        "TRUNCATE organizations CASCADE",
        "TRUNCATE webhook_events",
        "DROP TABLE ledger_entries",
        "ALTER TABLE ledger_entries ADD COLUMN more text",
        "ALTER TABLE wallets DROP CONSTRAINT wallets_currency_known",
        "CREATE TABLE own (n integer)",
        "CREATE SCHEMA own",
        "CREATE RULE own AS ON INSERT TO ledger_entries DO INSTEAD NOTHING",
        "SET ROLE postgres",
        "SELECT setval('ledger_entries_entry_id_seq', 1)",
        "UPDATE decisions SET who_and_why = ''",
        "UPDATE audits SET flaws = '[]'",
        "DELETE FROM audits",
        "UPDATE adjustments SET amount_minor = 1",
        "UPDATE adjustments SET requested_by = '{}'",
        "DELETE FROM adjustments",
        "UPDATE wallets SET currency = 'usd'",
        "DELETE FROM wallets",
        "UPDATE api_keys SET scope = 'operator'",
        "UPDATE api_keys SET made_by = NULL",
        "UPDATE api_keys SET origin = NULL",
        "UPDATE api_keys SET secret_sha256 = ''",
        "UPDATE alerts SET text = ''",
        "UPDATE registrations SET org_id = ''",
        "UPDATE alembic_version SET version_num = ''",
        "DELETE FROM webhook_events",
        "ALTER ROLE CURRENT_USER SUPERUSER",
    ],
)
async def test_the_service_cannot(served: AsyncEngine, statement: str) -> None:
    with pytest.raises(ProgrammingError) as refused:
        await run(served, statement)
    assert isinstance(refused.value.orig, InsufficientPrivilege)


async def test_the_owner_of_a_ledger_is_no_role_that_the_service_can_become(
    served: AsyncEngine,
) -> None:
    async with served.connect() as connection:
        found = await connection.execute(
            text("SELECT rolname FROM pg_roles WHERE pg_has_role(oid, 'MEMBER')")
        )
        assert found.scalars().all() == [served.url.username]


async def test_no_function_lends_the_service_the_rights_of_its_owner(owner: AsyncEngine) -> None:
    async with owner.connect() as connection:
        lends = await connection.scalars(
            text(
                "SELECT proname FROM pg_proc WHERE prosecdef"
                " AND pronamespace = current_schema()::regnamespace"
            )
        )
        assert lends.all() == []


async def test_rights_that_are_too_many_or_missing_are_set_right_by_the_next_setup(
    migrated_database: NewDatabase,
) -> None:
    """Whoever granted them, one by one, to all, or to what was not there yet."""
    owner, service = await migrated_database(), ServiceRole(unique("service"), "its-own")
    await migrate.upgrade(owner, service)
    for statement in (
        f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {service.name}",
        f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {service.name}",
        "GRANT UPDATE, TRUNCATE ON ledger_entries TO PUBLIC",
        f"GRANT UPDATE (amount_minor) ON ledger_entries TO {service.name}",
        f"GRANT CREATE ON SCHEMA public TO {service.name}, PUBLIC",
        f"GRANT CREATE ON DATABASE {owner.url.database} TO {service.name}",
        f"REVOKE INSERT ON ledger_entries FROM {service.name}",
        "REVOKE EXECUTE ON FUNCTION is_jsonb(text) FROM PUBLIC",
        "REVOKE USAGE ON SCHEMA public FROM PUBLIC",
        f"REVOKE CONNECT ON DATABASE {owner.url.database} FROM PUBLIC",
    ):
        await run(owner, statement)
    for _ in range(2):
        await migrate.upgrade(owner, service)
        async with connected(owner, service) as served:
            assert await held(served) == in_order(GRANTS)
            async with served.connect() as connection:
                assert await connection.scalar(SEQUENCES) == 0
                assert await connection.scalar(text("SELECT is_jsonb('{}')")) is True
                assert await roles.excess(connection) == []
    await owner.dispose()


async def test_a_table_that_others_have_in_the_schema_is_left_alone(
    migrated_database: NewDatabase,
) -> None:
    owner, service = await migrated_database(), ServiceRole(unique("service"), "its-own")
    await run(owner, "CREATE TABLE of_others (n integer)")
    await migrate.upgrade(owner, service)
    async with connected(owner, service) as served:
        assert "of_others" not in await held(served)
        await run(owner, f"GRANT SELECT ON of_others TO {service.name}")
        await migrate.upgrade(owner, service)
        assert (await held(served))["of_others"] == READ_ONLY
    await owner.dispose()


async def test_what_default_rights_would_give_of_new_tables_is_not_given(
    new_database: NewDatabase,
) -> None:
    owner, service = await new_database(), ServiceRole(unique("service"), "its-own")
    await run(owner, f"CREATE ROLE {service.name} LOGIN PASSWORD 'its-own'")
    for what in ("TABLES", "SEQUENCES"):
        default = f"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON {what} TO {service.name}"
        await run(owner, default)
    await migrate.upgrade(owner, service)
    async with connected(owner, service) as served:
        assert await held(served) == in_order(GRANTS)
        async with served.connect() as connection:
            assert await connection.scalar(SEQUENCES) == 0
    await owner.dispose()


async def an_owner(engine: AsyncEngine, attributes: str = "") -> ServiceRole:
    """Make a role that owns the database and may do no more than that."""
    name = unique("owner")
    await run(engine, f"CREATE ROLE {name} LOGIN PASSWORD 'its-own' {attributes}")
    await run(engine, f"ALTER DATABASE {engine.url.database} OWNER TO {name}")
    return ServiceRole(name, "its-own")


async def test_an_owner_that_may_make_no_roles_takes_one_that_exists(
    new_database: NewDatabase,
) -> None:
    """As it is at hosts of managed servers, whose users are made in a console."""
    admin, service = await new_database(), ServiceRole(unique("service"), "its-own")
    async with connected(admin, await an_owner(admin)) as owner:
        with pytest.raises(NotPrepared, match=f"no database role {service.name}.*CREATE ROLE"):
            await migrate.upgrade(owner, service)
        await run(admin, f"CREATE ROLE {service.name} LOGIN PASSWORD 'another'")
        await migrate.upgrade(owner, service)
        async with connected(owner, ServiceRole(service.name, "another")) as served:
            assert await held(served) == in_order(GRANTS)
    await admin.dispose()


async def test_an_owner_that_may_make_roles_makes_it_and_needs_not_be_a_superuser(
    new_database: NewDatabase,
) -> None:
    admin, service = await new_database(), ServiceRole(unique("service"), "it's %s own")
    async with connected(admin, await an_owner(admin, "CREATEROLE")) as owner:
        await migrate.upgrade(owner, service)
        async with connected(owner, service) as served:
            assert await held(served) == in_order(GRANTS)
    await admin.dispose()


async def test_a_second_setup_does_not_change_the_password(owner: AsyncEngine) -> None:
    service = ServiceRole(unique("service"), "the-first")
    await migrate.upgrade(owner, service)
    await migrate.upgrade(owner, ServiceRole(service.name, "the-second"))
    async with connected(owner, service) as served, served.connect() as connection:
        assert await connection.scalar(text("SELECT current_user")) == service.name


@pytest.mark.parametrize("owner_is", ["a superuser", "a member", "a stranger"])
async def test_what_belongs_to_the_service_since_version_0_1_is_taken_over_if_that_may_be(
    new_database: NewDatabase, owner_is: str
) -> None:
    """One role made and owned it all, and goes on as the service."""
    admin = await new_database()
    former = await an_owner(admin)
    async with connected(admin, former) as one_role:
        await migrate_to(one_role, "0015")
    is_super = owner_is == "a superuser"
    new = ServiceRole(unique("owner"), "its-own")
    attributes = "SUPERUSER" if is_super else ""
    await run(admin, f"CREATE ROLE {new.name} LOGIN PASSWORD 'its-own' {attributes}")
    if not is_super:
        await run(admin, f"GRANT CREATE ON SCHEMA public TO {new.name}")
    if owner_is == "a member":
        await run(admin, f"GRANT {former.name} TO {new.name}")
        await run(admin, f"ALTER DATABASE {admin.url.database} OWNER TO {new.name}")
    async with connected(admin, new) as owner, connected(admin, former) as served:
        if owner_is == "a stranger":
            with pytest.raises(NotPrepared, match=f"belong to {former.name}.*GRANT"):
                await migrate.upgrade(owner, former)
            return
        await migrate.upgrade(owner, former)
        assert await held(served) == in_order(GRANTS)
        async with served.connect() as connection:
            assert await roles.excess(connection) == []
        with pytest.raises(ProgrammingError, match="must be owner"):
            await run(served, "ALTER FUNCTION refuse_change() RENAME TO refuse_nothing")
    await admin.dispose()


@pytest.mark.parametrize(
    ("granted", "said"),
    [
        ("GRANT {database_owner} TO {service}", "owns the tables"),
        ("GRANT UPDATE ON ledger_entries TO {service}", "append-only: ledger_entries"),
        ("GRANT UPDATE (note) ON decisions TO {service}", "append-only: decisions"),
        ("GRANT TRUNCATE ON audits TO {service}", "append-only: audits"),
        ("GRANT CREATE ON SCHEMA public TO {service}", "may create in the database"),
        ("GRANT SET ON PARAMETER session_replication_role TO {service}", "may set session_repl"),
        ("ALTER ROLE {service} CREATEROLE", "may make roles"),
        ("ALTER ROLE {service} SUPERUSER", "is a superuser"),
        ("GRANT pg_write_all_data TO {service}", "append-only: admin_log, alembic_version, audits"),
    ],
)
async def test_a_right_that_the_service_does_not_need_is_named(
    owner: AsyncEngine, granted: str, said: str
) -> None:
    service = ServiceRole(unique("service"), "its-own")
    await migrate.upgrade(owner, service)
    granted = granted.replace("(note)", "(who_and_why)")
    names = {"service": service.name, "database_owner": owner.url.username}
    await run(owner, granted.format(**names))
    async with connected(owner, service) as served, served.connect() as connection:
        assert said in " ".join(await roles.excess(connection))
    await run(owner, f"REVOKE ALL ON PARAMETER session_replication_role FROM {service.name}")


async def test_an_adjustment_changes_once_and_forward_whoever_asks(
    owner: AsyncEngine,
) -> None:
    org_id = await an_organization(owner)
    await run(
        owner,
        """INSERT INTO adjustments VALUES ('one', :org_id, 'credit', 5, 'gbp', 'goodwill', 'why',
        false, false, '{}', now(), now(), 'pending')""",
        org_id=org_id,
    )
    with pytest.raises(IntegrityError, match="append-only: UPDATE refused"):
        await run(owner, "UPDATE adjustments SET amount_minor = 6 WHERE adjustment_id = 'one'")
    await run(owner, "UPDATE adjustments SET state = 'applied', settled_at = now()")
    for again in ("state = 'pending'", "state = 'rejected'", "decision = '{}'"):
        with pytest.raises(IntegrityError, match="append-only: UPDATE refused"):
            await run(owner, f"UPDATE adjustments SET {again}")  # noqa: S608
    for table in ("adjustments", "audits"):
        with pytest.raises(IntegrityError, match="append-only: TRUNCATE refused"):
            await run(owner, f"TRUNCATE {table}")


@pytest.mark.parametrize(
    ("service", "said"),
    [
        ("postgresql://one@here/db", "two roles"),
        ("postgresql:///db", "two roles"),
        ("postgresql://two@here/other", "same database"),
    ],
)
def test_two_urls_that_do_not_fit_are_refused(service: str, said: str) -> None:
    with pytest.raises(NotPrepared, match=said):
        roles.service_beside("postgresql://one@here/db", service)
    assert roles.service_beside("postgresql://one@h/db", "postgresql://two:x@h/db").name == "two"
