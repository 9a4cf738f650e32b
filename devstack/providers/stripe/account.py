"""The Stripe account as one request sees it: its objects, its lists, and the events it makes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from devstack.providers.clock import Clock
from devstack.providers.delivery import Courier
from devstack.providers.storage import Filter, JsonObject, Row, Storage
from devstack.providers.stripe import objects
from devstack.providers.stripe.errors import invalid_request, no_such
from devstack.providers.stripe.params import Params

_OWNER_FIELD = {
    "charge": "payment_intent",
    "checkout.session": "customer",
    "dispute": "payment_intent",
    "payment_intent": "customer",
    "payment_method": "customer",
    "refund": "payment_intent",
}
_COMPARISONS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_LARGEST_PAGE = 100


@dataclass(frozen=True)
class Account:
    """The account as one request sees it. Everything it saves belongs to one transaction."""

    storage: Storage
    clock: Clock
    courier: Courier
    base_url: str = ""
    request_id: str | None = None
    idempotency_key: str | None = None

    def find(self, kind: str, object_id: str) -> JsonObject | None:
        """Read an object; return None if there is none."""
        return self.storage.get(kind, object_id)

    def in_path(self, kind: str, object_id: str) -> JsonObject:
        """Read the object that the path names. Raise the StripeError of a 404."""
        return self._get(kind, object_id, "id" if kind == "event" else _short(kind), 404)

    def in_param(self, kind: str, object_id: str, param: str) -> JsonObject:
        """Read the object that a parameter names. Raise the StripeError of a 400."""
        return self._get(kind, object_id, param, 400)

    def save(self, item: JsonObject) -> JsonObject:
        """Store an object under its own `object` and `id`; return it."""
        kind = item["object"]
        owner = item.get(_OWNER_FIELD.get(kind, ""))
        created = item["created"] * 1000
        updated = self.clock.milliseconds()
        self.storage.save(
            Row(kind=kind, id=item["id"], owner=owner, created=created, updated=updated, data=item)
        )
        return item

    def emit(self, event_type: str, item: JsonObject) -> None:
        """Make the event of a change, and post its webhook."""
        event = objects.new(
            "event",
            self.clock.seconds(),
            api_version=objects.API_VERSION,
            data={"object": item},
            pending_webhooks=1 if self.courier.policy.url else 0,
            request={"id": self.request_id, "idempotency_key": self.idempotency_key},
            type=event_type,
        )
        self.save(event)
        self.courier.post(event["id"], event_type, event)

    def page(
        self,
        kind: str,
        url: str,
        params: Params,
        *,
        owner: str | None = None,
        where: Mapping[str, str | Sequence[str]] | None = None,
    ) -> JsonObject:
        """List objects newest first, with Stripe's cursors (`starting_after`, `ending_before`)."""
        limit = params.get("limit", 10)
        if not 1 <= limit <= _LARGEST_PAGE:
            raise invalid_request(f"Invalid limit: must be 1 to {_LARGEST_PAGE}", param="limit")
        for cursor in ("starting_after", "ending_before"):
            if cursor in params:
                self.in_param(kind, params[cursor], cursor)
        wanted = Filter(
            kind,
            owner=owner,
            where=where or {},
            bounds=_bounds(params.get("created", {})),
            after=params.get("starting_after"),
            before=params.get("ending_before"),
        )
        found = self.storage.select(wanted, limit + 1)
        surplus = len(found) > limit
        data = (found[-limit:] if wanted.before else found[:limit]) if surplus else found
        return {"object": "list", "data": data, "has_more": surplus, "url": url}

    def _get(self, kind: str, object_id: str, param: str, status: int) -> JsonObject:
        item = self.storage.get(kind, object_id)
        if item is None:
            raise no_such(kind, object_id, param, status=status)
        return item


def _short(kind: str) -> str:
    """Return the path parameter's name in Stripe's errors: `intent`, `session`, `customer`."""
    return kind.rpartition(".")[2].removeprefix("payment_")


def _bounds(created: int | dict[str, Any]) -> list[tuple[str, str, int]]:
    if isinstance(created, int):
        created = {"gte": created, "lte": created}
    return [("created", _COMPARISONS[name], value * 1000) for name, value in created.items()]
