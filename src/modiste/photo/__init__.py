"""From a user's photo to the image that the network sees."""

from modiste.photo.garment import Prepared, as_it_is, prepare

__all__ = ["Prepared", "as_it_is", "prepare"]
