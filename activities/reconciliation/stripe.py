"""Walk down Stripe's lists of a period, and compare each page with the ledger."""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from operator import attrgetter

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from stripe import (
    APIConnectionError,
    AuthenticationError,
    PermissionError,  # noqa: A004
    RateLimitError,
    StripeClient,
)
from temporalio import activity

from activities.payments.payments import as_recorded
from activities.payments.stripe import read_intent, read_payment
from activities.payments.stripe_answers import asking_stripe
from activities.reconciliation import stripe_saved_cards
from activities.reconciliation.isolation import add_findings
from activities.reconciliation.runs import Comparing
from activities.reconciliation.stripe_lists import FIRST, PAGE, Item, ListPage, Unread, list_page
from activities.reconciliation.stripe_page import LedgerSide, known_of, recorded, suspects
from activities.reconciliation.stripe_saved_cards import LookedAt, look_at_cards, mend
from activities.temporal.isolation import each_apart
from billing.errors import PaymentMissing
from billing.ledger.entry import Entry, payment_credit_key
from billing.ledger.wallet import Wallet
from billing.payments.payment import Payment, due_entries, is_ours, owner_of
from billing.platform_rules import PlatformRules
from billing.reconciliation.payment_comparison import (
    compare_payment,
    frozen_otherwise,
    ignored,
    is_only_shown,
    left_alone,
    unfounded,
)
from billing.reconciliation.reconciliation import Finding, FindingOutcome, Progress, Run, RunStep
from billing.reconciliation.uncompared import uncompared, unnamed
from store.database import clock
from store.ledger import ledger, wallets
from store.payments import customers, disputes, payments
from store.reconciliation import ledger_side, runs

# After Stripe's lists comes one of the ledger's credits, each of which must have its payment.
CREDITS = "credits"
# Then the disputes that are open here: of one that was closed nothing may have been heard.
OPEN_DISPUTES = "open_disputes"
# And last the cards and customers of those who are recharged.
SAVED_CARDS = "saved_cards"


@dataclass(frozen=True, slots=True)
class _Compared:
    """What came of a page: what was found, and how much was checked, by organisation and day.

    `cards` are those that were looked at: what differs about them is mended with the page.
    """

    listed: ListPage
    found: Sequence[Finding]
    checked: Counter[tuple[str | None, date]]
    cards: Sequence[LookedAt] = ()


