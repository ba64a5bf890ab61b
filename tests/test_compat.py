"""Every private name that Modiste uses of another library is there, and behaves as Modiste expects.

A failure here after an upgrade means that the library has changed such a name. ``src/modiste/compat.py`` says what the
name is for: either adapt Modiste, or keep the library's upper bound in ``pyproject.toml`` below the new version. Once
all tests pass with a new version, enter it in ``compat.CHECKED`` and raise the bound.
"""

import inspect
import itertools
import os
import re
import subprocess
import sys
import tomllib
from concurrent.futures import ProcessPoolExecutor
from importlib import metadata
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
import uvicorn
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from commands_and_data import PROGRAMS, child_environment, run_without_modiste
from modiste import compat
from modiste.errors import MissingExtraError

ROOT = Path(__file__).parents[1]


def allowed_versions(library: str) -> SpecifierSet:
    """The versions of a library that ``pyproject.toml`` allows."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = itertools.chain(project["dependencies"], *project["optional-dependencies"].values())
    (found,) = [one for one in map(Requirement, lines) if one.name == library]
    return found.specifier


def advice(name: str) -> str:
    """What to do when a private name is gone or behaves differently."""
    private = compat.NAMES[name]
    library, checked = private.library, compat.CHECKED[private.library]
    return (
        f"{private.path} of {library} {metadata.version(library)} is not what it was in {checked}.\n"
        f"Modiste needs it because: {private.reason}\n"
        f"Either find its successor and change NAMES in src/modiste/compat.py,\n"
        f"or bound {library} in pyproject.toml below this version."
    )


@pytest.mark.parametrize("name", compat.NAMES)
def test_the_name_is_there(name: str) -> None:
    try:
        compat.NAMES[name].fetch()
    except MissingExtraError:
        pytest.fail(advice(name))


def test_no_other_module_imports_a_private_name() -> None:
    """From these libraries; an attribute such as ``torch._foreach_copy_`` is not looked for."""
    pattern = re.compile(r"from (?:ray|sklearn|torch|uvicorn)[\w.]* import (?:\([^)]*?|[^\n(]*)\b_[a-z]\w*")
    sources = (ROOT / "src" / "modiste").rglob("*.py")
    assert [path.name for path in sources if pattern.search(path.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize("library", compat.CHECKED)
def test_the_version_checked_is_the_one_pinned_and_the_next_is_not_allowed(library: str) -> None:
    checked = Version(compat.CHECKED[library])
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    pinned = re.search(rf"^{library}==(\S+)", pins, re.MULTILINE)
    assert pinned is not None
    assert Version(pinned[1]) == checked, f"run the tests with {library} {pinned[1]}, then enter it in compat.CHECKED"
    allowed = allowed_versions(library)
    assert str(checked) in allowed
    assert f"{checked.major}.{checked.minor + 1}.0" not in allowed, f"bound {library} in pyproject.toml: not tried yet"


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("adam", "params grads exp_avgs exp_avg_sqs max_exp_avg_sqs state_steps fused amsgrad beta1 beta2 lr "
                 "weight_decay eps maximize found_inf decoupled_weight_decay"),
        ("sgd", "params d_p_list momentum_buffer_list fused foreach found_inf weight_decay momentum lr dampening "
                "nesterov maximize"),
        ("read_ray_address", ""),
        ("ray_entrypoint", ""),
        ("ray_job_serialize", "self"),
        ("FlowControl", "transport"),
    ],
)  # fmt: skip
def test_it_takes_what_modiste_passes(name: str, parameters: str) -> None:
    assert set(parameters.split()) <= set(inspect.signature(compat.NAMES[name].fetch()).parameters), advice(name)


def test_shares_follow_from_the_generator_alone() -> None:
    alpha = torch.full((5, 2), 0.4)
    first, again = (compat.sample_dirichlet(alpha, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, again), advice("sample_dirichlet")
    torch.testing.assert_close(first.sum(1), torch.ones(5), msg=advice("sample_dirichlet"))


def test_an_optimizer_is_made_without_the_compiler() -> None:
    done = run_without_modiste(PROGRAMS / "make_optimizer.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["False", "True"], advice("add_param_group")


def test_tensors_are_copied_in_place() -> None:
    target, source = [torch.zeros(3), torch.zeros((), dtype=torch.long)], [torch.ones(3), torch.tensor(7)]
    compat.foreach_copy_(target, source)
    assert all(map(torch.equal, target, source)), advice("foreach_copy_")


@pytest.mark.parametrize("name", ["has_avx512_bfloat16", "has_amx", "has_onednn_bfloat16"])
def test_it_says_what_the_processor_can_do(name: str) -> None:
    assert isinstance(getattr(compat, name)(), bool), advice(name)


def test_the_logger_is_the_one_that_misses_torchvision() -> None:
    logger = compat.onnx_registration_logger
    source = inspect.getsource(sys.modules[logger.name])
    assert "logger.warning" in source, advice("onnx_registration_logger")
    assert "torchvision" in source, advice("onnx_registration_logger")


def test_the_protocol_has_what_the_server_overrides() -> None:
    from modiste.serving.server import BoundedProtocol, Server

    def methods(kind: type) -> set[str]:
        return {name for name, value in vars(kind).items() if inspect.isfunction(value)}

    own = {"give_up"}
    overridden = {name for name in methods(BoundedProtocol) - own if not name.startswith("_")}
    assert overridden <= methods(compat.HttpToolsProtocol), advice("HttpToolsProtocol")
    flow = {"pause_reading", "resume_reading", "pause_writing", "resume_writing"}
    assert flow <= methods(compat.FlowControl), advice("FlowControl")
    assert {name for name in methods(Server) if name[0] != "_"} <= methods(uvicorn.Server), "uvicorn.Server has changed"


def test_ray_knows_the_options_and_variables() -> None:
    import ray
    from ray._private import ray_constants

    assert compat.RAY_FOLDER in (ray.init.__doc__ or "")
    assert ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR == compat.RAY_CLUSTERS
    assert compat.RAYLET_PROCESS in inspect.getsource(ray_constants)


def test_a_job_leaves_out_what_this_process_does_not_search() -> None:
    job = compat.ray_job()
    job._py_driver_sys_path = ["/nowhere", *map(os.path.abspath, sys.path)]
    job._serialize()
    assert "/nowhere" not in job._py_driver_sys_path
    assert os.path.abspath(sys.path[0]) in job._py_driver_sys_path  # noqa: PTH100


def test_a_replaced_name_is_put_back() -> None:
    before = compat.ray_entrypoint
    with compat.ray_entrypoint_hidden():
        assert compat.ray_entrypoint() == "modiste"
    assert compat.ray_entrypoint is before


def test_a_missing_name_says_what_to_install() -> None:
    gone = compat.PrivateName("torch.optim.adam:no_such_kernel", "for this test")
    with pytest.raises(MissingExtraError, match=r"lacks torch\.optim\.adam\.no_such_kernel.*torch==2"):
        gone.fetch()
    with pytest.raises(ImportError, match="no_such_library"):
        compat.PrivateName("no_such_library:name", "for this test").fetch()
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = compat.no_such_name


@pytest.mark.parametrize(
    ("script", "allowed"),
    [
        ("import modiste.compat", set()),
        ("from modiste.compat import HttpToolsProtocol", {"uvicorn"}),
        ("import modiste.serving.app, modiste.serving.server", {"uvicorn"}),
    ],
)
def test_only_the_library_of_a_name_is_imported(script: str, allowed: set[str]) -> None:
    ending = "; import sys; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", script + ending], env=child_environment(), capture_output=True, text=True, check=True
    )
    assert set(done.stdout.split()) & {"torch", "ray", "uvicorn"} == allowed


def test_a_pool_starts_all_its_processes_at_its_first_task() -> None:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        compat.start_at_once(pool)
        pool.submit(os.getpid).result()
        assert len(pool._processes) == 2, "Python has changed its private name; see compat.start_at_once"
