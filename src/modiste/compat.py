"""Private names of torch, Ray, uvicorn and Python: all that Modiste uses, each with the reason.

A library may change or remove such a name in any release. So ``pyproject.toml`` allows each library only below the
first release that was not tried, and ``tests/test_compat.py`` checks every name. ``from modiste.compat import adam``
imports torch at that moment; importing this module alone imports no library.
"""

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module, metadata
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from modiste.errors import MissingExtraError

if TYPE_CHECKING:
    from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT as HIGH_WATER_LIMIT
    from uvicorn.protocols.http.flow_control import FlowControl as FlowControl
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol as HttpToolsProtocol

CHECKED = {"torch": "2.13.0", "ray": "2.60.0", "uvicorn": "0.54.0"}
"""The version of each library with which the names below were last checked."""


@dataclass(frozen=True)
class PrivateName:
    """A name that its library does not promise to keep.

    Attributes:
        path: ``module:attribute``.
        reason: Why no public name does.
    """

    path: str
    reason: str

    @property
    def library(self) -> str:
        """Name of the library, a key of ``CHECKED``."""
        return self.path.partition(":")[0].partition(".")[0]

    def fetch(self) -> Any:
        """Return what the name stands for.

        Raises:
            ImportError: The library is not installed.
            MissingExtraError: The installed version of the library lacks the name.
        """
        import_module(self.library)
        try:
            return resolve_name(self.path)
        except (ImportError, AttributeError) as error:
            raise MissingExtraError(
                f"{self.library} {metadata.version(self.library)} lacks {self.path.replace(':', '.')}, a private name "
                f"that Modiste uses; install a version that Modiste allows, such as "
                f"{self.library}=={CHECKED[self.library]}"
            ) from error


NAMES = {
    "sample_dirichlet": PrivateName(
        "torch:_sample_dirichlet",
        "torch.distributions takes no generator. Two public gamma draws would change the numbers of mixup and cutmix.",
    ),
    "adam": PrivateName(
        "torch.optim.adam:adam",
        "The fused kernel alone. torch.optim.Adam adds epsilon elsewhere, and loads torch's compiler (0.8 s).",
    ),
    "sgd": PrivateName(
        "torch.optim.sgd:sgd", "The fused kernel alone. torch.optim.SGD loads torch's compiler (0.8 s)."
    ),
    "add_param_group": PrivateName(
        "torch.optim:Optimizer.add_param_group.__wrapped__",
        "Every optimizer of torch calls the public method, which loads torch's compiler (0.8 s) to be left out of it.",
    ),
    "foreach_copy_": PrivateName(
        "torch:_foreach_copy_", "Copies many tensors in one call. Tensor.copy_ needs one call each, at every step."
    ),
    "fused_convolution": PrivateName(
        "torch:ops.mkldnn._convolution_pointwise",
        "A convolution with its activation in one pass of oneDNN, as torch's compiler uses it. The compiler needs "
        "half a minute and a C++ compiler.",
    ),
    "pack_convolution": PrivateName(
        "torch:ops.mkldnn._reorder_convolution_weight", "Lays out the weights of fused_convolution once for all calls."
    ),
    "has_avx512_bfloat16": PrivateName(
        "torch.cpu:_is_avx512_bf16_supported",
        "The public torch.cpu.get_capabilities has not been tried on torch 2.11, which Modiste allows.",
    ),
    "has_amx": PrivateName("torch.cpu:_is_amx_tile_supported", "As for has_avx512_bfloat16."),
    "has_onednn_bfloat16": PrivateName(
        "torch:ops.mkldnn._is_mkldnn_bf16_supported",
        "Only oneDNN knows whether it computes in bfloat16 here. A torch without oneDNN lacks the name.",
    ),
    "onnx_registration_logger": PrivateName(
        "torch.onnx._internal.exporter._registration:logger",
        "It warns of a missing torchvision, which no model needs. Its public parent, torch.onnx, logs real faults too.",
    ),
    "read_ray_address": PrivateName(
        "ray._private.utils:read_ray_address",
        "ray.init('auto') finds the cluster of this machine too, but fails without one instead of reporting None.",
    ),
    "ray_entrypoint": PrivateName(
        "ray._private.utils:get_entrypoint_name", "ray.init publishes the command line; no option prevents it."
    ),
    "ray_clusters_enabled": PrivateName(
        "ray._private.ray_constants:ENABLE_RAY_CLUSTER",
        "When it is off, Ray binds to loopback. The variable for it is read before Modiste can set it.",
    ),
    "ray_job_serialize": PrivateName(
        "ray.job_config:JobConfig._serialize",
        "ray.init adds the working directory to the workers' module path just before this call.",
    ),
    "HttpToolsProtocol": PrivateName(
        "uvicorn.protocols.http.httptools_impl:HttpToolsProtocol",
        "uvicorn has no deadline for a slow client and no bound on pipelined requests; a subclass adds them.",
    ),
    "FlowControl": PrivateName(
        "uvicorn.protocols.http.flow_control:FlowControl", "The protocol pauses and resumes reading through it."
    ),
    "HIGH_WATER_LIMIT": PrivateName(
        "uvicorn.protocols.http.flow_control:HIGH_WATER_LIMIT",
        "The unread bytes of a body above which the protocol pauses reading.",
    ),
}
"""The private names, by the name under which this module offers each."""

