"""Read the inner loops of the compiled module: what takes the time must keep its sums in registers.

    python tests/aarch64/loops.py convnet/_kernels.NAME.so

An inner loop is a piece of a function that ends with a jump back to its beginning and has no other such piece in it.
"""

import re
import subprocess
import sys
from collections import Counter

# The functions that spend their time on multiply-adds. Where those of two levels are the same, gcc keeps one of them.
FUNCTION = re.compile(
    r"tile_(?P<rows>\d+)_(?P<vectors>\d)_[01]_neon|(?:patches|sparse|product_row|depthwise|peak)_?\w*_(?:neon|portable)"
)
# A vector register that is read from the stack or written there.
SPILL = re.compile(r"[qdsv]\d+,.*\[sp")
JUMP = re.compile(r"(?:b\.\w+|cbn?z|tbn?z)$")


def functions(path):
    """Yield the names of the functions of a file, and their instructions as (address, mnemonic, operands)."""
    command = ["aarch64-linux-gnu-objdump", "--disassemble", "--no-show-raw-insn", path]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    for name, body in re.findall(r"^\w+ <([^>]+)>:\n((?:.+\n)*)", text, re.MULTILINE):
        lines = re.findall(r"^ *(\w+):[ \t]+(\S+)[ \t]*(.*)$", body, re.MULTILINE)
        yield name, [(int(address, 16), mnemonic, operands) for address, mnemonic, operands in lines]


def inner_loops(instructions):
    """Return the inner loops of a function, each as a list of instructions."""
    index = {address: i for i, (address, _, _) in enumerate(instructions)}
    loops = []
    for i, (address, mnemonic, operands) in enumerate(instructions):
        target = re.search(r"(\w+) <", operands)
        if JUMP.match(mnemonic) and target and int(target[1], 16) <= address and int(target[1], 16) in index:
            loops.append((index[int(target[1], 16)], i))
    inner = [a for a in loops if not any(a != b and a[0] <= b[0] and b[1] <= a[1] for b in loops)]
    return [instructions[first : last + 1] for first, last in inner]


def main(path):
    """Print the loops, and fail if one of them has its sums in memory, or a tile lacks multiply-adds."""
    found = Counter()
    wrong = []
    print("function, and of its inner loop: multiply-adds, those by an element, loads, broadcasts, all instructions")
    for function, instructions in functions(path):
        match = FUNCTION.fullmatch(function.partition(".")[0])
        if not match:
            continue
        for loop in inner_loops(instructions):
            fmla = [operands for _, mnemonic, operands in loop if mnemonic == "fmla"]
            if not fmla:
                continue
            loads = sum(mnemonic.startswith("ld") for _, mnemonic, _ in loop)
            broadcasts = sum(mnemonic in ("dup", "ld1r") for _, mnemonic, _ in loop)
            by_element = sum(".s[" in operands for operands in fmla)
            found[function.partition("_")[0]] += 1
            print(f"{function:<44} {len(fmla):3} {by_element:3} {loads:3} {broadcasts:3} {len(loop):4}")
            if any(SPILL.match(operands) for _, _, operands in loop):
                wrong.append(f"{function} has vectors on the stack")
            if match["rows"] and len(fmla) % (int(match["rows"]) * int(match["vectors"])):
                wrong.append(f"{function} has {len(fmla)} multiply-adds")
    assert {"tile", "patches", "sparse", "product", "depthwise", "peak"} <= found.keys(), found
    assert not wrong, wrong
    print(f"{found.total()} loops, none of which has its sums in memory")


if __name__ == "__main__":
    main(sys.argv[1])
