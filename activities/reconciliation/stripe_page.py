"""What is known here of a page of Stripe's lists, and what on it the ledger may lack."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy.ext.asyncio import AsyncConnection

from activities.reconciliation.stripe_lists import Item
from billing.ledger.entry import Entry, payment_credit_key
from billing.reconciliation.reconciliation import Run
from store.ledger import ledger, wallets
from store.payments import customers, payments
from store.recharges import recharges

LedgerSide = Mapping[str, Entry]


@dataclass(frozen=True, slots=True)
class KnownPage:
    """What is known here of a page's payments.

    `posted` are the entries that the page calls for, `given_up` says of discarded payments why, and
    `naming` are the payments that name an organisation or a customer of ours.
    """

    posted: LedgerSide
    given_up: Mapping[str, str]
    naming: Collection[str]


async def recorded(
    connection: AsyncConnection, items: Sequence[Item], *, is_first: bool
) -> list[Item]:
    """Return items in which payments are of whom they were asked for, if that was written down.

    What is written down decides, not what their metadata say by now: neither whose they are, nor
    that they are none of ours. They are counted where all payments are listed, and nowhere else.
    """
    made = {(one.payment_id, one.attempt_id, one.customer_id) for one in items if one.is_payment}
    asked = await recharges.asked_of(connection, made)
    return [
        replace(one, org_id=asked[one.payment_id], is_named=True, is_counted=is_first)
        if one.is_payment and one.payment_id in asked
        else one
        for one in items
    ]


async def known_of(connection: AsyncConnection, items: Sequence[Item]) -> KnownPage:
    """Read what is known here of the payments of a page."""
    organizations = await wallets.of(connection, {item.org_id or "" for item in items})
    theirs = await customers.organizations_of(
        connection, {item.customer_id for item in items if item.customer_id}
    )
    return KnownPage(
        posted=await ledger.by_keys(connection, _keys(items)),
        given_up=await payments.discarded(connection, {item.payment_id for item in items}),
        naming={
            item.payment_id
            for item in items
            if item.org_id in organizations or item.customer_id in theirs
        },
    )


def _owner(item: Item, posted: LedgerSide) -> str | None:
    """Return whose payment an item is about, by the ledger or else by what it says itself."""
    credit = posted.get(payment_credit_key(item.payment_id))
    return credit.org_id if credit else item.org_id


def _is_suspicious(item: Item, known: KnownPage) -> bool:
    """Return whether the ledger may lack what an item calls for, or has it for somebody else.

    A payment that is not credited is suspicious if it says that it is ours, or names somebody of
    ours. A refund or a dispute of it is not suspicious by itself; but if it was given up, it may be
    the only thing that is listed of it.
    """
    credit = known.posted.get(payment_credit_key(item.payment_id))
    if credit is None and item.is_payment:
        return item.is_named or item.payment_id in known.naming
    if credit is None:
        return item.payment_id in known.given_up
    entry = known.posted.get(item.key or "")
    return entry is None or entry.org_id != credit.org_id


def _keys(items: Sequence[Item]) -> set[str]:
    credits_ = {payment_credit_key(item.payment_id) for item in items}
    return credits_ | {item.key for item in items if item.key is not None}


def suspects(run: Run, items: Sequence[Item], known: KnownPage) -> dict[str, str | None]:
    """Return the payments of a page that Stripe is asked about, one by one, each with its owner.

    A run over one organisation asks about its payments, and about those of an unknown one.
    """
    owners = {
        item.payment_id: _owner(item, known.posted) for item in items if _is_suspicious(item, known)
    }
    return {
        payment_id: owner
        for payment_id, owner in owners.items()
        if None in (run.org_id, owner) or run.org_id == owner
    }
