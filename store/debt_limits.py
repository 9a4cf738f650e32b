"""Debt limits: set by one person, or by two if they are raised by much."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.adjustments import Who
from billing.debt_limits import (
    DebtLimitRequest,
    LimitRuling,
    asked_for,
    changed,
    is_within,
    request_in,
    still_asked,
)
from billing.errors import NeedsAnotherPerson, NotFound
from billing.ledger.wallet import DEBT_LIMIT_MINOR, Wallet
from billing.organizations import ApiKey
from store import admin_log
from store.database import clock
from store.ledger import wallets
from store.organizations import api_keys, four_eyes

_ONE_AT_A_TIME = text("SELECT pg_advisory_xact_lock(hashtext('debt limits'))")


async def rule(
    connection: AsyncConnection, org_id: str, wanted_minor: int, key: ApiKey, most_minor: int
) -> LimitRuling:
    """Decide what becomes of a wish for another debt limit; nothing is changed yet.

    The wallet is locked, and nobody sets another until the transaction ends. Raise
    NotFound.
    """
    keys, today_minor = await _raised_alone(connection, key.key_id)
    wallet = (await wallets.lock(connection, [org_id])).get(org_id)
    if wallet is None:
        raise NotFound(f"there is no organization {org_id}")
    by = Who(key.key_id, key.label)
    if is_within(wallet, wanted_minor, today_minor, most_minor):
        return LimitRuling(is_allowed=True, change=changed(wallet, wanted_minor, by))
    requests = await _still_asked(connection, wallet, wanted_minor)
    for one in requests:
        if await four_eyes.is_another_person(connection, one, key):
            change = changed(wallet, wanted_minor, by, one)
            return LimitRuling(is_allowed=True, change=change, took_two=True)
    waits = next((one for one in requests if one.requested_by.key_id in keys), None)
    new = None if waits else asked_for(wallet, wanted_minor, by)
    return LimitRuling(is_allowed=False, change=new, waits=waits)


async def require_within(
    connection: AsyncConnection, debt_limit_minor: int, key: ApiKey, most_minor: int
) -> None:
    """Let one person make an organisation with this debt limit; raise NeedsAnotherPerson.

    It counts as raised by what it is above the one by default.
    """
    if debt_limit_minor <= DEBT_LIMIT_MINOR:
        return
    _, today_minor = await _raised_alone(connection, key.key_id)
    if debt_limit_minor - DEBT_LIMIT_MINOR + today_minor > most_minor:
        raise NeedsAnotherPerson(
            f"so high a debt limit takes two people: make it with {DEBT_LIMIT_MINOR}, and have two"
            " operators PUT the same debt limit"
        )


async def _raised_alone(connection: AsyncConnection, key_id: str) -> tuple[set[str], int]:
    """Return one person's keys, and by how much they have raised debt limits today by themselves.

    Nobody raises another until the transaction ends.
    """
    keys = set(await api_keys.of_one_person(connection, key_id))
    await connection.execute(_ONE_AT_A_TIME)
    return keys, await admin_log.raised_today(connection, keys, DEBT_LIMIT_MINOR)


async def _still_asked(
    connection: AsyncConnection, wallet: Wallet, wanted_minor: int
) -> list[DebtLimitRequest]:
    found = await admin_log.debt_limits_asked(connection, wallet.org_id)
    now = await clock.now(connection)
    return still_asked([request_in(one) for one in found], wallet, wanted_minor, now)
