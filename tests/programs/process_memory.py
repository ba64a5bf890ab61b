"""Memory of this process, as Linux tells it."""

from pathlib import Path


def memory_bytes(field: str) -> int:
    """Return ``VmRSS``, what is resident, or ``VmHWM``, the most that was."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(field)).split()[1])
