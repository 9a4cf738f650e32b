"""Temporal behind TLS that wants a certificate of ours, and with an API key, as in its cloud."""

import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme
from temporalio.client import Client
from temporalio.service import ConnectConfig, RPCError

from settings import Settings
from tests.support.tcp_proxy import proxy_before
from wiring import connect_temporal


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an authority's certificate, and a certificate and key of a client."""
    folder, authority = tmp_path_factory.mktemp("certificates"), trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(
        folder / "server.pem"
    )
    client = authority.issue_cert("callwallet@example.com")
    client.cert_chain_pems[0].write_to_path(folder / "client.pem")
    client.private_key_pem.write_to_path(folder / "client.key")
    return folder


@pytest.fixture
async def guarded(settings: Settings, certificates: Path) -> AsyncIterator[Settings]:
    """Settings of a Temporal that lets in whoever has a certificate of the authority."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=certificates / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(certificates / "server.pem")
    context.set_alpn_protocols(["h2"])
    host, _, port = settings.temporal_address.rpartition(":")
    async with proxy_before(host, int(port), context) as proxy:
        yield settings.model_copy(update={"temporal_address": f"localhost:{proxy.port}"})


def present(monkeypatch: pytest.MonkeyPatch, certificates: Path, *, client: bool) -> None:
    monkeypatch.setenv("TEMPORAL_TLS_SERVER_CA_CERT_PATH", str(certificates / "ca.pem"))
    if client:
        monkeypatch.setenv("TEMPORAL_TLS_CLIENT_CERT_PATH", str(certificates / "client.pem"))
        monkeypatch.setenv("TEMPORAL_TLS_CLIENT_KEY_PATH", str(certificates / "client.key"))


@pytest.mark.usefixtures("temporal")
async def test_a_client_certificate_opens_a_temporal_that_wants_one(
    guarded: Settings, certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    present(monkeypatch, certificates, client=True)
    assert (await (await connect_temporal(guarded)).count_workflows("")).count >= 0


@pytest.mark.usefixtures("temporal")
@pytest.mark.parametrize("with_authority", [True, False])
async def test_without_a_certificate_it_stays_closed(
    guarded: Settings, certificates: Path, monkeypatch: pytest.MonkeyPatch, *, with_authority: bool
) -> None:
    """Whether the client knows the authority, or speaks no TLS at all."""
    if with_authority:
        present(monkeypatch, certificates, client=False)
    client = await connect_temporal(guarded, lazy=True)
    with pytest.raises((RPCError, RuntimeError)):
        await client.count_workflows("")


async def test_an_api_key_is_shown_over_tls_only(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """From a file, too: of its own environment Temporal reads it from the variable alone."""
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", "/dev/null")
    key = tmp_path / "key"
    key.write_text("a-key-of-temporal-cloud\n")
    monkeypatch.setenv("DATABASE_URL", settings.database_url)
    for name, value in (("TEMPORAL_API_KEY_FILE", str(key)), ("TEMPORAL_API_KEY", key.read_text())):
        with monkeypatch.context() as patch:
            patch.setenv(name, value.strip())
            connection = connection_of(await connect_temporal(Settings(), lazy=True))
        assert (connection.api_key, bool(connection.tls)) == ("a-key-of-temporal-cloud", True)
    with monkeypatch.context() as patch:
        patch.setenv("TEMPORAL_API_KEY", "")
        connection = connection_of(await connect_temporal(Settings(), lazy=True))
    assert (connection.api_key, connection.tls) == (None, None)


def connection_of(client: Client) -> ConnectConfig:
    return client.service_client.config
