"""Processes that prepare pictures for the server, one on each core.

Threads would not use the cores: half of the time for a photo is spent in Python, one thread at a time. A process also
keeps a decoder that fails from ending the server.
"""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from dataclasses import asdict

from modiste.photo.preparation import Preparation
from modiste.photo.segmentation import choose_network
from modiste.serving.picture_process import LENGTHS, PreparedUpload, question, read_answer
from modiste.system.processes import available_cores

COMMAND: tuple[str, ...] = ("-P", "-X", "faulthandler", "-m", "modiste.serving.picture_process")
"""Arguments of Python that start a process. ``-P`` keeps it from importing anything in the working directory."""
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""For NumPy: a process has one core. The segmentation network has threads of its own."""
SLOW_SECONDS = 2.0
"""Time after which a picture no longer occupies a core that others wait for."""
MOST = 8
"""Most pictures at work at a time, and most slow ones beside them. One server could not feed more processes."""
DIED = "its decoder ended without an answer; save the picture again, as JPEG or PNG"


class PicturePool:
    """Prepares pictures in processes, which start when they are needed; for the event loop that runs.

    Args:
        preparation: Turns a picture file into the network's image.

    Attributes:
        count: Number of pictures at work at the same time, without those that take longer than SLOW_SECONDS.
    """

    def __init__(self, preparation: Preparation) -> None:
        most = MOST if preparation.background == "plain" else min(MOST, choose_network().at_once)
        self.count = min(len(available_cores()), most)
        self._arguments = (*COMMAND, json.dumps(asdict(preparation)))
        self._turns = asyncio.Semaphore(self.count)
        self._room = asyncio.Semaphore(self.count + most)  # with U2-Net two: each more takes 500 MB
        self._idle: list[Process] = []
        self._processes: set[Process] = set()

    async def prepare(self, content: bytes, *, steps: bool) -> PreparedUpload:
        """Return a picture file as the network sees it; with ``steps`` also the picture after each step.

        Raises:
            OSError: No process can be started.
        """
        async with self._turns:
            work = asyncio.create_task(self._prepare(question(content, steps=steps)))
            await asyncio.wait([work], timeout=SLOW_SECONDS)
        return await work

    async def close(self) -> None:
        """End all processes without waiting for the pictures at work."""
        processes = list(self._processes)
        for process in processes:
            self._end(process)
        await asyncio.gather(*(process.wait() for process in processes))

    async def _prepare(self, asked: bytes) -> PreparedUpload:
        async with self._room:
            idle = self._waiting()
            if idle and (found := await self._ask(idle, asked)):
                return found  # else it may have died before it got the picture
            return await self._ask(await self._start(), asked) or PreparedUpload(DIED, [])

    async def _ask(self, process: Process, asked: bytes) -> PreparedUpload | None:
        """Return a process's answer, and keep the process; None if it dies."""
        try:
            found = await _answer(process, asked)
        except (EOFError, OSError):
            self._end(process)
            return None
        except BaseException:  # the request was cancelled: nobody reads this process's answer
            self._end(process)
            raise
        if process in self._processes:
            self._release(process)
        return found

    def _waiting(self) -> Process | None:
        """Return an idle process; those that died meanwhile, as of a lack of memory, are forgotten."""
        while self._idle:
            process = self._idle.pop()
            if process.returncode is None:
                return process
            self._end(process)
        return None

    async def _start(self) -> Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *self._arguments,
            stdin=PIPE,
            stdout=PIPE,
            env={**os.environ, **ONE_THREAD},
            start_new_session=True,  # Ctrl-C reaches the server alone
        )
        self._processes.add(process)
        return process

    def _release(self, process: Process) -> None:
        """Keep a process for the next picture, unless there are enough without it."""
        if len(self._idle) < self.count:
            self._idle.append(process)
        else:
            self._end(process)

    def _end(self, process: Process) -> None:
        self._processes.discard(process)
        if process.returncode is None:
            process.kill()


async def _answer(process: Process, asked: bytes) -> PreparedUpload:
    """Return a process's answer; EOFError or OSError if it dies."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(asked)
    await process.stdin.drain()
    lengths = LENGTHS.unpack(await process.stdout.readexactly(LENGTHS.size))
    header, body = [await process.stdout.readexactly(length) for length in lengths]
    return read_answer(header, body)
