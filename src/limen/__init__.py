"""Limen: a self-hosted zero-trust access platform."""

from importlib.metadata import version

__version__ = version("limen")
