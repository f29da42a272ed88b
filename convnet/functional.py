"""The functions of the layers on NumPy arrays of NCHW layout: checked, and computed by the compiled kernels.

Axes: N images, C channels of H x W pixels, F filters of KH x KW weights, outputs of OH x OW, D features in and M
features out. Output sizes are ``floor((size + padding on both sides - kernel) / stride) + 1``.

Arguments are not changed, except for the weight of `affine_update` and `out` of `warp`. Any real array is accepted,
whatever its order, strides or byte order. Functions with parameters compute in the dtype of `weight`; the others keep
float32 and float64 and convert the rest to float32. N = 0 is allowed everywhere.

Each function stands in its family's file in ``convnet/layers``; `warp` in ``convnet/datasets/warping.py``.
"""

from convnet.datasets.warping import warp
from convnet.layers.activations import (
    leaky_relu_backward,
    leaky_relu_forward,
    relu_backward,
    relu_forward,
)
from convnet.layers.affine import affine_backward, affine_forward, affine_update, can_update
from convnet.layers.convolution import can_fuse, conv2d_backward, conv2d_forward, conv_output_shape
from convnet.layers.dropout import dropout_backward, dropout_forward
from convnet.layers.fused_convolution import conv_relu_pool_backward, conv_relu_pool_forward
from convnet.layers.global_pooling import global_average_pool_backward, global_average_pool_forward
from convnet.layers.labels import softmax
from convnet.layers.normalization import batch_norm2d_backward, batch_norm2d_forward
from convnet.layers.pool_windows import pool_output_shape
from convnet.layers.pooling import (
    average_pool2d_backward,
    average_pool2d_forward,
    max_pool2d_backward,
    max_pool2d_forward,
)
from convnet.layers.smooth_activations import (
    gelu_backward,
    gelu_forward,
    sigmoid_backward,
    sigmoid_forward,
    silu_backward,
    silu_forward,
    tanh_backward,
    tanh_forward,
)

__all__ = [
    "affine_backward",
    "affine_forward",
    "affine_update",
    "average_pool2d_backward",
    "average_pool2d_forward",
    "batch_norm2d_backward",
    "batch_norm2d_forward",
    "can_fuse",
    "can_update",
    "conv2d_backward",
    "conv2d_forward",
    "conv_output_shape",
    "conv_relu_pool_backward",
    "conv_relu_pool_forward",
    "dropout_backward",
    "dropout_forward",
    "gelu_backward",
    "gelu_forward",
    "global_average_pool_backward",
    "global_average_pool_forward",
    "leaky_relu_backward",
    "leaky_relu_forward",
    "max_pool2d_backward",
    "max_pool2d_forward",
    "pool_output_shape",
    "relu_backward",
    "relu_forward",
    "sigmoid_backward",
    "sigmoid_forward",
    "silu_backward",
    "silu_forward",
    "softmax",
    "tanh_backward",
    "tanh_forward",
    "warp",
]
