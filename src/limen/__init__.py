"""Limen: a self-hosted zero-trust access platform."""


def __getattr__(name: str) -> str:
    """Read `__version__` from the installed distribution when somebody asks: commands need not wait."""
    if name != "__version__":
        raise AttributeError(f"module 'limen' has no attribute {name!r}")
    from importlib.metadata import version

    return version("limen")
