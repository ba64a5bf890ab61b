"""Train the built-in segmentation network from U2-Net's masks, and measure it beside them.

    python benchmarks/segmentation_student.py TRAIN VALIDATION [--photos 2400] [--minutes 28] [--measure-only]

TRAIN and VALIDATION are folders of photos: the two parts of the public clothing-dataset-small (CC0 1.0). Needs U2-Net's
file (docs/photos.md) and the extra ``backbones``: the first blocks are EfficientNet-Lite0's. Writes the network into
``src/modiste/photo/networks``, and ``segmentation.json`` and ``segmentation.md`` into ``records/photos``. Put the hash
that is printed into ``modiste.photo.segmentation``.
"""

import hashlib
import io
import math
import random
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from modiste.models.efficientnet_lite import Convolution, EfficientNetLite
from modiste.models.onednn import fold
from modiste.photo import segmentation
from modiste.photo.background import largest_parts, overlap
from modiste.photo.opening import open_photo
from modiste.photo.segmentation import BUILT_IN, FOLDER, U2NET
from modiste.recipes.networks import EfficientNetLiteRecipe
from modiste.training.transfer.backbones import BACKBONES, locate
from record import Record, describe_machine, parser, provenance, rows

SIDE, STORED_SIDE = BUILT_IN.side, U2NET.side
BLOCKS, FIXED = 11, 3
"""Blocks of EfficientNet-Lite0 that are kept, and the first of them whose weights stay as they are."""
TAPS = {0: 16, 2: 24, 4: 40}
"""Blocks whose maps the decoder takes, with their channels: a half, a quarter and an eighth of the input's size."""
DEEPEST, WIDTHS = 112, (48, 32, 24, 16)
BATCH, LEARNING_RATE, ENCODER_SHARE, WEIGHT_DECAY = 16, 3e-3, 0.2, 1e-4
WARM_UP = 50
"""Steps in which the learning rate rises; then it falls to 0 as a cosine of the time."""
LEAST_STORED = 64
"""Tensors of at least as many values are stored as float16 and computed with as float32."""
ORIGIN = (
    "Learned by benchmarks/segmentation_student.py from masks by U2-Net (Qin and others, 2020; Apache-2.0) of photos "
    "of clothing-dataset-small (CC0 1.0). The encoder began as EfficientNet-Lite0 (Apache-2.0)."
)


