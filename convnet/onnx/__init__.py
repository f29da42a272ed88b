"""The door to ONNX: models to and from the format that other tools read and write.

It needs the package onnx (``pip install "convnet-cpu[onnx]"``). ``import convnet`` does not import this package:
``from convnet.onnx import export_onnx, import_onnx``.
"""

from convnet.core.version import to_install

try:
    import onnx  # noqa: F401
except ImportError as error:
    raise ImportError(
        f"convnet.onnx needs the package onnx, which cannot be imported ({error}): {to_install('onnx')}"
    ) from None

from convnet.onnx.exporting import export_onnx
from convnet.onnx.importing import import_onnx

__all__ = ["export_onnx", "import_onnx"]
