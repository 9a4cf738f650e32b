"""The saved card of a customer at Stripe: which is charged next, and which is the default there."""

from sqlalchemy.ext.asyncio import AsyncEngine
from stripe import Customer, PaymentMethod, StripeClient
from stripe.params import CustomerUpdateParamsInvoiceSettings
from temporalio import activity

from activities.payments.stripe_answers import LARGEST_PAGE, asking_stripe, id_of
from activities.payments.stripe_customers import is_deleted
from billing.recharges.attempt import Card, SavedCard
from store.payments import customers, saved_cards


class SavedCards:
    """The activity that looks for the card to charge. No transaction is open while Stripe is asked.

    It keeps which card that is, for the nightly comparison.
    """

    def __init__(self, engine: AsyncEngine, client: StripeClient) -> None:
        self._engine = engine
        self._client = client

    @activity.defn
    async def find_card(self, org_id: str) -> SavedCard:
        """Return the card to charge: the one that a payment has saved since the last look.

        It becomes the customer's default. Without one it is the default, or the one saved last.
        """
        async with self._engine.connect() as connection:
            customer_id = await customers.customer_of(connection, org_id)
            kept = await saved_cards.of(connection, org_id)
        if customer_id is None:
            return SavedCard(None)
        with asking_stripe():
            customer = await self._client.v1.customers.retrieve_async(customer_id)
            wanted = kept.wanted if kept else None
            card = await card_of(self._client, customer, wanted)
        async with self._engine.begin() as connection:
            await saved_cards.seen(connection, org_id, customer_id, card, kept)
        return SavedCard(card)


async def card_of(client: StripeClient, customer: Customer, wanted: str | None) -> Card | None:
    """Read which card of a customer is charged; make `wanted` the default first, if it is theirs.

    Checkout saves a card and leaves the default as it was, so a new card would never be charged
    (docs.stripe.com/payments/save-during-payment). To set a default twice is to set it once, so
    that takes no idempotency key, which could only replay a failure.
    """
    if is_deleted(customer):
        return None
    settings = customer.invoice_settings
    default = id_of(settings.default_payment_method) if settings else None
    saved = await client.v1.customers.payment_methods.list_async(
        customer.id, {"type": "card", "limit": LARGEST_PAGE}
    )
    if wanted is not None and any(one.id == wanted for one in saved.data):
        becomes: CustomerUpdateParamsInvoiceSettings = {"default_payment_method": wanted}
        await client.v1.customers.update_async(customer.id, {"invoice_settings": becomes})
        default = wanted
    return _chosen(customer.id, [one for one in saved.data if one.card is not None], default)


def _chosen(customer_id: str, cards: list[PaymentMethod], default: str | None) -> Card | None:
    chosen = next((one for one in cards if one.id == default), cards[0] if cards else None)
    if chosen is None or chosen.card is None:
        return None
    return Card(customer_id, chosen.id, chosen.card.fingerprint or chosen.id)
