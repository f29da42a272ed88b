"""Look up the packages of constraints.txt in the advisories of known vulnerabilities, with pip-audit.

The exit code is 0 if each was looked up and none has an advisory, 1 if one has, and 2 if some could not be looked up.
"""

import json
import subprocess
import sys
from pathlib import Path

LIST = Path(__file__).parent / "constraints.txt"

command = [sys.executable, "-m", "pip_audit", "--requirement", LIST, "--no-deps", "--disable-pip", "--format", "json"]
done = subprocess.run(command, capture_output=True, text=True)
packages = json.loads(done.stdout)["dependencies"] if done.stdout else []
for package in packages:
    for advisory in package.get("vulns", ()):
        print(f"{package['name']} {package['version']}: {advisory['id']}, mended in {advisory['fix_versions']}")
audited = [package for package in packages if "vulns" in package]
print(f"{len(audited)} packages were looked up")
if any(package["vulns"] for package in audited):
    sys.exit(1)
if not packages or len(audited) < len(packages):
    reasons = [package["skip_reason"] for package in packages if "vulns" not in package]
    reason = next(iter(reasons or done.stderr.splitlines()[-1:]), "no answer")
    print(f"NOT AUDITED: the advisories were not reached for all: {reason}")
    sys.exit(2)