class StripeReconciliation:
    """The activity that compares Stripe's lists with the ledger."""

    def __init__(
        self,
        engine: AsyncEngine,
        client: StripeClient,
        rules: PlatformRules,
    ) -> None:
        self._engine = engine
        self._client = client
        self._rules = rules

    @activity.defn
    async def compare_payments(self, at: Comparing) -> Progress:
        """Compare the next page, record what it shows, and return where the one after it begins.

        Every failure is a fault. The same page again changes nothing.
        """
        with asking_stripe():
            compared = await self._compare(at.run, at.progress.below or FIRST)
        progress = _next(at.progress, compared.listed.next_place)
        async with self._engine.begin() as connection:
            if await runs.turn_page(
                connection, at.run.run_id, progress.pages, compared.listed.reached, compared.checked
            ):
                unmended = [] if at.run.dry_run else await mend(connection, compared.cards)
                found = [
                    *compared.found,
                    *(_unlooked_at(at.run, one.one.ours.org_id, one.problem) for one in unmended),
                ]
                await add_findings(connection, at.run, _to_report(at.run, found))
        return progress

    async def _compare(self, run: Run, place: str) -> _Compared:
        name, _, below = place.partition(":")
        if name == CREDITS:
            return await self._compare_credits(run, int(below or 0))
        if name == OPEN_DISPUTES:
            return await self._compare_open_disputes(run, below)
        if name == SAVED_CARDS:
            return await self._compare_cards(run, below)
        listed = await list_page(self._client, run.window, place, after_last=CREDITS)
        async with self._engine.connect() as connection:
            items = await recorded(connection, listed.items, is_first=name == FIRST)
            listed = replace(listed, items=items)
            known = await known_of(connection, items)
        found = await self._look_apart(
            run, suspects(run, items, known), partial(self._look, notes=known.given_up)
        )
        checked = _count(run, listed.items, known.posted, found)
        unread = [_unread(run, one) for one in listed.unread]
        return _Compared(listed, [*found, *unread], checked)

    async def _look_apart(
        self,
        run: Run,
        owners: Mapping[str, str | None],
        look: Callable[[str], Awaitable[Finding | None]],
    ) -> list[Finding]:
        """Look at payments; one that cannot be compared is left to its own process.

        `owners` says of each payment whose it is, as far as that is known.
        """
        looked = await each_apart(sorted(owners), look, "payment {}".format, _is_of_all)
        own = {payment_id for payment_id, owner in owners.items() if owner == run.org_id}
        unread = [
            uncompared(run, one.one, one.problem, run.org_id if one.one in own else None)
            for one in looked.failed
        ]
        return [*(one for one in looked.done if one), *unread]

    async def _look(self, payment_id: str, notes: Mapping[str, str]) -> Finding | None:
        """Read a payment in full, and compare it with all that the ledger has of it.

        `notes` says why payments were given up. What was credited before that is not affected.
        """
        activity.heartbeat()
        payment = await read_payment(self._client, payment_id)
        async with self._engine.connect() as connection:
            credit = await ledger.find(connection, payment_credit_key(payment_id))
            untyped = await payments.untyped_are_ours(connection, self._rules.untyped_payments)
            found = await _difference(connection, payment, credit, untyped_are_ours=untyped)
            known = await disputes.of_payment(connection, payment_id)
            found = found or frozen_otherwise(payment, credit, known)
        if credit is None and payment_id in notes:
            return left_alone(payment, found, notes[payment_id])
        return found

    async def _compare_credits(self, run: Run, after: int) -> _Compared:
        """Look for the payment of every credit in the ledger."""
        window = run.window
        async with self._engine.connect() as connection:
            page = await ledger.topups(connection, window.since, window.until, after, PAGE)
        of_run = [entry for entry in page if run.org_id in (None, entry.org_id)]

        async def look(entry: Entry) -> Finding | None:
            return unfounded(entry, await self._status_of(entry))

        looked = await each_apart(of_run, look, attrgetter("key"), _is_of_all)
        unread = [unnamed(run, one.one.key, one.problem, one.one.org_id) for one in looked.failed]
        found = [*(one for one in looked.done if one), *unread]
        more = len(page) == PAGE
        listed = ListPage((), f"{CREDITS}:{page[-1].entry_id}" if more else OPEN_DISPUTES)
        return _Compared(listed, found, Counter())

    async def _compare_open_disputes(self, run: Run, after: str) -> _Compared:
        """Look at the payment of every dispute that is open here, however old it is.

        One that Stripe does not know is found by its credit, and holds up no other.
        """
        async with self._engine.connect() as connection:
            page = await disputes.open_here(connection, run.org_id, after, PAGE)
        owners = dict.fromkeys(page.values(), run.org_id)
        found = await self._look_apart(run, owners, self._look_if_known)
        more = len(page) == PAGE
        listed = ListPage((), f"{OPEN_DISPUTES}:{max(page)}" if more else SAVED_CARDS)
        return _Compared(listed, found, Counter())

    async def _compare_cards(self, run: Run, after: str) -> _Compared:
        """Look at the customer and the card of everybody who is recharged."""
        async with self._engine.connect() as connection:
            now = await clock.now(connection)
            page = await ledger_side.recharged(
                connection, run.org_id, after, stripe_saved_cards.PAGE
            )
        looked = await look_at_cards(self._client, page, now, dry_run=run.dry_run)
        found = [
            *(one.finding for one in looked.done if one.finding),
            *(_unlooked_at(run, one.one.org_id, one.problem) for one in looked.failed),
        ]
        more = len(page) == stripe_saved_cards.PAGE
        listed = ListPage((), f"{SAVED_CARDS}:{page[-1].org_id}" if more else None)
        return _Compared(listed, found, Counter(), looked.done)

    async def _look_if_known(self, payment_id: str) -> Finding | None:
        try:
            return await self._look(payment_id, {})
        except PaymentMissing:
            return None

    async def _status_of(self, entry: Entry) -> str | None:
        """Read the status of the payment in an entry's key, `payment:{id}:credit`; None without."""
        activity.heartbeat()
        payment_id = entry.key.removeprefix("payment:").removesuffix(":credit")
        if entry.key != payment_credit_key(payment_id):
            return None
        try:
            return (await read_intent(self._client, payment_id)).status
        except PaymentMissing:
            return None


