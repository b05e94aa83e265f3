"""The raw functions for CuPy arrays, one subject to a file; `reference` says what each one means.

Nothing here waits for the device, and the kernels read what changes from step to step (`lr`,
`step`) through pointers: a training step can be captured as a CUDA graph. No kernel adds with
atomics, but for a very long index (`rows.index_add`): a sum is made in one order every time. `cuda`
and `cuda_rows` have the kernels' sources and `launch` starts them. This room loads when the first
CuPy array arrives.
"""

from .arrays import contiguous, elementwise, empty, leaky
from .arrays import bce, bce_grad, gelu, gelu_grad, gelu_tanh, gelu_tanh_grad
from .arrays import silu, silu_grad, softplus
from .conv_im2col import col2im, conv, conv_filter, conv_transpose, im2col
from .matmul import gemm
from .multi_tensor import adam, lerp
from .norm import affine, column_sums, moments, norm_grad, norm_sums
from .norm import sample_affine, sample_moments, sample_sums
from .random import bernoulli, bits, normal, uniform
from .rows import index_add, layer_norm, layer_norm_grad, log_softmax_at
from .rows import softmax_rows, softmax_rows_grad, turn
