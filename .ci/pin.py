"""Write constraints.txt: the exact version of each package that .ci/run installs.

`python3 .ci/pin.py` asks the package index for the newest versions that fit together, for the Python that runs it.
"""

import json
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

HERE = Path(__file__).parent
EXTRAS = "test", "lint", "benchmark", "docs"
OTHERS = ["pip-audit"]

content = tomllib.loads((HERE.parent / "pyproject.toml").read_text())
project, building = content["project"], content["build-system"]["requires"]
extras = project["optional-dependencies"]
wanted = building + project["dependencies"] + OTHERS + [name for extra in EXTRAS for name in extras[extra]]
with tempfile.TemporaryDirectory() as folder:
    venv.create(folder, with_pip=True)
    pip = [Path(folder) / "bin" / "pip", "install", "--quiet"]
    subprocess.run([*pip, "--upgrade", "pip"], check=True)
    done = subprocess.run([*pip, "--dry-run", "--report", "-", *wanted], check=True, stdout=subprocess.PIPE)
found = [package["metadata"] for package in json.loads(done.stdout)["install"]]
# What follows + names a build for one kind of machine.
pins = sorted(f"{package['name'].lower()}=={package['version'].partition('+')[0]}" for package in found)
head = f"# Python {sys.version_info.major}.{sys.version_info.minor}; written by .ci/pin.py.\n"
(HERE / "constraints.txt").write_text(head + "\n".join(pins) + "\n")
