"""The native code in a C program of its own, for the systems whose compilers are here."""

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


@pytest.mark.slow
@pytest.mark.parametrize("system", SYSTEMS)
def test_the_native_code_runs_without_python(system, tmp_path):
    compiler, options, runner = SYSTEMS[system]
    for program in (compiler, *runner):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not on the PATH")
    program = tmp_path / "native.exe"
    include = f"-I{ROOT / 'convnet' / 'native'}"
    command = [compiler, "-O1", "-Wall", "-Wno-unused", "-Werror", include, ROOT / "tests" / "native.c", "-o", program]
    subprocess.run([*command, *options, "-lm"], check=True, timeout=300)
    variables = os.environ | {"WINEPREFIX": str(tmp_path / "wine"), "WINEDEBUG": "-all"}
    done = subprocess.run([*runner, program], env=variables, capture_output=True, text=True, timeout=300)
    assert (done.stdout.strip(), done.returncode) == ("the same", 0), done.stderr
