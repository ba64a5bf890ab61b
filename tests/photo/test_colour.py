"""Colour profiles: converted as the definition of their colour space says, the same in training and ever after."""

import io
from pathlib import Path

import numpy as np
import pytest
from phone_pictures import (
    ADOBE_PROFILE,
    GREY_PROFILE,
    INK_PROFILE,
    INKS,
    P3_PROFILE,
    avif,
    heic,
    in_lab,
    with_profile,
)
from pictures import COLOUR_PROFILE, garment, saved
from PIL import Image
from profiles import ADOBE_GAMMA, ADOBE_RGB, D50, DISPLAY_P3, srgb_of_lab, srgb_of_screen, srgb_of_xyz

from modiste.errors import RecipeError
from modiste.inference.predictor import Predictor
from modiste.models.registry import Task, build_model
from modiste.photo.opening import open_photo, photo_of
from modiste.photo.preparation import Preparation
from modiste.recipes.networks import MLPRecipe
from modiste.recipes.recipe import DataRecipe, Recipe
from modiste.runs import checkpoint
from modiste.runs.checkpoint import ModelInfo

COLOURS = np.array(
    [(200, 60, 60), (60, 180, 90), (70, 80, 190), (128, 128, 128), (240, 220, 60), (30, 40, 35)], np.uint8
)
NEAR, FAR = 5, 20
"""Grey levels: tables are rounded, and a decoder of HEIC or AVIF is not exact."""


def patches(colours: np.ndarray = COLOURS) -> Image.Image:
    """Squares of these colours side by side."""
    return Image.fromarray(np.repeat(np.repeat(colours[None], 32, axis=0), 32, axis=1))


def middles(photo: np.ndarray) -> np.ndarray:
    return photo[16, 16::32].astype(int)


