"""Run the whole system on one machine: start it in order, keep it running, stop it together."""

import json
import os
import shlex
import time
from collections.abc import Collection, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Protocol, Self

import httpx

from devstack import lock, programs
from devstack.credentials import Credentials
from devstack.errors import AlreadyRunning, StackError
from devstack.files import write_private
from devstack.ports import HOST, Ports, on_free_ports
from devstack.postgres import EmbeddedPostgres
from devstack.process import Note, Service, run, silent, together
from devstack.temporal import EmbeddedTemporal

_LISTENERS = ("api", "worker_metrics", *programs.STAND_INS)
PARTS = ("postgres", "temporal", "providers", "worker", "api")
SETUP_SECONDS = 90.0
# The start does not wait longer for a worker to poll: it may only be slow.
WORKER_SECONDS = 25.0


class Part(Protocol):
    """What the stack needs from each of its processes."""

    @property
    def pid(self) -> int | None:
        """The pid, or None while it does not run."""

    async def start(self) -> None:
        """Start it and wait until it is ready."""

    async def stop(self) -> None:
        """Stop it; do nothing if it does not run."""


class Stack:
    """PostgreSQL, Temporal, stand-in providers, API and worker over one state directory.

    `ports` fixes any of postgres, temporal, temporal_ui, stripe, vapi, slack, twilio,
    worker_metrics and api. `parts` names what to start, for tests that do not need everything.
    `rules` are settings beside those of the parts, as environment variables.
    `on_step(part, detail)` is called at every start, death and restart.
    """

    def __init__(
        self,
        state: Path,
        *,
        parts: Collection[str] = PARTS,
        ports: Mapping[str, int] | None = None,
        rules: Mapping[str, str] | None = None,
        on_step: Note = silent,
    ) -> None:
        fixed = ports or {}
        self._rules = dict(rules or {})
        self.state = state.resolve()
        self._names = [name for name in PARTS if name in parts]
        self._on_step = on_step
        own = {name: fixed.get(name) for name in _LISTENERS}
        self._ports = Ports(self.state / "ports.json", own)
        self._credentials = Credentials(self.state / "secrets.json")
        self._http = httpx.AsyncClient(trust_env=False, timeout=2.0)
        self._began = 0.0
        self._lock: tuple[int, ...] = ()
        self.postgres = EmbeddedPostgres(self.state, fixed.get("postgres"), self._note)
        self.temporal = EmbeddedTemporal(
            self.state, fixed.get("temporal"), fixed.get("temporal_ui"), self._note
        )
        self._parts: dict[str, Part] = {
            "postgres": self.postgres,
            "temporal": self.temporal,
            **self._services(),
        }

    async def __aenter__(self) -> Self:
        """Start everything.

        Raise AlreadyRunning if another process serves the state, PortTaken if a fixed port is in
        use, and StackError if a part does not start. Then nothing is left running.
        """
        self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = self._lock_state()
        async with AsyncExitStack() as undo:
            undo.push_async_callback(self._close)
            self._began = time.monotonic()
            await on_free_ports(self._ports, self._start)
            undo.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._close()

    @property
    def api_url(self) -> str:
        """The URL of the API. Like the other URLs it is known once the stack has started."""
        return programs.base_url(self._ports, "api")

    @property
    def stripe_url(self) -> str:
        """The URL of Stripe's stand-in."""
        return programs.base_url(self._ports, "stripe")

    @property
    def vapi_url(self) -> str:
        """The URL of Vapi's stand-in."""
        return programs.base_url(self._ports, "vapi")

    @property
    def slack_url(self) -> str:
        """The URL of Slack's stand-in."""
        return programs.base_url(self._ports, "slack")

    @property
    def twilio_url(self) -> str:
        """The URL of Twilio's stand-in."""
        return programs.base_url(self._ports, "twilio")

    @property
    def worker_metrics_url(self) -> str:
        """The URL at which Prometheus reads the worker's metrics."""
        return programs.base_url(self._ports, "worker_metrics") + "/metrics"

    @property
    def operator_key(self) -> str:
        """The operator's API key; empty if the API is not among the parts."""
        return self._credentials.operator()

    def pids(self) -> dict[str, int]:
        """Return the pid of each part that runs."""
        found = {name: self._parts[name].pid for name in self._names}
        return {name: pid for name, pid in found.items() if pid is not None}

    def settings(self) -> dict[str, str]:
        """Return the settings of the parts that run, as environment variables."""
        found: dict[str, str] = {}
        if "postgres" in self._names:
            found["DATABASE_URL"] = self.postgres.service_url()
        if "temporal" in self._names:
            found["TEMPORAL_ADDRESS"] = self.temporal.address
            found["TEMPORAL_NAMESPACE"] = programs.NAMESPACE
            found["TEMPORAL_UI_URL"] = self.temporal.ui_url
            # The user's own Temporal profiles (an API key, TLS) are for other servers.
            found["TEMPORAL_CONFIG_FILE"] = os.devnull
        if "providers" in self._names:
            found |= programs.provider_settings(self._ports) | self._credentials.providers()
        if "api" in self._names:
            found |= {"API_HOST": HOST, "API_PORT": str(self._ports["api"])}
        return found | self._rules

    def owner_settings(self) -> dict[str, str]:
        """Return what `callwallet setup` needs beside, which nothing else is told."""
        return {**self.settings(), "DATABASE_OWNER_URL": self.postgres.url()}

    def _services(self) -> dict[str, Service]:
        """Return our own processes. Each reads its ports and settings when it starts."""
        listeners = programs.STAND_INS
        return {
            "providers": Service(
                lambda: programs.providers(self.state, self._ports, self._credentials.providers()),
                lambda _: programs.all_listen([self._ports[name] for name in listeners]),
                self._note,
            ),
            "api": Service(
                lambda: programs.api(self.state, self._ports["api"], self.settings()),
                lambda _: self._api_answers(),
                self._note,
            ),
            "worker": Service(
                lambda: programs.worker(self.state, self.settings(), self._ports["worker_metrics"]),
                lambda _: self._worker_polls(),
                self._note,
            ),
        }

    async def _start(self) -> None:
        async with AsyncExitStack() as undo:
            undo.push_async_callback(self._stop)
            for name in _LISTENERS:
                self._ports.take(name)
            self._name_holder()
            await together(self._start_parts("providers"), self._start_books())
            await together(self._start_parts("api", "worker"), self._ensure_operator_key())
            self._write_env()
            self._write_pids()
            undo.pop_all()

    async def _start_parts(self, *names: str) -> None:
        await together(*(self._start_part(name) for name in names if name in self._names))

    async def _start_part(self, name: str) -> None:
        self._note(name, "starting")
        await self._parts[name].start()
        seconds = time.monotonic() - self._began
        self._note(name, f"ready, pid {self._parts[name].pid}, after {seconds:.1f} s")

    async def _start_books(self) -> None:
        """Start PostgreSQL and Temporal, and set up their schema, namespace and schedules."""
        await self._start_parts("postgres", "temporal")
        if "api" in self._names:
            self._note("setup", "starting")
            setup = programs.command(self.state, self.owner_settings(), *programs.SETUP)
            await run(setup, SETUP_SECONDS)
            self._note("setup", f"done after {time.monotonic() - self._began:.1f} s")

    async def _ensure_operator_key(self) -> None:
        """Make the operator's key at the first start, and keep it: it is printed only once."""
        if "api" not in self._names or self.operator_key:
            return
        arguments = ("keys", "create", "--operator", "--label", "up")
        command = programs.command(self.state, self.settings(), *arguments)
        printed = (await run(command, SETUP_SECONDS)).split()
        if not printed:
            raise StackError("`callwallet keys create` printed no key")
        self._credentials.keep_operator(printed[-1])

    async def _api_answers(self) -> bool:
        return await programs.health(self._http, self.api_url) is not None

    async def _worker_polls(self) -> bool:
        """Return whether the API sees the worker; true without an API, or after a long wait."""
        if "api" not in self._names or time.monotonic() - self._began > WORKER_SECONDS:
            return True
        services = await programs.health(self._http, self.api_url)
        return services is not None and services.get("worker") == "ok"

    async def _close(self) -> None:
        await self._stop()
        await self._http.aclose()
        self._ports.close()
        lock.release(self._lock)
        self._lock = ()

    async def _stop(self) -> None:
        """Stop clients before their servers: API, worker, stand-ins, Temporal, PostgreSQL."""
        for name in reversed(self._names):
            if self._parts[name].pid:
                self._note(name, "stopping")
            await self._parts[name].stop()

    def _lock_state(self) -> tuple[int, ...]:
        file = self.state / "lock"
        if held := lock.hold(file):
            return held
        raise AlreadyRunning(self.state, file.read_text() or "another process")

    def _name_holder(self) -> None:
        """Write into the lock file who holds it, for the error of a second process."""
        address = self.api_url if "api" in self._names else "no API"
        holder = f"process {os.getpid()} ({address})"
        (self.state / "lock").write_text(holder)

    def _write_env(self) -> None:
        """Write the settings to a file that a shell can read: `set -a; . STATE/env`."""
        values = self.owner_settings() if "postgres" in self._names else self.settings()
        if "api" in self._names:
            values |= {"API_URL": self.api_url, "OPERATOR_API_KEY": self.operator_key}
        if "worker" in self._names:
            values |= {"WORKER_METRICS_URL": self.worker_metrics_url}
        lines = (f"{name}={shlex.quote(value)}\n" for name, value in sorted(values.items()))
        write_private(self.state / "env", "".join(lines))

    def _write_pids(self) -> None:
        write_private(self.state / "pids.json", json.dumps(self.pids(), indent=1))

    def _note(self, name: str, detail: str) -> None:
        """Write to the log and call `on_step`. Write the pids too: a restart changes them."""
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        log = programs.log(self.state, "up")
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as file:
            file.write(f"{now} {name}: {detail}\n")
        self._write_pids()
        self._on_step(name, detail)
