"""Files: written whole or not at all, and read without running anything that they hold.

This package contains what handles bytes, archives and pickles. It must not import models, training or data sets.
"""

from convnet.formats.archives import Arrays, read_archive, write_archive
from convnet.formats.files import PathLike, open_file, read_file, replace_file
from convnet.formats.pickles import load_pickle

__all__ = [
    "Arrays",
    "PathLike",
    "load_pickle",
    "open_file",
    "read_archive",
    "read_file",
    "replace_file",
    "write_archive",
]
