from pathlib import Path

import pytest

from modiste.data import held_out, paths


@pytest.fixture(scope="session")
def real_files() -> dict[str, Path]:
    """The four files of Fashion-MNIST by their names without ``.gz``, wherever this machine has them."""
    return {file.path.name.removesuffix(".gz"): file.path for file in held_out.verify_all()}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of decoded pictures, which is the test's own."""
    monkeypatch.setattr("modiste.data.pictures.picture_cache.picture_cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of an empty machine: no cache, no variable, no network, no Debian package."""
    home = tmp_path / "home"
    home.mkdir()
    for variable in ("MODISTE_DATA", "KERAS_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / ".cache"))
    monkeypatch.setenv("MODISTE_OFFLINE", "1")
    monkeypatch.chdir(home)
    usual = paths.usual_folders
    monkeypatch.setattr(
        "modiste.data.idx.idx_source.usual_folders",
        lambda: tuple(place for place in usual() if not str(place).startswith("/usr/share")),
    )
    return home
