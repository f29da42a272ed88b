"""The structure of the package: what may import what, and how long a file may be.

docs/architecture.md tells what each package is for.
"""

import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "convnet"

# From the top down: a file imports from its own package and from those below it. A single module counts as one.
PACKAGES = [
    "__init__",
    "_pyinstaller",
    "__main__",
    "cli",
    "distributed",
    "estimator",
    "onnx",
    "webpage",
    "plotting",
    "training",
    "models",
    "functional",
    "layers",
    "datasets",
    "formats",
    "core",
    "naive",
    "_kernels",
    "kernels",
    "native",
]
LONGEST = 600


def sources():
    return [path for path in PACKAGE.rglob("*") if path.suffix in (".py", ".pyx", ".pxi", ".h")]


def package_of(path):
    relative = path.relative_to(PACKAGE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def module_file(name):
    """Return the file of a module of the package, None for names that are none."""
    stem = ROOT.joinpath(*name.split("."))
    candidates = (stem.with_suffix(".py"), stem / "__init__.py", stem.with_suffix(".pyx"))
    return next((path for path in candidates if path.exists()), None)


def python_imports(path):
    """Return the files that a Python file imports, those for type checkers and those within functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: expected absolute imports"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if module_file(name) else node.module for name in names]
        else:
            continue
        found |= {module_file(name) for name in names if name.split(".")[0] == "convnet"}
    return found - {None, path}


def included(path):
    """Return the files that a C or Cython file includes."""
    text = path.read_text("utf-8")
    names = re.findall(r'^\s*#\s*include "(.+?)"', text, re.M) + re.findall(r'^include "(.+?)"', text, re.M)
    names += re.findall(r'^cdef extern from "(.+?)"', text, re.M)
    found = set()
    for name in names:
        places = [folder / name for folder in (path.parent, PACKAGE, PACKAGE / "native")]
        target = next((place.resolve() for place in places if place.exists()), None)
        assert target is not None, f"{path} includes {name}, which is not in the package"
        found.add(target)
    return found


def dependencies():
    return {path: python_imports(path) if path.suffix == ".py" else included(path) for path in sources()}


def test_every_source_file_is_in_a_package_of_the_list():
    assert {package_of(path) for path in sources()} == set(PACKAGES)


def test_imports_point_downwards():
    wrong = [
        f"{path.relative_to(ROOT)} imports {target.relative_to(ROOT)}"
        for path, targets in dependencies().items()
        for target in targets
        if PACKAGES.index(package_of(target)) < PACKAGES.index(package_of(path))
    ]
    assert wrong == []


def test_there_is_no_circle():
    graph = dependencies()
    # Importing a module imports the packages that it lies in, whose __init__ may import it in turn: that is no circle
    # between files, as long as none of them takes a name from its own package's __init__.
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(str(path.relative_to(ROOT)) for path in error.args[1]))


def test_only_the_compiled_module_reads_native_code():
    readers = {path.name for path, targets in dependencies().items() if any(package_of(t) == "native" for t in targets)}
    assert {name for name in readers if not name.endswith(".h")} <= {"_kernels.pyx"} | {
        path.name for path in (PACKAGE / "kernels").glob("*.pxi")
    }


def test_a_long_file_says_why_at_its_head():
    for path in sources():
        lines = path.read_text("utf-8").splitlines()
        if len(lines) > LONGEST and path.suffix != ".h":
            assert "This file is long because" in "\n".join(lines[:30]), f"{path} has {len(lines)} lines"


def test_third_party_packages_are_imported_where_they_are_used():
    for path in PACKAGE.rglob("*.py"):
        for node in ast.parse(path.read_text("utf-8")).body:  # at the top of the file alone
            # Whoever imports these two wants the package that they are doors to; `import convnet` leaves them out.
            if isinstance(node, (ast.Import, ast.ImportFrom)) and package_of(path) not in ("estimator", "onnx"):
                module = node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
                assert module.split(".")[0] not in {"matplotlib", "PIL", "tqdm", "tensorboard", "sklearn", "onnx"}, path
