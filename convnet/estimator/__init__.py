"""The door to scikit-learn: a classifier for its pipelines, searches and cross-validations.

It needs scikit-learn (``pip install "convnet-cpu[sklearn]"``). ``import convnet`` does not import this package:
``from convnet.estimator import ConvNetClassifier``.
"""

from convnet.core.version import to_install

try:
    import sklearn  # noqa: F401
except ImportError as error:
    raise ImportError(
        f"convnet.estimator needs scikit-learn, which cannot be imported ({error}): {to_install('sklearn')}"
    ) from None

from convnet.estimator.classifier import ConvNetClassifier
from convnet.estimator.threads import PoolController

__all__ = ["ConvNetClassifier", "PoolController"]
