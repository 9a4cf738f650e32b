"""Every penny stays with whom it belonged to, whatever is edited in between.

One story of random edits. Payments are credited, refunded and disputed, calls and messages charged,
refused, corrected and given back. In between metadata and customers are edited, assistants, numbers
and senders are registered, moved and deleted, webhooks are lost and found by reconciliations. After
each step the books are what a few lines of plain Python remember.
"""

import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

import activities.reconciliation.vapi_lists
import billing.reconciliation.reconciliation
from billing.inbox.webhook_event import Source
from billing.reconciliation.reconciliation import Window
from store.calls import call_records
from store.ledger import audit
from store.messages import message_records
from tests.support.api_server import Api, serving
from tests.support.edited_payments import Booked, EditedPayments
from tests.support.edited_usage import LENGTHS, EditedUsage
from tests.support.eventually import eventually
from tests.support.factories import an_organization, now
from tests.support.reconciled_days import Reconciler
from tests.support.stand_ins import StripeStandIn, TwilioStandIn, VapiStandIn

EDITS, SEEDS = 40, (2,)
FULL_EDITS, FULL_SEEDS = 220, (2, 3, 5)
Step = Callable[[], Awaitable[None]]
# The first entry about a call or message is what corrections and reversals name.
_ENTRIES = text("""
    SELECT key, coalesce(reverses, key), org_id,
           CASE WHEN debit_account = 'wallet:' || org_id THEN -amount_minor ELSE amount_minor END
    FROM ledger_entries WHERE org_id = ANY(:org_ids)""")
_WALLETS = text("SELECT org_id, balance_minor FROM wallets WHERE org_id = ANY(:org_ids)")
_DISPUTES = text("SELECT dispute_id, org_id, is_open FROM disputes WHERE org_id = ANY(:org_ids)")


@dataclass(frozen=True)
class Books:
    """What is in the database of some organisations, in one snapshot.

    `entries` are each of which organisation, and what it does to their balance, by key; `about`
    says which entry each corrects or reverses, or else itself.
    """

    entries: Booked
    about: dict[str, str]
    balances: dict[str, int]
    disputes: dict[str, tuple[str, bool]]


@dataclass
class Town:
    """Three organisations without credit, and what the test remembers of their money."""

    engine: AsyncEngine
    worker: Client
    since: datetime
    orgs: list[str]
    payments: EditedPayments
    usage: EditedUsage

    async def reconcile(self, source: Source, org_id: str | None) -> None:
        window = Window(self.since, await now(self.engine) + timedelta(seconds=1))
        reconciler = Reconciler(self.worker, self.engine, source)
        await reconciler.reconcile(window, org_id=org_id)
        if source is Source.STRIPE:
            self.payments.are_reconciled(org_id)
        else:
            self.usage.calls_are_reconciled(org_id)

    async def is_as_remembered(self) -> bool:
        """Whether all that runs has come to what is remembered; nothing else may ever be there."""
        books, owed, booked = await self.books(), self.usage.owed(), self.payments.booked()
        paid = Counter[str]()
        for key, (org_id, minor) in books.entries.items():
            about = books.about[key]
            if about in owed:
                assert org_id == owed[about][0], f"{key} is of {org_id}"
                paid[about] -= minor
            else:
                assert booked.get(key) == (org_id, minor), f"{key} is {minor} of {org_id}"
        of_orgs = Counter(dict.fromkeys(self.orgs, 0))
        for org_id, minor in books.entries.values():
            of_orgs[org_id] += minor
        assert books.balances == of_orgs
        is_paid_or_cannot_be = all(
            pence == paid[about] or pence - paid[about] > books.balances[org_id]
            for about, (org_id, pence) in owed.items()
        )
        is_credited = booked.keys() <= books.entries.keys()
        return (
            is_credited
            and is_paid_or_cannot_be
            and (books.disputes == self.payments.open_disputes())
        )

    async def books(self) -> Books:
        given = {"org_ids": self.orgs}
        async with self.engine.execution_options(
            isolation_level="REPEATABLE READ"
        ).connect() as connection:
            entries = (await connection.execute(_ENTRIES, given)).all()
            balances = (await connection.execute(_WALLETS, given)).all()
            disputes = (await connection.execute(_DISPUTES, given)).all()
        return Books(
            {key: (org_id, minor) for key, _, org_id, minor in entries},
            {key: about for key, about, _, _ in entries},
            dict(balances),
            {dispute: (org_id, is_open) for dispute, org_id, is_open in disputes},
        )

    async def all_is_found_and_paid(self) -> None:
        """Nothing is lost any more, and everybody can pay: every balance is exact."""
        for agent in self.usage.agents:
            await self.usage.give(agent, self.orgs[0])
        for source in (Source.STRIPE, Source.VAPI):
            await self.reconcile(source, None)
        for org_id in self.orgs:
            await self.payments.heard(await self.payments.pay(org_id, 50_000))
        await eventually(self.is_as_remembered)
        left = Counter(dict.fromkeys(self.orgs, 0))
        for org_id, minor in self.payments.booked().values():
            left[org_id] += minor
        for org_id, pence in self.usage.owed().values():
            left[org_id] -= pence
        books = await self.books()
        assert books.balances == left
        await self._says_whose_everything_is()

    async def _says_whose_everything_is(self) -> None:
        async with self.engine.connect() as connection:
            for call_id, one in self.usage.calls.items():
                if one.owner is not None:
                    assert (await call_records.read(connection, call_id)).org_id == one.owner
            for sid, one in self.usage.messages.items():
                # What was lost before anybody owed it is nobody's.
                if one.pence:
                    assert (await message_records.read(connection, sid)).org_id == one.owner
            assert await audit.of_organizations(connection, self.orgs) == []


