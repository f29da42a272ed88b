#!/usr/bin/env bash
# Makes the figures of the README: those of examples/train.py and examples/compare_options.py with their defaults, and
# a picture of the page, for which Chromium has to be there.
set -euo pipefail
cd "$(dirname "$0")/.."
results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT
python examples/train.py --output "$results"
python examples/compare_options.py --output "$results"
python benchmarks/webpage.py "$results/model.npz" --screenshot docs/page.png
python - "$results" docs <<'CONVERT'
import sys
from pathlib import Path

from PIL import Image

source, target = map(Path, sys.argv[1:])
for name in ("training.png", "filters.png", "options.png"):
    with Image.open(source / name) as image:
        smaller = image.convert("RGB").resize((image.width * 2 // 3, image.height * 2 // 3), Image.LANCZOS)
        smaller.quantize(256).save(target / name, optimize=True)
CONVERT
