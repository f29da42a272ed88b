"""A plugin of pytest that leaves out most cases of tests with many, for a processor that is emulated.

Of the cases of each test function it keeps those of the default instruction set, and of these as many as CASES in the
environment says, 4 by default, evenly spread from the first to the last.
"""

import os
from itertools import groupby

from convnet import _kernels

OTHER_SETS = set(_kernels.INSTRUCTION_SETS[:-1])


def is_of_another_set(item):
    case = getattr(item, "callspec", None)
    return case is not None and any(isinstance(value, str) and value in OTHER_SETS for value in case.params.values())


def spread(cases, most):
    """Return at most so many of the cases."""
    if len(cases) <= most:
        return cases
    return [cases[round(i * (len(cases) - 1) / max(most - 1, 1))] for i in range(most)]


def pytest_collection_modifyitems(config, items):
    most, kept = int(os.environ.get("CASES", "4")), []
    own = [item for item in items if not is_of_another_set(item)]
    for _, cases in groupby(own, key=lambda item: item.nodeid.partition("[")[0]):
        kept += spread(list(cases), most)
    config.hook.pytest_deselected(items=[item for item in items if item not in set(kept)])
    items[:] = kept
