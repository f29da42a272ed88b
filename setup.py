"""Build of the compiled module convnet._kernels; everything else is declared in pyproject.toml.

CONVNET_DEBUG=1 in the environment builds it with bounds checks and without optimisation.
"""

import os
import shutil
import sysconfig
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import PlatformError

DEBUG = os.environ.get("CONVNET_DEBUG", "0") not in ("", "0")

# No -ffast-math: with gcc before 13 it changes how the whole process treats subnormal numbers. These four
# let sums be vectorised and leave NaN, infinity and subnormals as they are.
OPTIMISE = ["-O3", "-fno-math-errno", "-fassociative-math", "-fno-signed-zeros", "-fno-trapping-math"]
CHECK = ["-O1", "-g1", "-UNDEBUG"]
# What asks for debug symbols, or needs them for its reports.
SYMBOLS = ("-g", "-fsanitize")
# Platforms whose Python has no threads: Pyodide.
WITHOUT_THREADS = ("emscripten", "pyodide", "pyemscripten")

COMPILER_DIRECTIVES = {
    "language_level": 3,
    "boundscheck": DEBUG,
    "initializedcheck": DEBUG,
    "wraparound": False,
    "cdivision": True,
    "freethreading_compatible": True,  # tests/core/test_threads.py passes without the GIL
}


class BuildExt(build_ext):
    """build_ext that says in one sentence what a machine lacks for building."""

    def finalize_options(self):
        super().finalize_options()
        self.force = True  # an object built under another CONVNET_DEBUG looks up to date

    def build_extensions(self):
        if self.compiler.compiler_type == "unix":
            self.require_compiler(self.compiler.compiler_so[0])
            self.require_headers()
            threads = [] if sysconfig.get_platform().startswith(WITHOUT_THREADS) else ["-pthread"]
            for extension in self.extensions:
                extension.extra_compile_args += [*threads, *(CHECK if DEBUG else OPTIMISE)]
                extension.extra_link_args += threads
                if not DEBUG and not self.wants_symbols():
                    # Python's own flags often have -g: the compiler would take twice as long, for symbols of no use.
                    extension.extra_compile_args += ["-g0"]
                extension.libraries += ["m"]
        super().build_extensions()

    def wants_symbols(self):
        """Return whether the user's own flags, not those that Python was built with, ask for debug symbols."""
        own = f"{os.environ.get('CFLAGS', '')} {os.environ.get('LDFLAGS', '')}".split()
        return any(flag.startswith(SYMBOLS) and flag != "-g0" for flag in own)

    def require_compiler(self, name):
        if shutil.which(name) is None:
            raise PlatformError(
                f"convnet needs a C compiler, and {name!r} is not on the PATH: install one "
                "(Debian and Ubuntu: apt install gcc libc6-dev; Fedora: dnf install gcc; macOS: xcode-select --install)"
            )

    def require_headers(self):
        folders = dict.fromkeys(sysconfig.get_path(name) for name in ("include", "platinclude"))
        if not any((Path(folder) / "Python.h").is_file() for folder in folders):
            raise PlatformError(
                f"convnet needs Python's C headers, and there is no Python.h in {' or '.join(folders)}: install them "
                "(Debian and Ubuntu: apt install python3-dev; Fedora: dnf install python3-devel)"
            )


setup(
    ext_modules=cythonize(
        [
            Extension(
                "convnet._kernels",
                ["convnet/_kernels.pyx"],
                include_dirs=["convnet/native"],
                depends=[str(path) for path in sorted(Path("convnet").rglob("*")) if path.suffix in (".h", ".pxi")],
            )
        ],
        build_dir="build/cython",
        force=True,
        compiler_directives=COMPILER_DIRECTIVES,
    ),
    cmdclass={"build_ext": BuildExt},
)