NOT_COMPILED = "__dynamo_disable"
"""Attribute of a function for its form that torch's compiler leaves out; torch makes it on the first call."""
RAY_FOLDER = "_temp_dir"
"""Option of ``ray.init`` for the folder of logs and sockets; Ray has no public one."""
RAYLET_PROCESS = "RAY_RAYLET_PID"
"""Variable with the process number of a worker's raylet, which Ray 2.60 reads once, on import."""
RAY_CLUSTERS = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Variable from which the processes that Ray starts set ``ENABLE_RAY_CLUSTER``."""


def __getattr__(name: str) -> Any:
    if name not in NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return NAMES[name].fetch()


def replace(name: str, value: object) -> Any:
    """Set a private name of a library to another value; return the value before."""
    private = NAMES[name]
    before = private.fetch()
    module, _, attribute = private.path.partition(":")
    setattr(import_module(module), attribute, value)
    return before


@contextmanager
def without_compiler() -> Iterator[None]:
    """Let the block make an optimizer of torch's without loading torch's compiler. Nothing in it may be compiled."""
    add_param_group = NAMES["add_param_group"].fetch()
    if hasattr(add_param_group, NOT_COMPILED):
        yield
        return
    setattr(add_param_group, NOT_COMPILED, add_param_group)
    try:
        yield
    finally:
        delattr(add_param_group, NOT_COMPILED)


def keep_process_without_raylet() -> None:
    """Keep Ray from ending this process silently, with code 1, when its raylet dies. Call this before ``import ray``.

    A worker of Ray ends with its raylet. Ray 2.60 takes a process whose parent is process 1, as after ``nohup``, for
    such a worker, unless it knows the raylet's process number. This sets the number of the present process, which lives
    as long as it needs to.
    """
    os.environ.setdefault(RAYLET_PROCESS, str(os.getpid()))


def keep_ray_on_loopback() -> None:
    """Let Ray bind to loopback on every system, in this process and its children; by itself it does not on Linux."""
    os.environ[RAY_CLUSTERS] = "0"
    replace("ray_clusters_enabled", False)


@contextmanager
def ray_entrypoint_hidden() -> Iterator[None]:
    """Keep the command line, which may hold a database's password, from Ray's list of jobs, which every user reads."""
    before = replace("ray_entrypoint", lambda: "modiste")
    try:
        yield
    finally:
        replace("ray_entrypoint", before)


def ray_job() -> Any:
    """Return a job whose workers search modules where this process does; Ray adds the working directory to that."""
    from ray.job_config import JobConfig

    class Job(JobConfig):
        def _serialize(self) -> Any:
            searched = {os.path.abspath(folder) for folder in sys.path}  # noqa: PTH100
            self._py_driver_sys_path = [folder for folder in self._py_driver_sys_path if folder in searched]
            return super()._serialize()

    return Job()


def start_at_once(pool: ProcessPoolExecutor) -> None:
    """Let a pool start all its processes at its first task, before its own thread watches them.

    Else it starts one for each of the first tasks. If one dies meanwhile, the thread of Python 3.11 fails: it walks
    through a dictionary that grows. The private name is Python's own; without it a pool starts its processes as usual.
    """
    pool._safe_to_dynamically_spawn_children = False  # type: ignore[attr-defined]
