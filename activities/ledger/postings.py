"""Transactions on the ledger. What one has posted is logged and counted after its commit."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from activities.monitoring import metrics
from billing.ledger.entry import Operation
from store.ledger import journal

# A flood settles thousands of calls a second, and a log line costs a seventh of what a charge does.
# Of larger sets only refusals are logged above the debug level. The ledger has the rest.
MOST_LINES = 20
log = structlog.get_logger()


@asynccontextmanager
async def books(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Open a transaction in which money may move; log and count what has moved after its commit.

    Activities post in no other way (a test holds that). So nothing is left out, and nothing is
    logged that was rolled back.
    """
    async with engine.begin() as connection:
        done, began = await journal.keep(connection), time.monotonic()
        yield connection
    took = time.monotonic() - began
    _note(done.operations)
    metrics.entered((source, age + took) for source, age in done.ages)


def _note(operations: Sequence[Operation]) -> None:
    metrics.posted(operations)
    lines, is_many = log.bind(), len(operations) > MOST_LINES
    for one in operations:
        posting, transfer = one.posting, one.transfer
        is_detail = is_many and posting.refusal is None
        (lines.debug if is_detail else lines.info)(
            "posted",
            key=transfer.key,
            kind=str(transfer.kind),
            org_id=transfer.org_id,
            amount_minor=transfer.amount.amount_minor,
            currency=str(transfer.amount.currency),
            outcome=str(posting.outcome),
            entry=posting.entry and posting.entry.entry_id,
            balance_before_minor=posting.balance_before.amount_minor,
            balance_after_minor=posting.balance_after.amount_minor,
            refusal=posting.refusal and posting.refusal.code,
        )
