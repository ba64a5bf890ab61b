"""Run folders whose manifest, or whose links and pipes, lead elsewhere; and archives that would write elsewhere."""

import io
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hostile_cases import Shelf, Sound

from modiste.runs import manifest, storage

OUTSIDE = "/etc/hostname"
Make = Callable[[Path], None]


def listing(name: object, digest: object = None) -> Make:
    """Let a sealed manifest list one name more."""

    def make(place: Path) -> None:
        content = storage.read_hashed_json(place / manifest.NAME)
        found = storage.sha256(Path(OUTSIDE)) if digest is None else digest
        content["files"][name] = found
        storage.write_hashed_json(place / manifest.NAME, content)

    return make


def saying(**values: object) -> Make:
    """Let a sealed manifest say other things."""

    def make(place: Path) -> None:
        content = {**storage.read_hashed_json(place / manifest.NAME), **values}
        kept = {name: value for name, value in content.items() if value is not None}
        storage.write_hashed_json(place / manifest.NAME, kept)

    return make


def linked(name: str, target: str) -> Make:
    """Put a link in a file's place, and vouch for what it leads to where that can be."""

    def make(place: Path) -> None:
        (place / name).unlink(missing_ok=True)
        (place / name).symlink_to(target)
        if name != manifest.NAME and Path(target).is_file():
            listing(name, storage.sha256(Path(target)))(place)

    return make


def piped(name: str, *, listed: bool) -> Make:
    """Put a pipe, from which reading would wait for ever, in a file's place."""

    def make(place: Path) -> None:
        (place / name).unlink(missing_ok=True)
        os.mkfifo(place / name)
        if not listed:
            unlisted(name)(place)

    return make


def unlisted(name: str) -> Make:
    def make(place: Path) -> None:
        content = storage.read_hashed_json(place / manifest.NAME)
        content["files"].pop(name, None)
        storage.write_hashed_json(place / manifest.NAME, content)

    return make


def holding(name: str, content: str | bytes) -> Make:
    """Replace a file, with the right hash in the manifest."""

    def make(place: Path) -> None:
        (place / name).write_bytes(content.encode() if isinstance(content, str) else content)
        listing(name, storage.sha256(place / name))(place)

    return make


def folder_linked(place: Path) -> None:
    (place / "more").symlink_to("/etc")
    listing("more/hostname")(place)


HOSTILE: dict[str, Make] = {
    "a name above": listing("../../../../../../../../../../etc/hostname"),
    "an absolute name": listing(OUTSIDE),
    "a name above, and back": listing("../given/recipe.json"),
    "the folder itself": listing("."),
    "no name": listing(""),
    "a name with a null": listing("recipe.json\0"),
    "a name with lines and colours": listing("a\n\x1b[2Jb"),
    "a name of a million letters": listing("x" * 10**6),
    "an address": listing("https://example.org/x"),
    "a device": listing("/dev/zero"),
    "this process' memory": listing("/proc/self/mem"),
    "a number for a hash": listing("recipe.json", 5),
    "a table for a hash": listing("recipe.json", {"__class__": "os.system"}),
    "a list of files": saying(files=["recipe.json"]),
    "no files": saying(files=None),
    "nothing listed": saying(files={}),
    "no count": saying(test_openings=None),
    "a word for a count": saying(test_openings="__import__('os')"),
    "a link for a recipe": linked("recipe.json", OUTSIDE),
    "a link for weights": linked("model.safetensors", OUTSIDE),
    "a link for a log": linked("log.jsonl", OUTSIDE),
    "a link for a manifest": linked("manifest.json", OUTSIDE),
    "a link to a device": linked("log.jsonl", "/dev/zero"),
    "a link in a circle": linked("log.jsonl", "log.jsonl"),
    "a link to nowhere": linked("facts.json", "nowhere"),
    "a link for what is not listed": linked("pretraining.jsonl", "/dev/zero"),
    "a folder's link": folder_linked,
    "a pipe for weights": piped("model.safetensors", listed=True),
    "a pipe for a log": piped("log.jsonl", listed=False),
    "a pipe for facts": piped("facts.json", listed=False),
    "a pipe for times": piped("timing.jsonl", listed=False),
    "a pipe for what is not listed": piped("pretraining.jsonl", listed=False),
    "a pipe for a manifest": piped("manifest.json", listed=True),
    "weights nobody vouches for": unlisted("model.safetensors"),
    "a log of no lines": holding("log.jsonl", ""),
    "a log of other fields": holding("log.jsonl", '{"__class__": "os.system"}\n'),
    "a log of lists": holding("log.jsonl", "[]\n"),
    "a log of words": holding("log.jsonl", '{"epoch": "a", "step": "b"}\n'),
    "a log of brackets": holding("log.jsonl", "[" * 100_000 + "\n"),
    "half a letter in a log": holding("log.jsonl", b"\xff\xfe\n"),
    "facts that are none": holding("facts.json", "[]"),
    "times that are none": holding("timing.jsonl", "{"),
    "a warm start of other fields": holding("pretraining.jsonl", '{"eval": "x"}\n'),
    "a transfer that is none": holding("transfer.json", "[]"),
    "a recipe of code": holding("recipe.json", '{"name": "x", "model": {"kind": "os.system"}}'),
    "logits that are none": holding("validation-logits.safetensors", b"\x80\x04."),
    "novelty that is none": holding("novelty.safetensors", b"\x80\x04."),
}


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> bytes:
    """Return an archive of one member, which may claim to be longer than it is."""
    file, info = io.BytesIO(), tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, size
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(info, io.BytesIO(bytes(min(size, 512))) if size and size <= 512 else None)
    return file.getvalue()


ARCHIVES: dict[str, bytes] = {
    "a name above": member("../../evil", size=5),
    "a link above": member("evil", tarfile.SYMTYPE, "../../../etc"),
    "a hard link above": member("evil", tarfile.LNKTYPE, "/etc/passwd"),
    "a device": member("evil", tarfile.CHRTYPE),
    "more than there is": member("model.safetensors", size=2**40),
    "no archive": b"#!/bin/sh\ntouch mark\n",
}


def add(shelf: Shelf, sound: Sound) -> None:
    for name, change in HOSTILE.items():

        def make(place: Path, change: Make = change) -> Any:
            shutil.copytree(sound.run, place)
            change(place)

        shelf.folder_of(name, "run", make, harmless="for what is not listed" in name)
    for name in ("a name above", "an absolute name"):
        model = {"a name above": "../model.onnx", "an absolute name": "/etc/hostname"}[name]

        def serve(place: Path, model: str = model) -> None:
            shutil.copytree(sound.run, place)
            listing(model)(place)
            linked("model.onnx", OUTSIDE)(place)

        shelf.folder_of(f"served: a link beside {name}", "served", serve)
    for name, archive in ARCHIVES.items():
        shelf.file(f"an archive: {name}", "archive", "given.tar", archive)
