"""The version of Modiste, in a file of its own, so that whatever states it need not import the rest."""

__version__ = "0.1.0"
