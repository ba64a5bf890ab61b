"""The files of ``deploy``: what they name is there, and what the container leaves behind is not needed."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from commands_and_data import run_python
from modiste.serving.settings import Limits

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")


def test_the_container_copies_what_is_there_and_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8")
    allowed = {line[1:] for line in ignored.splitlines() if line.startswith("!")}
    copied = [word for line in re.findall(r"^COPY (?!--)(.*)$", DOCKERFILE, re.MULTILINE) for word in line.split()[:-1]]
    assert len(copied) >= 5
    for name in copied:
        assert (ROOT / name).exists(), name
        assert name.split("/")[0] in allowed, name


def test_the_container_serves_as_another_user_than_root_and_watches_its_health() -> None:
    served = DOCKERFILE.partition(" AS serve\n")[2]
    assert served
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", served, re.MULTILINE)
    assert re.search(r"^HEALTHCHECK .*\\\n    CMD .*/readyz", served, re.MULTILINE)
    assert "TOKEN=" not in DOCKERFILE
    service = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["services"]["serve"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert "MODISTE_TOKEN:?" in service["environment"]["MODISTE_TOKEN"]


def test_the_commands_of_compose_begin_with_the_token() -> None:
    """Compose fills in the whole file first, so a missing token of ``serve`` also ends commands for ``train``."""
    first, *others = re.findall(r"^# (.*)$", (DEPLOY / "compose.yaml").read_text(encoding="utf-8"), re.MULTILINE)
    assert first.startswith("export MODISTE_TOKEN=")
    assert len([one for one in others if one.startswith("docker compose -f deploy/compose.yaml ")]) == 3


def test_what_the_container_leaves_behind_is_not_needed(model_file: Path, photos: list[bytes], tmp_path: Path) -> None:
    """The modules that serving_root.sh removes cannot be imported here, while a picture is classified."""
    script = (DEPLOY / "serving_root.sh").read_text(encoding="utf-8")
    paths = [word for line in re.findall(r"^rm -rf (.*)$", script, re.MULTILINE) for word in line.split()]
    removed = [path.replace("/", ".") for path in paths if re.fullmatch(r"[\w/]+", path)]
    assert {"pip", "numpy.f2py", "onnxruntime.transformers", "idlelib", "ensurepip"} <= set(removed)
    (tmp_path / "photo").write_bytes(photos[0])
    program = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({removed!r}))\n"
        "from pathlib import Path\n"
        "import modiste.serving.app, modiste.serving.server\n"
        "from modiste.inference.onnx_model import OnnxModel\n"
        f"model = OnnxModel.load(Path({str(model_file)!r}))\n"
        f"prepared = model.preparation(Path({str(tmp_path / 'photo')!r}))\n"
        "print(model.classify(prepared.planes[None]).probabilities.shape)\n"
    )
    done = run_python("-c", program)
    assert done.stdout == "(1, 10)\n", done.stderr


def test_the_proxies_allow_bodies_as_long_as_the_server_does() -> None:
    mebibytes = Limits().body_bytes / 2**20
    caddy, nginx = ((DEPLOY / name).read_text(encoding="utf-8") for name in ("Caddyfile", "nginx.conf"))
    assert f"max_size {mebibytes:g}MiB\n" in caddy  # an MB would be 1,000,000 bytes
    assert f"client_max_body_size {mebibytes:g}m;" in nginx


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd")
def test_systemd_reads_the_service(tmp_path: Path) -> None:
    for name in ("modiste.service", "modiste.socket"):
        text = (DEPLOY / name).read_text(encoding="utf-8")
        (tmp_path / name).write_text(text.replace("/opt/modiste/bin/modiste", "/bin/true"), encoding="utf-8")
    command = ["systemd-analyze", "verify", "--man=no", tmp_path / "modiste.service", tmp_path / "modiste.socket"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    about_ours = re.compile(r"modiste\.(service|socket)\b")  # other units of the machine may have faults of their own
    assert [line for line in done.stderr.splitlines() if about_ours.search(line)] == []
