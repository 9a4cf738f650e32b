"""Logging, of libraries too: lines for people, or JSON for machines; an event is one line."""

import json
import logging
import sys
import threading
from datetime import UTC, datetime
from types import TracebackType
from typing import NoReturn

import structlog
from structlog.typing import EventDict, WrappedLogger
from temporalio.runtime import LogForwardingConfig, LoggingConfig, TelemetryFilter

from billing.text import visible

_log = logging.getLogger("callwallet")


def set_up(level: str, *, as_json: bool) -> None:
    """Set up logging of this process. `level` is for our own lines; libraries have theirs."""
    handler = logging.StreamHandler()
    handler.setFormatter(_JsonLine() if as_json else _Line(_LINE))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    # httpx would log every URL, and Slack's is a secret.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    rendered = [structlog.processors.JSONRenderer()] if as_json else _FOR_PEOPLE
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(level),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            *rendered,
        ],
    )
    if as_json:
        logging.captureWarnings(capture=True)
        sys.excepthook = _say_what_ended_it
        threading.excepthook = _say_what_ended_a_thread
        sys.unraisablehook = _say_what_nobody_heard


def end(why: object) -> NoReturn:
    """Say in one line why this process does not start, and end it."""
    _log.critical("it does not start: %s", why)
    sys.exit(1)


def of_temporal() -> LoggingConfig:
    """Return how Temporal's core logs, which is not in Python: as all others do."""
    return LoggingConfig(
        filter=TelemetryFilter(core_level="WARN", other_level="ERROR"),
        forwarding=LogForwardingConfig(logger=logging.getLogger("temporalio.core")),
    )


class _Line(logging.Formatter):
    """Lines for people. What others have written cannot begin a line of its own."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  (logging's own name)
        record.message = visible(record.message)
        return super().formatMessage(record)


class _JsonLine(logging.Formatter):
    """Lines for machines, in the shape of our own."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "event": record.getMessage(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def _show(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Show what a terminal would obey or hide; only a traceback has lines."""
    return {
        name: visible(one) if isinstance(one, str) and name != "exception" else one
        for name, one in event.items()
    }


def _say_what_ended_it(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    _log.critical("ended by an error", exc_info=(kind, error, trace))


def _say_what_ended_a_thread(ended: threading.ExceptHookArgs) -> None:
    error = ended.exc_value or ended.exc_type()
    _log.error("a thread ended by an error", exc_info=error)


def _say_what_nobody_heard(unraisable: "sys.UnraisableHookArgs") -> None:
    error = unraisable.exc_value or unraisable.exc_type()
    _log.error("an error that nobody heard of", exc_info=error)


_LINE = "%(asctime)s %(levelname)s %(name)s %(message)s"
_FOR_PEOPLE = [_show, structlog.dev.ConsoleRenderer()]
