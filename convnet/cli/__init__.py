"""The command line: ``convnet train``, ``evaluate``, ``predict``, ``export``, ``summary``, ``profile`` and ``info``.

This package contains what reads arguments, what prints, and the default recipe; the packages below it do the work, and
must not import it. `program` is the frame of all commands, `arguments` has their options, and each command has a module
that is imported when it is called for, so that ``convnet --help`` answers at once.
"""

from convnet.cli.program import main

__all__ = ["main"]
