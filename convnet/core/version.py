"""The version of the package, and how its extras are installed."""

__all__ = ["__version__", "to_install"]

__version__ = "0.2.0"


def to_install(extra: str) -> str:
    """Return the commands that install the package with an extra, for messages."""
    return f'pip install "convnet-cpu[{extra}]", in a clone pip install ".[{extra}]"'
