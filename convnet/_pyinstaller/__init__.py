"""Where PyInstaller finds the hook that adds the package's data to a frozen program."""

from pathlib import Path


def get_hook_dirs() -> list[str]:
    """Return the folder of the hook."""
    return [str(Path(__file__).parent)]