class Student(nn.Module):
    """EfficientNet-Lite0's first blocks, and a decoder that brings their maps back to half the input's size.

    Takes photos in the range of -1 to 1, returns logits of what stands in front.
    """

    def __init__(self) -> None:
        super().__init__()
        whole = EfficientNetLite(EfficientNetLiteRecipe(), image_shape=(3, SIDE, SIDE), classes=1)
        self.stem, self.blocks = whole.stem, whole.blocks[:BLOCKS]
        self.gate = nn.Conv2d(DEEPEST, DEEPEST, 1)
        self.neck = separable(DEEPEST, WIDTHS[0])
        self.skips, self.rises, self.merges = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for channels, before, width in zip(reversed(TAPS.values()), WIDTHS, WIDTHS[1:], strict=False):
            self.skips.append(Convolution(channels, width, active=False))
            self.rises.append(Convolution(before, width, active=False))
            self.merges.append(separable(width, width))
        self.head = nn.Conv2d(WIDTHS[-1], 1, 1)

    def forward(self, photos: Tensor) -> Tensor:
        taps, maps = self.encode(photos)
        maps = self.neck(maps * torch.sigmoid(self.gate(F.adaptive_avg_pool2d(maps, 1))))
        for tap, skip, rise, merge in zip(reversed(taps), self.skips, self.rises, self.merges, strict=True):
            risen = F.interpolate(rise(maps), scale_factor=2.0, mode="bilinear", align_corners=False)
            maps = merge(F.relu6(skip(tap) + risen))
        logits: Tensor = self.head(maps)
        return logits

    def encode(self, photos: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the maps of TAPS and of the last block; the fixed blocks compute in bfloat16 while training."""
        taps = []
        with torch.set_grad_enabled(not self.training), torch.autocast("cpu", enabled=self.training):
            maps = self.stem(photos)
            for number, block in enumerate(self.blocks[:FIXED]):
                maps = block(maps)
                taps += [maps.float()] * (number in TAPS)
        maps = maps.float()
        for number, block in enumerate(self.blocks[FIXED:], FIXED):
            maps = block(maps)
            taps += [maps] * (number in TAPS)
        return taps, maps


def separable(inputs: int, outputs: int) -> nn.Sequential:
    """Return a convolution of 5 x 5 for each channel alone, and one that mixes them."""
    return nn.Sequential(Convolution(inputs, inputs, 5, groups=inputs, active=False), Convolution(inputs, outputs))


def started() -> Student:
    """Return the network before training: the encoder as published, its batch normalisation folded in."""
    student = Student()
    weights = load_file(locate(BACKBONES["efficientnet-lite0"]).path)
    own = {name.removeprefix("network."): value for name, value in weights.items()}
    missing, _ = student.load_state_dict(own, strict=False)
    assert not any(name.startswith(("stem", "blocks")) for name in missing), missing
    for part in (student.stem, student.blocks):
        part.eval()
        fold(part)
    for part in (student.stem, *student.blocks[:FIXED]):
        part.requires_grad_(False)
    return student.to(memory_format=torch.channels_last)


def photos_in(folder: Path) -> list[Path]:
    """Return the photos below a folder, in an order that mixes its classes."""
    files = sorted(folder.rglob("*.jpg"))
    random.Random(0).shuffle(files)
    return files


def masks_by(network: segmentation.LoadedNetwork, photo: np.ndarray) -> np.ndarray:
    """Return a network's mask of a photo, as bytes of STORED_SIDE x STORED_SIDE."""
    image, side = Image.fromarray(photo), network.network.side
    small = np.asarray(image.resize((side, side), Image.Resampling.LANCZOS), dtype=np.float32)
    mask = Image.fromarray(network.run(small)).resize((STORED_SIDE, STORED_SIDE), Image.Resampling.BILINEAR)
    return (np.asarray(mask) * 255).round().astype(np.uint8)


def lesson(files: list[Path], stored: Path) -> tuple[Tensor, Tensor]:
    """Return photos (n, 3, STORED_SIDE, STORED_SIDE) and U2-Net's masks (n, 1, ...) of them, as bytes.

    The masks are kept in the folder ``stored``: they take a quarter of a second each.
    """
    names = (stored / "photos.npy", stored / "masks.npy")
    if not all(path.exists() for path in names):
        teacher = segmentation.load_network()
        opened = [open_photo(path) for path in files]
        size = (STORED_SIDE, STORED_SIDE)
        photos = [np.asarray(Image.fromarray(photo).resize(size, Image.Resampling.BOX)) for photo in opened]
        stored.mkdir(parents=True, exist_ok=True)
        np.save(names[0], np.stack(photos))
        np.save(names[1], np.stack([masks_by(teacher, photo) for photo in opened]))
    photos, masks = (torch.from_numpy(np.load(path)[: len(files)]) for path in names)
    return photos.permute(0, 3, 1, 2), masks[:, None]


def altered(photos: Tensor, masks: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return a batch of the network's size: mirrored, cropped, in other light and colours; masks at half the size."""
    views, targets = [], []
    for photo, mask in zip(photos, masks, strict=True):
        draws = torch.rand(8, generator=generator).tolist()
        height, width = (round(STORED_SIDE * (1 - 0.4 * share * (draws[0] < 0.6))) for share in draws[1:3])
        top, left = int(draws[3] * (STORED_SIDE - height)), int(draws[4] * (STORED_SIDE - width))
        box = (slice(None), slice(top, top + height), slice(left, left + width))
        axes = [2] * (draws[5] < 0.5) + [1] * (draws[6] < 0.05)
        view, target = (whole[box].flip(axes)[None].float() for whole in (photo, mask))
        views.append(F.interpolate(view, (SIDE, SIDE), mode="bilinear", antialias=True))
        targets.append(F.interpolate(target, (SIDE // 2, SIDE // 2), mode="area"))
    return in_other_light(torch.cat(views), generator), torch.cat(targets) / 255


def in_other_light(views: Tensor, generator: torch.Generator) -> Tensor:
    """Return photos of bytes as the network takes them: each with a contrast, a brightness and a tint of its own."""
    n = len(views)
    draws = torch.rand((n, 3, 1, 1), generator=generator) * 2 - 1
    contrast, brightness, gamma = (draws[:, place : place + 1] for place in range(3))
    tint = 1 + 0.1 * (torch.rand((n, 3, 1, 1), generator=generator) * 2 - 1)
    light = (views / 255).clamp(0, 1) ** torch.exp(0.4 * gamma) * tint
    light = (light - light.mean((1, 2, 3), keepdim=True)) * torch.exp(0.3 * contrast) + light.mean(
        (1, 2, 3), keepdim=True
    )
    light = (light + 0.1 * brightness).clamp(0, 1)
    light = light / light.amax((1, 2, 3), keepdim=True).clamp_min(1 / 255)
    return ((light * 255 - 127) / 128).contiguous(memory_format=torch.channels_last)


def loss_of(logits: Tensor, masks: Tensor) -> Tensor:
    """Return the cross-entropy with soft masks, and one minus the overlap of the soft masks."""
    found = torch.sigmoid(logits)
    both, either = (found * masks).sum((1, 2, 3)), (found + masks - found * masks).sum((1, 2, 3))
    return F.binary_cross_entropy_with_logits(logits, masks) + 1 - (both / either.clamp_min(1)).mean()


def train(student: Student, photos: Tensor, masks: Tensor, minutes: float) -> int:
    """Train the network in place until the time is over; return the number of steps."""
    encoder = [weight for weight in student.blocks.parameters() if weight.requires_grad]
    known = {id(weight) for weight in (*student.stem.parameters(), *student.blocks.parameters())}
    decoder = [weight for weight in student.parameters() if id(weight) not in known]
    optimizer = torch.optim.AdamW([{"params": encoder}, {"params": decoder}], weight_decay=WEIGHT_DECAY)
    generator, begun, step = torch.Generator().manual_seed(0), time.perf_counter(), 0
    student.train()
    for step, chosen in enumerate(batches(len(photos), generator)):
        progress = (time.perf_counter() - begun) / (60 * minutes)
        if progress >= 1:
            break
        for group, share in zip(optimizer.param_groups, (ENCODER_SHARE, 1), strict=True):
            group["lr"] = share * LEARNING_RATE * min((step + 1) / WARM_UP, 0.5 + 0.5 * math.cos(math.pi * progress))
        views, targets = altered(photos[chosen], masks[chosen], generator)
        loss = loss_of(student(views), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 20 == 0:
            print(f"step {step}: loss {loss.item():.4f}, {progress:.0%} of the time", flush=True)
    return step


def batches(count: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield the numbers of BATCH photos without an end; every photo comes once before any comes again."""
    while True:
        yield from torch.randperm(count, generator=generator)[: count // BATCH * BATCH].reshape(-1, BATCH)


class Exported(nn.Module):
    """The network with its result as probabilities at the input's size."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student

    def forward(self, photos: Tensor) -> Tensor:
        logits = F.interpolate(self.student(photos), scale_factor=2.0, mode="bilinear", align_corners=False)
        return torch.sigmoid(logits)


def as_onnx(student: Student) -> bytes:
    """Return the network as an ONNX file, with large tensors in float16."""
    file, blank = io.BytesIO(), torch.zeros(1, 3, SIDE, SIDE)
    names = {"input_names": ["photo"], "output_names": ["certainty"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(Exported(student).eval(), (blank,), file, opset_version=17, dynamo=False, **names)
    model = onnx.load_model_from_string(file.getvalue())
    rename(model.graph)
    casts = []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.size >= LEAST_STORED:
            half = f"{tensor.name}.half"
            casts.append(helper.make_node("Cast", [half], [tensor.name], to=TensorProto.FLOAT))
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), half))
    for cast in reversed(casts):
        model.graph.node.insert(0, cast)
    model.doc_string = ORIGIN
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def rename(graph: onnx.GraphProto) -> None:
    """Number the tensors of a graph, except its input and output: their names would take 60 kB."""
    kept = {one.name for one in (*graph.input, *graph.output)}
    numbers: dict[str, str] = {}

    def short(name: str) -> str:
        return name if name in kept or not name else numbers.setdefault(name, f"{len(numbers):x}")

    for tensor in graph.initializer:
        tensor.name = short(tensor.name)
    for node in graph.node:
        node.name = ""
        node.input[:], node.output[:] = map(short, node.input), map(short, node.output)
    del graph.value_info[:]


def overlaps(files: list[Path]) -> list[tuple[str, float]]:
    """Return for each photo its kind, and the overlap of both networks' masks at its full size, without specks."""
    both = [segmentation.load_network(name) for name in (None, BUILT_IN.name)]
    found = []
    for path in files:
        photo = open_photo(path)
        masks = [largest_parts(segmentation.segment(photo, network) > 0.5) for network in both]
        found.append((path.parent.name, overlap(*masks)))
    return found


def milliseconds(network: segmentation.LoadedNetwork, rounds: int = 10) -> float:
    """Return the median milliseconds of processor time that a photo takes in a network."""
    photo, taken = np.zeros((network.network.side, network.network.side, 3), np.float32), []
    for _ in range(rounds):
        begun = time.process_time()
        network.run(photo)
        taken.append(time.process_time() - begun)
    return 1000 * float(np.median(taken))


def main() -> None:
    arguments = parser(__doc__, "records/photos")
    arguments.add_argument("train", type=Path)
    arguments.add_argument("validation", type=Path)
    arguments.add_argument("--photos", type=int, default=2400)
    arguments.add_argument("--measured", type=int, help="number of photos of VALIDATION; all if unset")
    arguments.add_argument("--minutes", type=float, default=28)
    arguments.add_argument("--masks", type=Path, default=Path("segmentation-masks"), help="keeps U2-Net's masks")
    arguments.add_argument("--measure-only", action="store_true")
    options = arguments.parse_args()
    if segmentation.choose_network() is BUILT_IN:
        raise SystemExit("expected U2-Net's file, found none: docs/photos.md says how to get it")
    if not options.measure_only:
        make(options)
    found = overlaps(photos_in(options.validation)[: options.measured])
    kinds = {kind: [value for one, value in found if one == kind] for kind, _ in sorted(found)}
    values = np.array([value for _, value in found])
    words = f"--photos {options.photos} --minutes {options.minutes:g}"
    words += f" --measured {options.measured}" if options.measured else ""
    record = provenance() | {
        "command": f"python benchmarks/segmentation_student.py TRAIN VALIDATION {words}",
        "network": {
            "parameters": sum(weight.numel() for weight in Student().parameters()),
            "sha256": BUILT_IN.file.sha256,
        },
        "file_bytes": (FOLDER / f"{BUILT_IN.name}.onnx").stat().st_size,
        "photos": len(found),
        "overlap": {"mean": float(values.mean()), "median": float(np.median(values))},
        "below_half": float((values < 0.5).mean()),
        "kinds": {kind: float(np.mean(some)) for kind, some in kinds.items()},
        "milliseconds": {
            one.network.name: milliseconds(one) for one in map(segmentation.load_network, (None, BUILT_IN.name))
        },
    }
    Record(options.out, "segmentation.json", "segmentation.md").save(record, as_markdown(record))


def make(options: Any) -> None:
    """Train the network, write its file, and print the file's hash."""
    torch.manual_seed(0)
    student = started()
    photos, masks = lesson(photos_in(options.train)[: options.photos], options.masks)
    print(f"{len(photos)} photos; trained in {train(student, photos, masks, options.minutes):,} steps")
    content = as_onnx(student)
    path = FOLDER / f"{BUILT_IN.name}.onnx"
    path.write_bytes(content)
    print(f"{path}: {len(content):,} bytes, SHA-256 {hashlib.sha256(content).hexdigest()}")


def as_markdown(record: dict[str, Any]) -> str:
    """Return the page."""
    kinds = [(kind, f"{mean:.3f}") for kind, mean in record["kinds"].items()]
    times = [(name, f"{value:.1f}") for name, value in record["milliseconds"].items()]
    return f"""# The built-in segmentation network

It learned from U2-Net's masks (computed in bfloat16). Here both find what stands in front on {record["photos"]} photos
of the validation part of the public clothing-dataset-small (CC0 1.0), which it never saw. Overlap is the intersection
of both masks over their union, at the photo's own size. Made by
`{record["command"]}`.

{record["network"]["parameters"]:,} parameters, {record["file_bytes"]:,} bytes. Mean overlap
**{record["overlap"]["mean"]:.3f}**, median {record["overlap"]["median"]:.3f}; {record["below_half"]:.1%} below 0.5.

| kind | mean overlap |
|---|---|
{rows(kinds)}

| network | milliseconds of processor time for a photo |
|---|---|
{rows(times)}

{describe_machine(record["machine"])}
"""


if __name__ == "__main__":
    main()