@pytest.fixture
def no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has only just happened is compared: nothing of the story is older than it is itself."""
    longest = timedelta(seconds=max(LENGTHS))
    monkeypatch.setattr(billing.reconciliation.reconciliation, "GRACE", timedelta(seconds=-2))
    monkeypatch.setattr(activities.reconciliation.vapi_lists, "GRACE", -longest)


@pytest.fixture(scope="module")
async def api(engine: AsyncEngine, worker: Client) -> AsyncIterator[Api]:
    async with serving(engine, worker) as running:
        yield running


def steps_of(town: Town, chance: random.Random) -> list[Step]:
    payments, usage = town.payments, town.usage
    return [
        *[payments.a_payment_is_made] * 2,
        payments.a_payment_is_heard_of_again,
        *[payments.metadata_are_edited] * 3,
        payments.a_customer_is_edited,
        *[payments.money_goes_back] * 2,
        payments.what_went_back_ends,
        *[usage.a_registration_changes] * 3,
        *[usage.a_call_ends] * 3,
        *[usage.vapi_says_otherwise] * 2,
        usage.a_message_is_sent,
        usage.a_message_is_given_back_or_heard_of_again,
        lambda: town.reconcile(Source.STRIPE, chance.choice([None, *town.orgs])),
        lambda: town.reconcile(Source.VAPI, chance.choice([None, *town.orgs])),
    ]


@pytest.mark.usefixtures("no_grace")
async def test_every_penny_stays_with_whom_it_belonged_to_through_any_edits(
    api: Api,
    worker: Client,
    stripe: StripeStandIn,
    vapi: VapiStandIn,
    twilio: TwilioStandIn,
    *,
    story_is_full: bool,
) -> None:
    engine = api.engine
    for seed in FULL_SEEDS if story_is_full else SEEDS:
        chance = random.Random(seed)
        orgs = [await an_organization(engine, debt_limit_minor=0) for _ in range(3)]
        town = Town(
            engine,
            worker,
            (await now(engine)).replace(microsecond=0),
            orgs,
            EditedPayments(engine, worker, stripe, chance, orgs),
            EditedUsage(api, worker, vapi, twilio, chance, orgs),
        )
        for _ in range(FULL_EDITS if story_is_full else EDITS):
            await chance.choice(steps_of(town, chance))()
            await eventually(town.is_as_remembered)
        await town.all_is_found_and_paid()
