"""Run a real Temporal server, from its wheel, on a file and as a child of this process."""

import signal
import sysconfig
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Self

from temporalio.service import ConnectConfig, RPCError, ServiceClient

from devstack import lock
from devstack.ports import HOST, Ports, on_free_ports
from devstack.process import Note, Program, Service, silent

# Write-ahead logging doubles the throughput, and what was committed survives the process.
PRAGMAS = ("journal_mode=WAL", "synchronous=1")
# Frequent polling keeps latency low. One partition keeps order, and fairness between organisations.
# A bug in a workflow shows in the UI after two failures instead of five.
DYNAMIC_CONFIG = (
    "history.transferProcessorMaxPollRPS=2000",
    "history.timerProcessorMaxPollRPS=2000",
    'history.timerProcessorMaxTimeShift="10ms"',
    "matching.numTaskqueueReadPartitions=1",
    "matching.numTaskqueueWritePartitions=1",
    "matching.enableFairness=true",
    "system.numConsecutiveWorkflowTaskProblemsToTriggerSearchAttribute=2",
)


class EmbeddedTemporal:
    """Temporal with its UI over `directory`/temporal, which is started again whenever it dies.

    It has the `default` namespace only. `callwallet setup` makes the one that we use.
    """

    def __init__(
        self,
        directory: Path,
        port: int | None = None,
        ui_port: int | None = None,
        note: Note = silent,
    ) -> None:
        self._home = directory / "temporal"
        self._log = directory / "logs" / "temporal.log"
        explicit = {"temporal": port, "temporal_ui": ui_port}
        self._ports = Ports(directory / "ports.json", explicit)
        self._service = Service(self._server, self._is_ready, note)
        self._lock: tuple[int, ...] = ()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def address(self) -> str:
        """host:port of its gRPC frontend, known after `start`."""
        return f"{HOST}:{self._ports['temporal']}"

    @property
    def ui_url(self) -> str:
        """The URL of its web UI, known after `start`."""
        return f"http://{HOST}:{self._ports['temporal_ui']}"

    @property
    def pid(self) -> int | None:
        """The pid of the server, or None while it does not run."""
        return self._service.pid

    async def start(self) -> None:
        """Start it and wait until it is healthy.

        Raise AlreadyRunning if another process serves the directory: two servers on one file break
        each other's locks.
        """
        async with AsyncExitStack() as undo:
            undo.push_async_callback(self.stop)
            self._home.mkdir(parents=True, exist_ok=True)
            self._lock = await lock.hold_after_orphans(self._home / "lock")
            await on_free_ports(self._ports, self._service.start)
            undo.pop_all()

    async def stop(self) -> None:
        """Shut it down. Workflows go on after the next start."""
        await self._service.stop()
        self._ports.close()
        lock.release(self._lock)
        self._lock = ()

    def _server(self) -> Program:
        port, ui_port = self._ports.take("temporal"), self._ports.take("temporal_ui")
        command = (
            *(str(Path(sysconfig.get_path("scripts")) / "temporal"), "server", "start-dev"),
            *("--db-filename", str(self._home / "temporal.db")),
            *("--ip", HOST, "--port", str(port), "--ui-port", str(ui_port)),
            *("--log-level", "error", "--ui-disable-news-fetch"),
            *(part for pragma in PRAGMAS for part in ("--sqlite-pragma", pragma)),
            *(part for pair in DYNAMIC_CONFIG for part in ("--dynamic-config-value", pair)),
        )
        return Program(
            "temporal",
            command,
            self._log,
            env={"GOGC": "400"},
            ports=(port, ui_port),
            stop_signal=signal.SIGINT,
            stop_seconds=3.0,
            inherits=self._lock,
        )

    async def _is_ready(self, _pid: int) -> bool:
        """Return whether the frontend reports over gRPC that it is healthy."""
        client = await ServiceClient.connect(ConnectConfig(target_host=self.address, lazy=True))
        try:
            return await client.check_health(timeout=timedelta(seconds=1))
        except (RPCError, RuntimeError):
            return False
