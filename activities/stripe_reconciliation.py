"""Walk down what Stripe lists of a time, and compare each page with the ledger."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from stripe import RateLimitError, StripeClient
from temporalio import activity

from activities.reconciliation import Comparing
from activities.retry_after import retry_after
from activities.stripe import read_intent, read_payment
from activities.stripe_lists import FIRST, PAGE, Item, Listed, list_page
from billing.errors import PaymentMissing
from billing.ledger import Entry, payment_credit_key
from billing.payment import Payment, due_entries
from billing.payment_comparison import compare_payment, unfounded
from billing.reconciliation import Finding, FindingOutcome, Progress, Run, Step
from store import customers, findings, known, ledger, payments, reconciliations, wallets

# The last of the lists is the ledger's own: every credit must have its payment.
CREDITS = "credits"

Posted = Mapping[str, Entry]


@dataclass(frozen=True, slots=True)
class _Compared:
    """What came of a page: what was found, and how much was checked of whom on which day."""

    listed: Listed
    found: Sequence[Finding]
    checked: Counter[tuple[str | None, date]]


class StripeReconciliation:
    """Stripe's lists on one side, the ledger on the other."""

    def __init__(self, engine: AsyncEngine, client: StripeClient) -> None:
        self._engine = engine
        self._client = client

    @activity.defn
    async def compare_payments(self, at: Comparing) -> Progress:
        """Compare the next page, record what it shows, and say where the one after it begins.

        Everything that goes wrong is a fault. The same page again changes nothing.
        """
        try:
            compared = await self._compare(at.run, at.progress.below or FIRST)
        except RateLimitError as limited:
            raise retry_after(limited.headers, str(limited)) from limited
        progress = _next(at.progress, compared.listed.next_place)
        async with self._engine.begin() as connection:
            if await reconciliations.turn_page(
                connection, at.run.run_id, progress.pages, compared.listed.reached, compared.checked
            ):
                await findings.add(connection, at.run.run_id, _to_report(at.run, compared.found))
        return progress

    async def _compare(self, run: Run, place: str) -> _Compared:
        name, _, below = place.partition(":")
        if name == CREDITS:
            return await self._compare_credits(run, int(below or 0))
        listed = await list_page(self._client, run.window, place, after_last=CREDITS)
        async with self._engine.connect() as connection:
            posted = await ledger.by_keys(connection, _keys(listed.items))
            given_up = await payments.discarded(
                connection, {item.payment_id for item in listed.items}
            )
        suspects = {
            item.payment_id
            for item in listed.items
            if _may_be_of(run, item, posted) and _is_suspicious(item, posted)
        }
        looked_at = [await self._look(payment_id) for payment_id in sorted(suspects - given_up)]
        found = [one for one in looked_at if one and run.org_id in (None, one.org_id)]
        return _Compared(listed, found, _count(run, listed.items, posted, found))

    async def _look(self, payment_id: str) -> Finding | None:
        """Read a payment in full, and compare it with all that the ledger has of it."""
        activity.heartbeat()
        payment = await read_payment(self._client, payment_id)
        async with self._engine.connect() as connection:
            return await _difference(connection, payment)

    async def _compare_credits(self, run: Run, after: int) -> _Compared:
        """Look for the payment of every credit in the ledger."""
        window = run.window
        async with self._engine.connect() as connection:
            page = await ledger.topups(connection, window.since, window.until, after, PAGE)
        of_run = [entry for entry in page if run.org_id in (None, entry.org_id)]
        looked_at = [unfounded(entry, await self._status_of(entry)) for entry in of_run]
        more = len(page) == PAGE
        listed = Listed((), f"{CREDITS}:{page[-1].entry_id}" if more else None)
        return _Compared(listed, [one for one in looked_at if one], Counter())

    async def _status_of(self, entry: Entry) -> str | None:
        """Read how the payment stands that an entry names by its key, `payment:{id}:credit`."""
        activity.heartbeat()
        payment_id = entry.key.removeprefix("payment:").removesuffix(":credit")
        if entry.key != payment_credit_key(payment_id):
            return None
        try:
            return (await read_intent(self._client, payment_id)).status
        except PaymentMissing:
            return None


async def _difference(connection: AsyncConnection, payment: Payment) -> Finding | None:
    owner = payment.owner or ""
    wallet = (await wallets.of(connection, [owner])).get(owner)
    keys = [one.key for one in due_entries(payment, wallet)] if wallet else []
    posted = await ledger.by_keys(connection, keys)
    events = await known.events_of(connection, [payment.payment_id])
    customer_id = await customers.customer_of(connection, owner)
    told = events.get(payment.payment_id, frozenset())
    return compare_payment(payment, wallet, posted, told, customer_id)


def _may_be_of(run: Run, item: Item, posted: Posted) -> bool:
    """Say whether a run looks at it: at all of them, or at those of its organisation."""
    credit = posted.get(payment_credit_key(item.payment_id))
    owner = credit.org_id if credit else item.org_id
    return None in (run.org_id, owner) or run.org_id == owner


def _is_suspicious(item: Item, posted: Posted) -> bool:
    """Say whether the ledger may lack what the item calls for.

    A refund or a dispute of a payment that was never credited is that payment's finding, if it is
    one of ours at all.
    """
    is_credited = payment_credit_key(item.payment_id) in posted
    if item.is_payment:
        return not is_credited
    return is_credited and (item.key is None or item.key not in posted)


def _count(
    run: Run, items: Sequence[Item], posted: Posted, found: Sequence[Finding]
) -> Counter[tuple[str | None, date]]:
    """Count what is ours: what the ledger credited, or what was found because it did not."""
    owners = {one.subject: one.org_id for one in found}
    checked: Counter[tuple[str | None, date]] = Counter()
    for item in items:
        credit = posted.get(payment_credit_key(item.payment_id))
        org_id = credit.org_id if credit else owners.get(item.payment_id)
        is_ours = credit is not None or item.payment_id in owners
        if item.is_counted and is_ours and run.org_id in (None, org_id):
            checked[org_id, item.created_at.date()] += 1
    return checked


def _keys(items: Sequence[Item]) -> set[str]:
    credits_ = {payment_credit_key(item.payment_id) for item in items}
    return credits_ | {item.key for item in items if item.key is not None}


def _next(progress: Progress, place: str | None) -> Progress:
    step = Step.RECOVERING if place is None else Step.COMPARING
    return replace(progress, pages=progress.pages + 1, below=place, step=step)


def _to_report(run: Run, found: Sequence[Finding]) -> Sequence[Finding]:
    if not run.dry_run:
        return found
    return [replace(one, outcome=FindingOutcome.REPORTED) for one in found]
