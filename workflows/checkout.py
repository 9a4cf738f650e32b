"""A top-up at Stripe's checkout page: one session, however often it is asked for."""

from dataclasses import replace

from temporalio import workflow
from temporalio.common import SearchAttributePair, TypedSearchAttributes, WorkflowIDReusePolicy

from activities.payments.stripe_checkout import SessionOrder, StripeCheckout
from activities.payments.stripe_customers import StripeCustomers
from activities.temporal.search_attributes import AMOUNT_MINOR, ORG_ID, RUNNING, BillingState
from billing.inbox.webhook_event import PaymentHint
from billing.payments.checkout import CheckoutSession, CheckoutStatus, NewCheckout, look_after
from workflows.settle_payment import look_again_at
from workflows.shared.options import BILLING_QUEUE, PROVIDER, StartOptions
from workflows.shared.parking import Parking

WORKFLOW_PREFIX = "checkout/"


@workflow.defn
class Checkout(Parking):
    """Lives until its session is paid, expired or failed; what it is not told, it looks up."""

    def __init__(self) -> None:
        super().__init__()
        self._session: CheckoutSession | None = None
        self._looks = 0

    @workflow.update(description="Answers with the session, as Stripe has it now.")
    async def join(self) -> CheckoutSession | None:
        """Answer when it was opened or looked at, or when that has failed for now.

        Then it is as Stripe had it last, and None if Stripe has not opened it yet.
        """
        looks, answers = self._looks, self.answers
        if self._session is not None or self.is_parked:
            self.wake()
        await workflow.wait_condition(
            lambda: self._looks > looks or self.answers > answers or self._is_over
        )
        return self._session

    @workflow.signal(description="A Stripe event about this session has arrived.")
    def look_again(self, event_key: str) -> None:
        """Look (again) at how far the session is."""
        workflow.logger.info("heard of %s", event_key)
        self.wake()

    @workflow.run
    async def run(self, wanted: NewCheckout) -> CheckoutSession | None:
        """Open the session, look at it until it is over, and have a payment settled."""
        self.found_owner(wanted.org_id)
        session = await self.until_settled(lambda: self._opened(wanted))
        while session is not None and not session.is_over:
            await self._begin_anew_if_long(replace(wanted, session=session))
            session = await self._look_later(session)
        if session is not None and session.status is CheckoutStatus.PAID and session.payment_id:
            await look_again_at(PaymentHint(session.payment_id, workflow.info().workflow_id))
        state = BillingState.DISCARDED if session is None else BillingState.SETTLED
        await self.close(state, wanted.org_id, wanted.amount)
        return session

    @property
    def _is_over(self) -> bool:
        return self.is_done or (self._session is not None and self._session.is_over)

    async def _opened(self, wanted: NewCheckout) -> CheckoutSession:
        """Open the session, unless it is open; then look at once, for what was heard meanwhile."""
        if wanted.session is None:
            return await self._open(wanted)
        self.wake()
        return self._seen(wanted.session)

    async def _open(self, wanted: NewCheckout) -> CheckoutSession:
        """Open the session. Its key is kept in the history before it is used, and at every try."""
        customer_id = await workflow.execute_activity_method(
            StripeCustomers.customer_of, wanted.org_id, summary="find or make it", **PROVIDER
        )
        info = workflow.info()
        key = f"checkout:{info.first_execution_run_id}"
        opened = await workflow.execute_activity_method(
            StripeCheckout.open_session,
            SessionOrder(wanted, customer_id, info.workflow_id, key),
            summary=f"{wanted.amount}",
            **PROVIDER,
        )
        return self._seen(opened)

    async def _look_later(self, session: CheckoutSession) -> CheckoutSession | None:
        """Wait until it is asked for, told of, or must have expired; then look at Stripe."""
        try:
            await workflow.wait_condition(
                lambda: self.is_awake or self.is_discarded,
                timeout=look_after(session, workflow.now()),
                timeout_summary=f"{session.status}; then it is looked up",
            )
        except TimeoutError:
            workflow.logger.info("nothing was heard of %s", session.session_id)
        if self.is_discarded:
            return None
        return await self.until_settled(lambda: self._look(session.session_id))

    async def _begin_anew_if_long(self, wanted: NewCheckout) -> None:
        """A history has room for 2,000 updates; whoever asks a hundred times an hour gets there."""
        if await self.may_begin_anew():
            workflow.continue_as_new(wanted)

    async def _look(self, session_id: str) -> CheckoutSession:
        return self._seen(
            await workflow.execute_activity_method(
                StripeCheckout.read_session, session_id, summary="how far it is", **PROVIDER
            )
        )

    def _seen(self, session: CheckoutSession) -> CheckoutSession:
        self.go_on()
        self._session = session
        self._looks += 1
        workflow.set_current_details(
            f"## {session.status.capitalize()}\n{session.amount}, session `{session.session_id}`,"
            f" payment `{session.payment_id or '-'}`, until {session.expires_at:%Y-%m-%d %H:%M} UTC"
        )
        return session


def checkout_workflow_id(wanted: NewCheckout) -> str:
    """Name the workflow of a top-up: by organisation, amount, and what becomes of the card.

    The pages to return to are not part of it: they often hold something that differs with each
    click, and two sessions could both be paid.
    """
    saved = "/save-card" if wanted.save_card else ""
    return f"{WORKFLOW_PREFIX}{wanted.org_id}/{wanted.amount.amount_minor}{saved}"


def start_options(wanted: NewCheckout) -> StartOptions:
    """Return how a checkout is started: anew when the last one is over, but one at a time."""
    return StartOptions(
        id=checkout_workflow_id(wanted),
        task_queue=BILLING_QUEUE,
        id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        static_summary=f"Top up {wanted.org_id[:120]} by {wanted.amount}",
        search_attributes=TypedSearchAttributes(
            [
                *RUNNING,
                SearchAttributePair(ORG_ID, wanted.org_id),
                SearchAttributePair(AMOUNT_MINOR, wanted.amount.amount_minor),
            ]
        ),
    )
