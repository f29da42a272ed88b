#!/usr/bin/env bash
# Makes the figures of the README: the training figure of examples/train.py with its defaults.
set -euo pipefail
cd "$(dirname "$0")/.."
results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT
python examples/train.py --output "$results"
python - "$results/training.png" docs/training.png <<'CONVERT'
import sys

from PIL import Image

with Image.open(sys.argv[1]) as image:
    image.convert("RGB").resize((image.width * 2 // 3, image.height * 2 // 3), Image.LANCZOS).quantize(256).save(sys.argv[2], optimize=True)
CONVERT