FILES = {
    "jpeg": lambda image, profile: saved(image, "JPEG", quality=100, subsampling=0, icc_profile=profile),
    "png": lambda image, profile: saved(image, "PNG", icc_profile=profile),
    "webp": lambda image, profile: saved(image, "WEBP", lossless=True, icc_profile=profile),
    "tiff": lambda image, profile: saved(image, "TIFF", icc_profile=profile),
    "avif": lambda image, profile: avif(image, quality=100, subsampling="4:4:4", icc_profile=profile),
    "heic": lambda image, profile: heic(with_profile(image, profile), quality=-1, chroma=444),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_phones_and_a_cameras_colours_become_those_of_srgb(kind: str) -> None:
    for profile, colours, power in ((P3_PROFILE, DISPLAY_P3, None), (ADOBE_PROFILE, ADOBE_RGB, ADOBE_GAMMA)):
        found = middles(open_photo(FILES[kind](patches(), profile)))
        assert np.abs(found - srgb_of_screen(COLOURS, colours, power)).max() <= NEAR
        assert np.abs(found - COLOURS).max() > FAR


@pytest.mark.parametrize("kind", FILES)
def test_decoder_1_takes_colours_as_they_are_stored(kind: str) -> None:
    with_one, without = (open_photo(FILES[kind](patches(), one), decoder=1) for one in (P3_PROFILE, None))
    assert np.array_equal(with_one, without)
    assert np.array_equal(without, open_photo(FILES[kind](patches(), None)))


def test_an_image_in_memory_has_the_colours_of_its_file() -> None:
    file = FILES["png"](patches(), P3_PROFILE)
    image = Image.open(io.BytesIO(file))
    assert np.array_equal(photo_of(image), open_photo(file))
    assert np.array_equal(photo_of(image, decoder=1), np.asarray(image))
    inks = Image.new("CMYK", (1100, 64), (0, 255, 0, 0))
    inks.info["icc_profile"] = INK_PROFILE
    assert np.array_equal(photo_of(inks), open_photo(saved(inks, "TIFF", icc_profile=INK_PROFILE)))
    assert inks.size == (1100, 64)


def test_a_profile_of_srgb_itself_changes_no_pixel() -> None:
    for kind in ("png", "jpeg", "tiff"):
        tagged, plain = (open_photo(FILES[kind](patches(), one)) for one in (COLOUR_PROFILE, None))
        assert np.array_equal(tagged, plain)


def test_inks_become_the_colours_that_a_printers_profile_gives_them() -> None:
    inks = 255 * np.array(list(INKS), np.uint8)
    image = Image.fromarray(np.repeat(np.repeat(inks[None], 32, axis=0), 32, axis=1), "CMYK")
    expected = np.array([srgb_of_lab(lab) for lab in INKS.values()])
    for kind in ("JPEG", "TIFF"):
        options = {"quality": 100} if kind == "JPEG" else {}
        found = middles(open_photo(saved(image, kind, icc_profile=INK_PROFILE, **options)))
        assert np.abs(found - expected).max() <= NEAR
        assert np.abs(middles(open_photo(saved(image, kind, **options))) - expected).max() > FAR


def test_grey_levels_follow_their_profile() -> None:
    levels = np.array([20, 90, 160, 230], np.uint8)
    image = Image.fromarray(np.repeat(np.repeat(levels[None], 32, axis=0), 32, axis=1))
    found = middles(open_photo(saved(image, "PNG", icc_profile=GREY_PROFILE)))
    expected = srgb_of_xyz(((levels / 255) ** (round(256 * 1.8) / 256))[:, None] * np.array(D50))
    assert np.abs(found - expected).max() <= NEAR


def test_lab_is_converted_without_a_profile() -> None:
    found = middles(open_photo(saved(in_lab(patches()), "TIFF")))
    assert np.abs(found - COLOURS).max() <= NEAR  # eight bits of Lab are coarse


def test_a_profile_that_cannot_be_used_changes_nothing() -> None:
    plain = open_photo(saved(garment(), "PNG"))
    long = P3_PROFILE.replace(b"curv", b"mpet").replace(b"para", b"mpet")
    for profile in (INK_PROFILE, P3_PROFILE[:200], b"acsp" * 100, long, P3_PROFILE[:16] + b"HSV " + P3_PROFILE[20:]):
        assert np.array_equal(open_photo(saved(garment(), "PNG", icc_profile=profile)), plain)


def test_a_jpeg_whose_profile_lacks_a_part_keeps_its_colours() -> None:
    whole = saved(garment(), "JPEG", icc_profile=P3_PROFILE + bytes(70_000))
    at = whole.rindex(b"ICC_PROFILE\0\x02\x02") - 4
    length = int.from_bytes(whole[at + 2 : at + 4])
    without = whole[:at] + whole[at + 2 + length :]
    assert np.array_equal(open_photo(without), open_photo(whole, decoder=1))
    assert not np.array_equal(open_photo(without), open_photo(whole))


def test_a_model_of_an_earlier_version_keeps_its_answers(tmp_path: Path) -> None:
    recipe = Recipe(
        name="old", model=MLPRecipe(hidden=(8,)), data=DataRecipe(pictures="stretched", side=8, colour=True)
    )
    task = Task(image_shape=(3, 8, 8), class_names=("a", "b"), mean=0.3, deviation=0.4)
    path = tmp_path / "model.safetensors"
    checkpoint.save_model(path, build_model(recipe.model, task, seed=1).state_dict(), ModelInfo(recipe, task, 1, "f"))
    new = Predictor.load(path, device="cpu")
    tensors, plain = checkpoint.read(path)
    del plain["recipe"]["data"]["decoder"]
    path.write_bytes(checkpoint.to_bytes(tensors, plain))
    old = Predictor.load(path, device="cpu")
    tagged, plain_file = (saved(patches(), "PNG", icc_profile=one) for one in (P3_PROFILE, None))
    assert np.array_equal(old.preparation(tagged).image, old.preparation(plain_file).image)
    assert not np.array_equal(new.preparation(tagged).image, new.preparation(plain_file).image)
    assert np.array_equal(new.preparation(plain_file).image, old.preparation(plain_file).image)


def test_a_preparation_keeps_its_decoder() -> None:
    file = saved(patches(), "PNG", icc_profile=P3_PROFILE)
    for way in ("whole", "stretched"):
        old, new = (Preparation(way, 32, 3, decoder)(file).image for decoder in (1, 2))
        assert not np.array_equal(old, new)
    with pytest.raises(RecipeError, match="decoder: expected one of 1, 2, 3, found 4"):
        Preparation("whole", 32, 3, 4)
