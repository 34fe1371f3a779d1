"""Linnaeus turns labelled images into an image classifier you can trust and ship."""

from linnaeus.version import __version__

__all__ = ["__version__"]
