"""What a training has come to, by epoch: what a log, a table in a notebook and TensorBoard tell of it."""

import numpy as np

from convnet.core.tables import Table
from convnet.training.best_by import called
from convnet.training.progress import Progress

__all__ = ["epoch_records", "history_table"]

# Checks that a table shows: the last ones.
MOST_SHOWN = 10


def epoch_records(solver: Progress) -> list[dict[str, float]]:
    """Return what each accuracy check found, by name, with the epoch and the iteration after which it was made.

    ``loss`` is the mean of the minibatches' losses in the epoch that ended, NaN before the first one. What a Solver
    without a validation part does not know is left out. ``best_by`` is what a function `best_by` said.
    """
    columns = {"train_accuracy": solver.train_accuracy_history}
    if solver.has_validation:
        columns["validation_accuracy"] = solver.validation_accuracy_history
        columns["validation_loss"] = solver.validation_loss_history
    if callable(solver.best_by):
        columns["best_by"] = solver.best_by_history
    per_epoch, count = solver.iterations_per_epoch, len(solver.train_accuracy_history)
    last = max(solver.state.checked_iteration, 0) // per_epoch
    records = []
    for index in range(count):
        epoch = last - (count - 1 - index)  # one check an epoch; steps before `train` were made without checks
        losses = solver.loss_history[max(epoch - 1, 0) * per_epoch : epoch * per_epoch]
        found = {name: values[index] for name, values in columns.items()}
        loss = float(np.mean(losses)) if losses else float("nan")
        records.append({"epoch": epoch, "iteration": epoch * per_epoch, "loss": loss, **found})
    return records


def history_table(solver: Progress) -> Table:
    """Return the last accuracy checks of a Solver as a table, below how far it has come."""
    records = epoch_records(solver)
    names = list(records[-1])[2:] if records else []
    titles = {"train_accuracy": "training accuracy", "best_by": called(solver.best_by)}
    rows = [("epoch", *(titles.get(name, name.replace("_", " ")) for name in names), "")]
    for index, record in list(enumerate(records))[-MOST_SHOWN:]:
        cells = [_cell(name, record[name]) for name in names]
        rows.append((str(record["epoch"]), *cells, "best" if index == solver.state.best_check else ""))
    title = (
        f"{type(solver).__name__} of a {type(solver.model).__name__}: {solver.epoch} of {solver.epochs} epochs, "
        f"{solver.iteration:,} of {solver.num_iterations:,} iterations"
    )
    note = f"The last {MOST_SHOWN} of {len(records)} checks" if len(records) > MOST_SHOWN else ""
    return Table(rows, ">" * (len(names) + 1) + "<", title, note)


def _cell(name: str, value: float) -> str:
    if np.isnan(value):
        return "-"
    return f"{value:.2%}" if name.endswith("_accuracy") else f"{value:.4f}"
