"""The tables of prices, of calls and of messages: read, and added to; a row that is there stays."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter
from sqlalchemy import Column, RowMapping, Select, Table, func, insert, or_, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.adjustments import Who
from billing.admin_log import AdminAction, AdminChange
from billing.calls.call import CallState, call_workflow_id
from billing.errors import ChangesThePast, Conflict
from billing.ledger.money import Currency
from billing.messages.message import MessageState, message_workflow_id
from billing.tariffs.sms_tariff import SmsTariff, charges_what_was_free
from billing.tariffs.tariff import Tariff, overtaken
from store import schema
from store.database import additions, clock
from store.database.additions import Addition
from store.database.pages import fits, in_order
from store.schema import wallets

Price = TypeVar("Price", Tariff, SmsTariff)


@dataclass(frozen=True)
class Unpriced:
    """What waits for a price: its table, the state it is in, since when, and its process.

    What has one of the columns `of` waits for a price with the same.
    """

    table: Table
    state: str
    since: Column[Any]
    workflow_id: Callable[[str], str]
    of: tuple[str, ...] = ()


@dataclass(frozen=True)
class TariffTable(Generic[Price]):
    """A table of prices. Of those with the same `scope` one is in effect at a time.

    `route` is where the API takes a new one, and `action` what the book calls that.
    """

    table: Table
    kind: TypeAdapter[Price]
    scope: tuple[str, ...]
    unpriced: Unpriced
    route: str
    action: AdminAction

    async def for_organizations(
        self, connection: AsyncConnection, org_ids: Collection[str]
    ) -> list[Price]:
        """Read the default prices and the organisations' own, of all times."""
        org_id = self.table.c.org_id
        query = select(self.table).where(or_(org_id.is_(None), org_id == func.any(list(org_ids))))
        return await self._read(connection, query)

    async def of_all(self, connection: AsyncConnection) -> list[Price]:
        """Read the prices of everybody, of all times."""
        return await self._read(connection, select(self.table))

    async def begun(self, connection: AsyncConnection) -> Mapping[str, datetime]:
        """Return when each price begins, by its id."""
        query = select(self._key, self.table.c.effective_from)
        return {row[0]: row[1] for row in await connection.execute(query)}

    async def add(self, connection: AsyncConnection, new: Price) -> bool:
        """Add a price; False when it is there already, the very same.

        One at a time, for what is in effect decides what may be added; those who charge wait only
        if they found none. Raise Conflict when its id or its place is taken, and ChangesThePast.
        """
        await additions.add(connection, Addition.TARIFF)
        others = await self.of_all(connection)
        if new in others:
            return False
        self._require_free(new, others)
        now = await clock.now(connection)
        if charges_what_was_free(new, others, now):
            raise ChangesThePast(
                f"messages by {new.channel} cost nothing then: let their first price begin later"
                " than now"
            )
        changed = overtaken(new, others, now)
        if changed is not None:
            raise ChangesThePast(
                f"{self.id_of(changed)} was in effect then: let this one begin later than now"
            )
        await connection.execute(insert(self.table).values(asdict(new)))
        return True

    def added(self, price: Price, by: Who) -> AdminChange:
        """Tell the book of a price that was added."""
        after = self.kind.dump_python(price, mode="json")
        return AdminChange(by, self.action, self.id_of(price), price.org_id, after=after)

    async def page(
        self,
        connection: AsyncConnection,
        after: str | None,
        limit: int,
        *,
        org_id: str | None = None,
        in_effect: bool = False,
        **wanted: str | None,
    ) -> list[Price]:
        """List prices by id: all, or those that may ever be in effect for an organisation.

        Those are its own and the defaults, in its wallet's currency. With `in_effect`, of each
        scope the one that is now. `wanted` are values of columns.
        """
        query, columns = select(self._key).where(*fits(self.table, **wanted)), self.table.c
        if in_effect:
            scope = [columns[name] for name in self.scope]
            query = query.ext(distinct_on(*scope)).where(columns.effective_from <= func.now())
            query = query.order_by(*scope, columns.effective_from.desc())
        if org_id is not None:
            its_own = select(wallets.c.currency).where(wallets.c.org_id == org_id)
            query = query.where(or_(columns.org_id == org_id, columns.org_id.is_(None)))
            query = query.where(columns.wallet_currency == its_own.scalar_subquery())
        listed = select(self.table).where(self._key.in_(query))
        return await self._read(connection, in_order(listed, self._key, after, limit))

    async def waiting(
        self, connection: AsyncConnection, price: Price, limit: int
    ) -> list[tuple[str, str]]:
        """Find the processes that may have waited for a price, oldest first.

        They are pairs of organisation and workflow id: those of its organisation, or of all whose
        wallets are in its currency. What does not say its channel may be of any.
        """
        waits, currency = self.unpriced, price.wallet_currency
        (key,) = waits.table.primary_key
        owner = waits.table.c.org_id
        query = (
            select(owner, key)
            .join(wallets, wallets.c.org_id == owner)
            .where(waits.table.c.state == waits.state, wallets.c.currency == currency)
            .order_by(waits.since, key)
            .limit(limit)
        )
        if price.org_id is not None:
            query = query.where(owner == price.org_id)
        for column in (waits.table.c[name] for name in waits.of):
            query = query.where(or_(column.is_(None), column == getattr(price, column.name)))
        found = await connection.execute(query)
        return [(whose, waits.workflow_id(name)) for whose, name in found]

    async def currencies_without_default(
        self, connection: AsyncConnection, **wanted: str
    ) -> list[Currency]:
        """List the wallets' currencies for which no price by default is in effect now.

        `wanted` are values of columns.
        """
        columns = self.table.c
        query = (
            select(columns.wallet_currency)
            .where(columns.org_id.is_(None), columns.effective_from <= func.now())
            .where(*fits(self.table, **wanted))
            .distinct()
        )
        found = set(await connection.scalars(query))
        return [one for one in Currency if one not in found]

    def of(self, row: RowMapping) -> Price:
        """Make a price of a row that has the table's columns, whatever else it has."""
        return self.kind.validate_python({one.name: row[one] for one in self.table.c})

    def id_of(self, price: Price) -> str:
        """Name a price."""
        return str(getattr(price, self._key.name))

    @property
    def _key(self) -> Column[Any]:
        (key,) = self.table.primary_key
        return key

    async def _read(self, connection: AsyncConnection, query: Select[Any]) -> list[Price]:
        return [self.of(row) for row in (await connection.execute(query)).mappings()]

    def _require_free(self, new: Price, others: Iterable[Price]) -> None:
        """Raise Conflict for an id that is taken, or a second one that begins at that moment."""
        for one in others:
            name = self.id_of(one)
            if name == self.id_of(new):
                raise Conflict(f"tariff {name} exists with other figures, and stays as it is")
            if self._place(one) == self._place(new):
                raise Conflict(f"tariff {name} begins at the same moment")

    def _place(self, price: Price) -> tuple[Any, ...]:
        return (*(getattr(price, name) for name in self.scope), price.effective_from)


call_tariffs = TariffTable(
    schema.tariffs,
    TypeAdapter(Tariff),
    ("org_id", "wallet_currency"),
    Unpriced(schema.calls, CallState.NO_TARIFF, schema.calls.c.ended_at, call_workflow_id),
    route="/v1/tariffs",
    action=AdminAction.TARIFF_ADDED,
)
sms_tariffs = TariffTable(
    schema.sms_tariffs,
    TypeAdapter(SmsTariff),
    ("org_id", "wallet_currency", "channel", "prefix"),
    Unpriced(
        schema.messages,
        MessageState.NO_TARIFF,
        schema.messages.c.sent_at,
        message_workflow_id,
        of=("channel",),
    ),
    route="/v1/sms-tariffs",
    action=AdminAction.SMS_TARIFF_ADDED,
)
