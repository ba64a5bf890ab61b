"""The name of a file on a model hub: ``hub:OWNER/NAME[/PATH.safetensors][@REVISION]``."""

import re
from dataclasses import dataclass

from modiste.errors import RecipeError

PREFIX = "hub:"
SUFFIX = ".safetensors"
GRAMMAR = f"{PREFIX}OWNER/NAME[/PATH{SUFFIX}][@REVISION]"
WORD = re.compile(r"\w[\w.-]*", re.ASCII)


@dataclass(frozen=True)
class HubFile:
    """A file of a repository at a revision: a branch, a tag or a commit."""

    repository: str
    path: str = f"model{SUFFIX}"
    revision: str = "main"

    def __str__(self) -> str:
        return f"{PREFIX}{self.repository}/{self.path}@{self.revision}"


def parse(name: str) -> HubFile:
    """Read a name; RecipeError when it is none, or when the file is not safetensors, the only sort that is read.

    >>> parse("hub:someone/resnet@v1.0")
    HubFile(repository='someone/resnet', path='model.safetensors', revision='v1.0')
    """
    text, at, revision = name.removeprefix(PREFIX).partition("@")
    words = text.split("/")
    if len(words) < 2 or not all(WORD.fullmatch(word) for word in words) or (at and not revision.strip("/")):
        raise RecipeError(f"{name}: not the name of a file on a hub; expected {GRAMMAR}")
    if revision.endswith(SUFFIX):
        raise RecipeError(f"{name}: the revision comes last; expected {GRAMMAR}")
    if len(words) > 2 and not text.endswith(SUFFIX):
        raise RecipeError(
            f"{name}: only {SUFFIX} files are read, since others, such as torch's pickles, can run code; "
            f"expected {GRAMMAR}"
        )
    path = "/".join(words[2:]) or HubFile.path
    return HubFile("/".join(words[:2]), path, revision or HubFile.revision)
