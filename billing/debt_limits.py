"""How far below zero a wallet may go, and when a second person has to say so as well."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from billing.adjustments import APPROVAL_WAITS, Who
from billing.admin_log import AdminAction, AdminChange, AdminRecord
from billing.ledger.wallet import Wallet

_NEEDS = (
    "Another operator, with a key of their own that is older than this request, has to PUT the same"
    " debt limit before it expires"
)


@dataclass(frozen=True, slots=True)
class DebtLimitRequest:
    """A raise that one person has asked for, and that holds as soon as another asks for the same.

    `debt_limit_now_minor` holds until then; `needs` says what it still takes.
    """

    org_id: str
    debt_limit_minor: int
    debt_limit_now_minor: int
    requested_by: Who
    requested_at: datetime
    expires_at: datetime
    needs: str = _NEEDS


@dataclass(frozen=True, slots=True)
class LimitRuling:
    """What becomes of a wish for another debt limit: it holds, or it is a request that waits.

    `waits` is the request, if it stands in the book already; `change` is what the book has to say.
    """

    is_allowed: bool
    change: AdminChange | None = None
    waits: DebtLimitRequest | None = None
    took_two: bool = False


def request_in(record: AdminRecord) -> DebtLimitRequest:
    """Return the request of which a line of the book tells."""
    return DebtLimitRequest(
        org_id=record.subject_id,
        debt_limit_minor=(record.after or {})["debt_limit_minor"],
        debt_limit_now_minor=(record.before or {})["debt_limit_minor"],
        requested_by=record.by,
        requested_at=record.at,
        expires_at=record.at + APPROVAL_WAITS,
    )


def still_asked(
    requests: Sequence[DebtLimitRequest], wallet: Wallet, wanted_minor: int, now: datetime
) -> list[DebtLimitRequest]:
    """Return the requests for the same raise of a wallet as it is now, that are not too old."""
    return [
        one
        for one in requests
        if one.debt_limit_minor == wanted_minor
        and one.debt_limit_now_minor == wallet.debt_limit_minor
        and now < one.expires_at
    ]


def is_within(wallet: Wallet, wanted_minor: int, raised_today_minor: int, most_minor: int) -> bool:
    """Return whether one person may set a debt limit who has raised others today by so much."""
    raised = wanted_minor - wallet.debt_limit_minor
    return raised <= 0 or raised + raised_today_minor <= most_minor


def changed(
    wallet: Wallet, wanted_minor: int, by: Who, asked: DebtLimitRequest | None = None
) -> AdminChange:
    """Tell the book of another debt limit, and who had asked for it if that took two."""
    after: dict[str, object] = {"debt_limit_minor": wanted_minor}
    if asked is not None:
        after["asked_with_key"] = asked.requested_by.key_id
    return AdminChange(
        by,
        AdminAction.DEBT_LIMIT_CHANGED,
        wallet.org_id,
        wallet.org_id,
        {"debt_limit_minor": wallet.debt_limit_minor},
        after,
    )


def asked_for(wallet: Wallet, wanted_minor: int, by: Who) -> AdminChange:
    """Tell the book of a raise that takes a second person."""
    return AdminChange(
        by,
        AdminAction.DEBT_LIMIT_ASKED,
        wallet.org_id,
        wallet.org_id,
        {"debt_limit_minor": wallet.debt_limit_minor},
        {"debt_limit_minor": wanted_minor},
    )
