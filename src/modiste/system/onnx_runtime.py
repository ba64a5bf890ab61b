"""Sessions of ONNX Runtime: the options that all of them have, and one limit for the memory of all."""

import contextlib
from functools import cache
from typing import Any

MOST_MEMORY = 4 * 2**30
"""Largest total size of tensors in the memory of this process."""


def load_session(content: bytes, *, threads: int | None = None, optimised: bool = True, patterns: bool = True) -> Any:
    """Return a session of ONNX Runtime on the processor; its tensors count for MOST_MEMORY.

    Args:
        content: Content of the ONNX file.
        threads: Number of threads that compute; None for one on each core.
        optimised: Whether the graph is optimised. That computes constants, and cannot be interrupted.
        patterns: Whether memory for a run is planned as one block. It is faster for small tensors; for large ones the
            block is larger than what the tensors take one after another.

    Raises:
        ImportError: ONNX Runtime is not installed.
        Exception: The content is no network that ONNX Runtime can load; its own errors have no common base.
    """
    import onnxruntime

    _limit_memory()
    levels = onnxruntime.GraphOptimizationLevel
    options = onnxruntime.SessionOptions()
    if threads is not None:
        options.intra_op_num_threads = threads
    options.enable_mem_pattern = patterns
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # leave idle cores to other programs
    options.log_severity_level = 4
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimised else levels.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


@cache
def _limit_memory() -> None:
    """Limit the tensors of all sessions in this process to MOST_MEMORY."""
    import onnxruntime

    memory = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    with contextlib.suppress(Exception):  # the program that uses Modiste has set a limit of its own
        onnxruntime.create_and_register_allocator(memory, onnxruntime.OrtArenaCfg({"max_mem": MOST_MEMORY}))
