"""The command: what it needs at the end it looks for at the beginning."""

import sys

import pytest

from modiste.cli import main
from modiste.errors import MissingExtraError


@pytest.mark.parametrize("package", ["matplotlib", "jinja2"])
def test_what_the_page_needs_is_looked_for_before_any_training(
    package: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [
        name for name in sys.modules if name.partition(".")[0] == package or name.startswith("modiste.reports")
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr("modiste.audits.audit.audit", lambda *_, **__: pytest.fail("the audit begins"))
    with pytest.raises(SystemExit) as left:
        main.main(["data", "audit"])
    assert left.value.code == MissingExtraError.exit_code
    assert "pip install 'modiste[report]'" in capsys.readouterr().err
