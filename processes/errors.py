"""Errors that asking Temporal can raise."""

from temporalio.service import RPCError

from billing.errors import BillingError

# What Temporal's client raises when it cannot reach the server. A client that connects lazily
# raises RuntimeError.
TEMPORAL_GONE = (RPCError, RuntimeError)


class TemporalUnavailable(BillingError):
    """Temporal or its worker does not answer; `detail` says what was done, and what to do."""

    code = "temporal_unavailable"
    status = 503
    title = "Temporal or its worker is away"


class AnswerIsLate(TemporalUnavailable):
    """A process has not answered in time. It may still do what it was asked for."""
