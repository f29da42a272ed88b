"""Training: the Solver, its optimizers, schedules and callbacks, and the checkpoints that it goes on from.

This package contains what changes a model from data, or decides when and how. It must not import plotting or
webpage.
"""

from convnet.training.callbacks import EarlyStopping, ProgressBar
from convnet.training.checkpointing import Checkpoint
from convnet.training.logs import CSVLog, TensorBoard
from convnet.training.metrics import (
    balanced_accuracy,
    calibration_error,
    confusion_matrix,
    f1_score,
    precision,
    recall,
    top_k_accuracy,
)
from convnet.training.muon import Muon
from convnet.training.optimizers import SGD, Adadelta, Adam, Momentum, Optimizer, RMSProp
from convnet.training.rate_finder import LearningRates, find_learning_rate
from convnet.training.schedules import Constant, CosineDecay, EpochDecay, OneCycle, PlateauDecay, StepDecay
from convnet.training.solver import Callback, Solver

__all__ = [
    "SGD",
    "Adadelta",
    "Adam",
    "CSVLog",
    "Callback",
    "Checkpoint",
    "Constant",
    "CosineDecay",
    "EarlyStopping",
    "EpochDecay",
    "LearningRates",
    "Momentum",
    "Muon",
    "OneCycle",
    "Optimizer",
    "PlateauDecay",
    "ProgressBar",
    "RMSProp",
    "Solver",
    "StepDecay",
    "TensorBoard",
    "balanced_accuracy",
    "calibration_error",
    "confusion_matrix",
    "f1_score",
    "find_learning_rate",
    "precision",
    "recall",
    "top_k_accuracy",
]
