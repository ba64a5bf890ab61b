"""A published file, such as the weights of a network, that is read only if its SHA-256 is the expected one."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from modiste.errors import fault, reason_of


@dataclass(frozen=True)
class PublishedFile:
    """What is known of a published file.

    Attributes:
        title: What it is, for errors.
        sha256: SHA-256 of its content.
        most_bytes: No more is read of a file in its place.
        remedy: What helps if the file is another one.
    """

    title: str
    sha256: str
    most_bytes: int
    remedy: str

    def content(self, path: Path) -> bytes:
        """Return the content of the file at ``path``; DataError if it cannot be read, or is another one.

        >>> PublishedFile("the empty file", hashlib.sha256().hexdigest(), 10, "make it anew").content(Path("/dev/null"))
        b''
        """
        expected = f"{self.title} with SHA-256 {self.sha256[:16]}..."
        try:
            with path.open("rb") as file:
                content = file.read(self.most_bytes + 1)
        except (OSError, ValueError) as error:
            reason = reason_of(error)
            raise fault(path, "cannot be read", expected=expected, found=reason, remedy=self.remedy) from None
        digest = hashlib.sha256(content).hexdigest()
        if digest != self.sha256:
            size = f"{len(content):,} bytes" if len(content) <= self.most_bytes else "a larger file"
            found = f"{size} with {digest[:16]}..."
            raise fault(path, "another file, not opened", expected=expected, found=found, remedy=self.remedy)
        return content
