"""The search attributes by which operators find work. Nothing personal is ever in them."""

from enum import StrEnum

from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes

ORG_ID = SearchAttributeKey.for_keyword("OrgId")
BILLING_STATE = SearchAttributeKey.for_keyword("BillingState")
PARK_REASON = SearchAttributeKey.for_keyword("ParkReason")
PARKED_SINCE = SearchAttributeKey.for_datetime("ParkedSince")
AMOUNT_MINOR = SearchAttributeKey.for_int("AmountMinor")

KEYS = (ORG_ID, BILLING_STATE, PARK_REASON, PARKED_SINCE, AMOUNT_MINOR)


class BillingState(StrEnum):
    """Where a process about money stands."""

    RUNNING = "running"
    PARKED = "parked"
    SETTLED = "settled"
    DISCARDED = "discarded"


RUNNING = TypedSearchAttributes([SearchAttributePair(BILLING_STATE, BillingState.RUNNING)])
