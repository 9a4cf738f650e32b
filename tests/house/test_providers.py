"""What every provider has: a stand-in, so that nothing offline asks the real one, and a webhook."""

from urllib.parse import urlsplit

from billing.inbox.webhook_event import Source
from devstack import programs
from settings import WorkerSettings
from tests.house.test_documents import paths


def test_every_provider_is_asked_at_its_stand_in(settings: WorkerSettings) -> None:
    addresses = {
        name: str(getattr(settings, name))
        for name in WorkerSettings.model_fields
        if name.endswith("_api_base")
    }
    assert len(addresses) > 1
    outside = {name for name, url in addresses.items() if urlsplit(url).hostname != "127.0.0.1"}
    assert outside == set()
    assert {name.removesuffix("_api_base") for name in addresses} <= set(programs.STAND_INS)


def test_every_sender_of_webhooks_has_its_address() -> None:
    senders = {path.split("/")[2] for path in paths() if path.startswith("/webhooks/")}
    assert senders == set(Source)
