"""Read how much memory a process has."""

from pathlib import Path


def now(pid: int) -> float:
    """Return a process's resident memory in MB, as the kernel says."""
    return _megabytes(pid, "VmRSS")


def peak(pid: int) -> float:
    """Return the most resident memory that a process ever had, in MB."""
    return _megabytes(pid, "VmHWM")


def _megabytes(pid: int, name: str) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith(f"{name}:")]
    return int(line.split()[1]) / 1024