async def _difference(
    connection: AsyncConnection, payment: Payment, credit: Entry | None, *, untyped_are_ours: bool
) -> Finding | None:
    payment = await as_recorded(connection, payment, credit)
    owner = owner_of(payment, credit) or ""
    wallet = (await wallets.of(connection, [owner])).get(owner)
    if not is_ours(payment, wallet, credit, untyped_are_ours=untyped_are_ours):
        org_id = await _named_by(connection, payment, wallet)
        return ignored(payment, org_id) if org_id and payment.status == "succeeded" else None
    keys = [one.key for one in due_entries(payment, wallet, credit)] if wallet else []
    posted = await ledger.by_keys(connection, keys)
    events = await ledger_side.events_of(connection, [payment.payment_id])
    customer_id = await customers.payer_of(connection, owner, payment.customer_id)
    types = events.get(payment.payment_id, frozenset())
    return compare_payment(
        payment, wallet, posted, types, customer_id, untyped_are_ours=untyped_are_ours
    )


async def _named_by(
    connection: AsyncConnection, payment: Payment, wallet: Wallet | None
) -> str | None:
    """Return the organisation of ours that a payment of another product names, or its payer."""
    if wallet is not None:
        return wallet.org_id
    payer = payment.customer_id or ""
    return (await customers.organizations_of(connection, [payer])).get(payer)


def _count(
    run: Run, items: Sequence[Item], posted: LedgerSide, found: Sequence[Finding]
) -> Counter[tuple[str | None, date]]:
    """Count the items that are ours: those the ledger has credited, and those that were found."""
    owners = {one.subject: one.org_id for one in found if not is_only_shown(one)}
    checked: Counter[tuple[str | None, date]] = Counter()
    for item in items:
        credit = posted.get(payment_credit_key(item.payment_id))
        org_id = credit.org_id if credit else owners.get(item.payment_id)
        is_ours = credit is not None or item.payment_id in owners
        if item.is_counted and is_ours and run.org_id in (None, org_id):
            checked[org_id, item.created_at.date()] += 1
    return checked


def _is_of_all(failure: Exception) -> bool:
    """Return whether Stripe answers nobody, or not us."""
    return isinstance(
        failure, AuthenticationError | PermissionError | RateLimitError | APIConnectionError
    )


def _unread(run: Run, one: Unread) -> Finding:
    """Return the finding of what cannot be read: the payment's own process asks Stripe for it."""
    if one.payment_id is None:
        return unnamed(run, one.place, one.problem)
    return uncompared(run, one.payment_id, one.problem)


def _unlooked_at(run: Run, org_id: str, problem: str) -> Finding:
    """Return the finding of a card that cannot be looked at, or mended."""
    return unnamed(run, f"{SAVED_CARDS}:{org_id}", problem)


def _next(progress: Progress, place: str | None) -> Progress:
    step = RunStep.RECOVERING if place is None else RunStep.COMPARING
    return replace(progress, pages=progress.pages + 1, below=place, step=step)


def _to_report(run: Run, found: Sequence[Finding]) -> Sequence[Finding]:
    if not run.dry_run:
        return found
    return [replace(one, outcome=FindingOutcome.REPORTED) for one in found]
