"""The real server as a process."""

import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

from commands_and_data import child_environment


@dataclass(frozen=True)
class Server:
    """A server that listens."""

    process: "subprocess.Popen[str]"
    host: str
    port: int

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def client(self, **options: object) -> httpx2.Client:
        return httpx2.Client(base_url=self.url, trust_env=False, **{"timeout": 120, **options})

    def raw(self, content: bytes, *, seconds: float = 20) -> bytes:
        """Send bytes, and return all that comes until the server hangs up."""
        with socket.create_connection((self.host, self.port), timeout=seconds) as connection:
            connection.sendall(content)
            return b"".join(iter(lambda: connection.recv(65536), b""))


@contextmanager
def listening(
    source: Path,
    *options: object,
    program: Path | None = None,
    start: Sequence[str] = ("-m", "modiste"),
    folder: Path | None = None,
    python: Path | str = sys.executable,
    **variables: str,
) -> Iterator[Server]:
    """Start ``modiste serve`` in a folder on a free port, or a program that serves otherwise; stop it at the end."""
    command = [str(program)] if program else [*start, "serve"]
    words = [str(python), *command, str(source), "--port", "0", *map(str, options)]
    environment = child_environment(**variables)
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=folder
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            address = re.search(r"http://(.+):(\d+)/", line)
            assert address, (line, process.stderr and process.stderr.read())
            yield Server(process, address[1], int(address[2]))
        finally:
            process.kill()
