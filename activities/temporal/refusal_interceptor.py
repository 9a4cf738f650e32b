"""Turn a refusal into a failure under its stable code; Temporal retries none but one."""

from typing import Any

from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from billing.errors import BillingError, MissingAtProvider


class RefusalInterceptor(Interceptor):
    """Turns BillingError into an ApplicationError whose type is the error's code.

    None is retried but what a provider does not know yet (`MissingAtProvider`).
    """

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        """Wrap every activity."""
        return _Refusals(next)


class _Refusals(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002
        try:
            return await super().execute_activity(input)
        except BillingError as refusal:
            is_final = not isinstance(refusal, MissingAtProvider)
            activity.logger.info("refused as %s: %s", refusal.code, refusal)
            # An answer, and no failure: the SDK logs no traceback of it.
            raise ApplicationError(
                str(refusal),
                type=refusal.code,
                non_retryable=is_final,
                category=ApplicationErrorCategory.BENIGN,
            ) from refusal
