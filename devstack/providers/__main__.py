"""Run all stand-ins in one process, each on its own port of 127.0.0.1.

Secrets come from the environment, because arguments show in `ps`: STRIPE_WEBHOOK_SECRET and
VAPI_WEBHOOK_SECRET sign, STRIPE_API_KEY and VAPI_API_KEY are the only keys taken (any, if unset).
TWILIO_AUTH_TOKENS are accounts with their tokens: `AC…:token,AC…:token`.
When all ports serve, one line of JSON with their addresses is written to standard output.
"""

import argparse
import asyncio
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.applications import Starlette

from devstack.providers.clock import Clock
from devstack.providers.faults import ResettableProtocol
from devstack.providers.slack import create_slack
from devstack.providers.storage import Storage
from devstack.providers.stripe.app import create_stripe
from devstack.providers.twilio.app import create_twilio
from devstack.providers.twilio.messages import ACCOUNT_SID
from devstack.providers.vapi.app import create_vapi

_HOST = "127.0.0.1"
_NAMES = ("stripe", "vapi", "slack", "twilio")
# Longer than clients keep connections, so that none breaks unless a fault breaks it.
_KEEP_ALIVE_SECONDS = 75


class _Server(uvicorn.Server):
    """A server that leaves signals to the process that it shares, and sets `up` when it serves."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    logging.basicConfig(level=logging.WARNING)
    asyncio.run(_serve(_arguments()))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m devstack.providers", description=__doc__)
    parser.add_argument("--state", required=True, help="SQLite file that keeps everything")
    for name in _NAMES:
        parser.add_argument(f"--{name}-port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--stripe-webhook-url")
    parser.add_argument("--vapi-webhook-url")
    parser.add_argument("--twilio-webhook-url")
    parser.add_argument("--vapi-auth", choices=("bearer", "secret", "hmac"), default="bearer")
    return parser.parse_args()


async def _serve(arguments: argparse.Namespace) -> None:
    ports = {name: getattr(arguments, f"{name}_port") for name in _NAMES}
    sockets = {name: _listen(port) for name, port in ports.items()}
    urls = {name: f"http://{_HOST}:{open_.getsockname()[1]}" for name, open_ in sockets.items()}
    storage = Storage(arguments.state)
    apps = _apps(arguments, storage, urls["stripe"])
    servers = {name: _server(app) for name, app in apps.items()}
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _stop, list(servers.values()))
    serving = [server.serve([sockets[name]]) for name, server in servers.items()]
    await asyncio.gather(_announce(list(servers.values()), urls), *serving)
    storage.close()


def _apps(arguments: argparse.Namespace, storage: Storage, stripe_url: str) -> dict[str, Starlette]:
    clock = Clock(storage)
    return {
        "stripe": create_stripe(
            storage,
            clock,
            api_key=os.environ.get("STRIPE_API_KEY"),
            webhook_url=arguments.stripe_webhook_url,
            webhook_secret=os.environ.get("STRIPE_WEBHOOK_SECRET", "whsec_stand_in"),
            base_url=stripe_url,
        ),
        "vapi": create_vapi(
            storage,
            clock,
            api_key=os.environ.get("VAPI_API_KEY"),
            webhook_url=arguments.vapi_webhook_url,
            webhook_secret=os.environ.get("VAPI_WEBHOOK_SECRET", "vapi_stand_in"),
            auth=arguments.vapi_auth,
        ),
        "slack": create_slack(storage, clock),
        "twilio": create_twilio(
            storage,
            clock,
            tokens=_tokens(os.environ.get("TWILIO_AUTH_TOKENS", f"{ACCOUNT_SID}:stand_in")),
            webhook_url=arguments.twilio_webhook_url,
        ),
    }


def _tokens(written: str) -> dict[str, str]:
    """Return the token of each account: of several the first, which is the one that stays."""
    pairs = [pair.strip().partition(":") for pair in written.split(",")]
    return {account: token for account, _, token in reversed(pairs)}


def _server(app: Starlette) -> _Server:
    return _Server(
        uvicorn.Config(
            app,
            http=ResettableProtocol,
            access_log=False,
            log_config=None,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=1,
        )
    )


def _listen(port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((_HOST, port))
    return listening


async def _announce(servers: list[_Server], urls: dict[str, str]) -> None:
    await asyncio.gather(*(server.up.wait() for server in servers))
    sys.stdout.write(json.dumps(urls) + "\n")
    sys.stdout.flush()


def _stop(servers: list[_Server]) -> None:
    for server in servers:
        server.should_exit = True


if __name__ == "__main__":
    main()
