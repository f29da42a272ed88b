"""Look up the packages of constraints.txt in the advisories of known vulnerabilities, with pip-audit.

The exit code is 0 if each was looked up and none has an advisory; 1 if one has, or pip-audit itself fails; and 2 if the
advisories were not reached, or do not know some of the packages, as those of an index other than PyPI.
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
skipped = [package["skip_reason"] for package in packages if "vulns" not in package]
if not packages and "connect" not in done.stderr.lower():
    print(f"pip-audit failed with status {done.returncode}: {done.stderr.strip()[-2000:]}")
    sys.exit(1)
if skipped or not packages:
    reason = next(iter(skipped or done.stderr.splitlines()[-1:]))
    print(f"NOT AUDITED: the advisories were not reached for all: {reason}")
    sys.exit(2)
