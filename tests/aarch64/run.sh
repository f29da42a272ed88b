#!/usr/bin/env bash
# The library on aarch64 without such a processor, in one command on Debian or Ubuntu:
#     bash tests/aarch64/run.sh [FOLDER]
# It makes an aarch64 Python in FOLDER, or in a temporary folder, builds the wheel with a cross compiler, reads the
# inner loops in the disassembly, trains a model under qemu, counts instructions, and runs the tests of kernels,
# functions and layers. A second run with the same FOLDER keeps its Python. Nothing is installed outside of FOLDER.
#
# An emulated instruction takes some twenty times as long as a real one. Of tests with many cases a few are run, of the
# default instruction set: see sampling.py. CASES=1000 in the environment runs all cases of that set.
set -euo pipefail
cd "$(dirname "$0")/../.."
here=$PWD/tests/aarch64

for program in aarch64-linux-gnu-gcc qemu-aarch64 apt-get; do
    if ! command -v "$program" >/dev/null; then
        echo "$program is missing: apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user" >&2
        exit 1
    fi
done
if (($#)); then
    mkdir -p "$1"
    folder=$(cd "$1" && pwd)
else
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
fi
root=$folder/root python=$folder/environment/bin/python
export PYTHONDONTWRITEBYTECODE=1 OPENBLAS_NUM_THREADS=1

step() { printf '\n== %s, after %d s ==\n' "$1" "$SECONDS"; }

# Debian's packages for arm64, by an apt with a state of its own.
get_packages() {
    local state=$folder/apt
    mkdir -p "$state"/{lists,cache}/partial "$state"/cache/archives/partial "$root"
    : >"$state/status"
    local options=(
        -o APT::Architecture=arm64 -o APT::Architectures::=arm64 -o APT::Sandbox::User= -o APT::Install-Recommends=0
        -o Dir::State="$state" -o Dir::State::status="$state/status" -o Dir::Cache="$state/cache" -o Debug::NoLocking=1
    )
    apt-get --quiet --quiet "${options[@]}" update
    apt-get --quiet --quiet "${options[@]}" --yes --download-only install python3 libpython3-dev libstdc++6 >/dev/null
    for package in "$state"/cache/archives/*.deb; do dpkg-deb --extract "$package" "$root"; done
}

# Install wheels for aarch64, beside the Python there: it has a script of the shell as its program.
install() {
    python3 -m pip install --quiet --upgrade --target "$(echo "$folder"/environment/lib/python3.*/site-packages)" \
        --python-version "$version" --platform manylinux_2_28_aarch64 --platform manylinux2014_aarch64 \
        --platform linux_aarch64 --only-binary :all: "$@"
}

if [[ ! -x $python ]]; then
    step "a Python for aarch64"
    get_packages
    interpreter=$(echo "$root"/usr/bin/python3.*[0-9])
    version=${interpreter##*python}
    mkdir -p "$folder/environment/bin" "$folder/environment/lib/python$version/site-packages"
    printf 'home = %s\nversion = %s\n' "$root/usr/bin" "$version" >"$folder/environment/pyvenv.cfg"
    install "numpy>=1.26" "pytest>=8" hypothesis "matplotlib>=3.8" "cython>=3.1" "setuptools>=77"
    printf '#!/bin/sh\nexec qemu-aarch64 -L "%s" -0 "$0" "%s" "$@"\n' "$root" "$interpreter" >"$python"
    chmod +x "$python"
fi
version=$("$python" -c "import sys; print('%d.%d' % sys.version_info[:2])")

step "the wheel"
rm -rf "$folder/source"
mkdir "$folder/source"
cp -r convnet setup.py pyproject.toml README.md LICENSE MANIFEST.in "$folder/source"
rm -f "$folder"/source/convnet/*.so
# The program of the compiler is this machine's; the emulated Python only starts it.
(
    cd "$folder/source"
    CC=aarch64-linux-gnu-gcc LDSHARED="aarch64-linux-gnu-gcc -shared" \
        CFLAGS="-I$root/usr/include/python$version -I$root/usr/include" "$python" setup.py --quiet bdist_wheel
)
install --no-deps --force-reinstall "$folder"/source/dist/*.whl
"$python" -P -c "import convnet; convnet.show_config()"

step "the inner loops"
python3 "$here/loops.py" "$folder"/environment/lib/python3.*/site-packages/convnet/_kernels.*.so

step "a training of ConvNet1, and predictions by each instruction set"
"$python" -P "$here/training.py"

step "counts of instructions"
gcc -O2 -shared -fPIC "$here/instructions.c" -o "$folder/instructions.so"
python3 "$here/instructions.py" "$python" "$folder/instructions.so"

step "the tests of kernels, functions and layers"
# Left out: a test that trains eight models, and forks, after which qemu ends a process that has threads.
PYTHONPATH=$here "$python" -P -m pytest --quiet -p no:cacheprovider -p sampling \
    -k "not side_by_side and not fork and not multiprocessing" \
    tests/test_kernels.py tests/test_fused.py tests/test_channels_last.py tests/test_elementwise_kernels.py \
    tests/test_augmentation_kernels.py tests/test_grouped_kernels.py tests/core/test_threads.py tests/layers
printf '\nall of it took %d s\n' "$SECONDS"
