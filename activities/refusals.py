"""A refusal crosses into Temporal as a failure that is never retried, under its stable code."""

from typing import Any

from temporalio.exceptions import ApplicationError
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    Interceptor,
)

from billing.errors import BillingError


class RefusalInterceptor(Interceptor):
    """Turns BillingError into a non-retryable ApplicationError whose type is the error's code."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        """Wrap every activity."""
        return _Refusals(next)


class _Refusals(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002
        try:
            return await super().execute_activity(input)
        except BillingError as refusal:
            raise ApplicationError(str(refusal), type=refusal.code, non_retryable=True) from refusal
