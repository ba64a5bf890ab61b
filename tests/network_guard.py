"""Guards every process of the tests: a connection to another machine is refused, and the test run fails."""

import importlib.util
import os
import sys
import tempfile
from pathlib import Path

import pytest

GUARD = Path(__file__).with_name("guard")
NOTES = "MODISTE_OUTSIDE"


def pytest_configure(config: pytest.Config) -> None:
    """Guard this process and all that it starts; of those that share the tests, the first keeps the notes."""
    if NOTES not in os.environ:
        descriptor, os.environ[NOTES] = tempfile.mkstemp(prefix="outside-")
        os.close(descriptor)
        os.environ["PYTHONPATH"] = os.pathsep.join([str(GUARD), *filter(None, [os.environ.get("PYTHONPATH")])])
        config.add_cleanup(lambda: Path(os.environ.pop(NOTES)).unlink())
    if sys.modules.get("outside_guard") is None:
        spec = importlib.util.spec_from_file_location("outside_guard", GUARD / "sitecustomize.py")
        assert spec
        assert spec.loader
        sys.modules["outside_guard"] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail where anybody tried."""
    notes = Path(os.environ[NOTES])
    told = notes.read_text(encoding="utf-8") if notes.exists() else ""
    if told and not hasattr(session.config, "workerinput"):
        print(f"\ntried to connect to another machine:\n{told}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
