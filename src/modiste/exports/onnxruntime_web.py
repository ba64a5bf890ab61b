"""ONNX Runtime for browsers, for pages whose network Modiste's own JavaScript does not compute.

Its package is fetched by ``npm`` when the first such page is exported, checked by its SHA-256, and kept in the cache.
"""

import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import NamedTuple

from modiste.data.idx.download import OFFLINE_VARIABLE, is_offline
from modiste.errors import RunError
from modiste.runs import storage
from modiste.system.published_file import PublishedFile

VERSION = "1.22.0"
NAME = f"onnxruntime-web-{VERSION}.tgz"
VARIABLE = "MODISTE_ONNXRUNTIME"
"""Environment variable that names the package's file, where npm cannot fetch it."""
BY_HAND = (
    f"fetch it elsewhere by npm pack onnxruntime-web@{VERSION} and name the file by {VARIABLE}, or choose --to onnx"
)
PACKAGE = PublishedFile(
    title=f"the npm package onnxruntime-web {VERSION}",
    sha256="e293551f9d36d003e293d0f2937fee7b3dfdcef76d71d1449b55e2d4157c7aea",
    most_bytes=64 * 2**20,
    remedy=BY_HAND,
)
SECONDS = 300
"""Time in which npm must have fetched the package, 20 MB."""
NOTICE = f"""ONNX Runtime Web {VERSION}, Copyright (c) Microsoft Corporation, MIT License.

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions: The above copyright notice
and this permission notice shall be included in all copies or substantial portions of the Software. THE SOFTWARE IS
PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF
MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT
HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE,
ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE."""


class Runtime(NamedTuple):
    """The files of the package that a page needs.

    Attributes:
        script: Defines ``ort``.
        glue: A module in JavaScript that starts the program.
        program: In WebAssembly.
    """

    script: str
    glue: bytes
    program: bytes


def load_runtime() -> Runtime:
    """Return the files of the package: from the file that VARIABLE names, from the cache, or fetched by npm now.

    Raises:
        RunError: npm is missing or cannot fetch it, or MODISTE_OFFLINE is set.
        DataError: The file is another one.
        StorageError: The cache cannot be written.
    """
    named = os.environ.get(VARIABLE)
    path = Path(named) if named else package_path()
    if not named and not path.exists():
        _fetch(path)
    content = PACKAGE.content(path)
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:

        def read(name: str) -> bytes:
            file = archive.extractfile(f"package/dist/{name}")
            assert file is not None
            return file.read()

        script, name = read("ort.wasm.min.js").decode(), "ort-wasm-simd-threaded"
        return Runtime(script.partition("\n//# sourceMappingURL")[0], read(f"{name}.mjs"), read(f"{name}.wasm"))


def package_path() -> Path:
    """Return where the package lies in the cache."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("modiste", appauthor=False)) / "onnxruntime-web" / NAME


def _fetch(path: Path) -> None:
    """Let npm fetch the package, and write it to ``path``; RunError if npm cannot, DataError if it is another one."""
    if is_offline():
        raise _absent(f"{OFFLINE_VARIABLE} is set")
    npm = shutil.which("npm")
    if npm is None:
        raise _absent("npm is not installed")
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", "--silent", "--ignore-scripts", f"onnxruntime-web@{VERSION}"]
        try:
            subprocess.run(command, capture_output=True, timeout=SECONDS, check=True, cwd=folder)
        except (OSError, subprocess.SubprocessError):
            raise _absent("npm could not fetch it") from None
        storage.write_bytes(path, PACKAGE.content(Path(folder) / NAME))


def _absent(reason: str) -> RunError:
    return RunError(f"export: html: {PACKAGE.title} is needed for this network, and {reason}; {BY_HAND}")
