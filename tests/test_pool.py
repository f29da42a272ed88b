"""The pool of threads in a C program of its own, for the systems whose compilers are here."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# The compiler of a system, what it needs besides, and what runs its programs.
SYSTEMS = {
    "this system": ("cc", ["-pthread"], []),
    "Windows": ("x86_64-w64-mingw32-gcc", ["-static"], ["wine"]),
}


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_pool_runs_without_python(system, tmp_path):
    compiler, options, runner = SYSTEMS[system]
    for program in (compiler, *runner):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not on the PATH")
    program = tmp_path / "pool.exe"
    source = ROOT / "tests" / "pool.c"
    command = [compiler, "-O2", "-Wall", "-Werror", f"-I{ROOT / 'convnet' / 'native'}", source, "-o", program, *options]
    subprocess.run([*command, "-lm"], check=True, timeout=120)
    variables = os.environ | {"WINEPREFIX": str(tmp_path / "wine"), "WINEDEBUG": "-all"}
    done = subprocess.run([*runner, program], env=variables, capture_output=True, text=True, timeout=300)
    assert (done.stdout.strip(), done.returncode) == ("the same", 0), done.stderr
