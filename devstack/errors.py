"""Errors of the offline world when it starts."""

from pathlib import Path


class StackError(Exception):
    """A part could not start. The message is for the person at the terminal."""


class PortTaken(StackError):
    """Another program listens on the port. The caller may choose another port."""

    def __init__(self, port: int) -> None:
        super().__init__(f"port {port} is in use by another program")
        self.port = port


class AlreadyRunning(StackError):
    """Another process that runs holds the state directory."""

    def __init__(self, state: Path, holder: str) -> None:
        super().__init__(f"{state} is in use by {holder}")
