"""PyTorch's operation database: functions, samples of their inputs, and PyTorch's own checker."""

import itertools

import torch
from torch.testing._internal.common_methods_invocations import op_db
from torch.utils import _pytree as tree


def cases():
    """{name: (whether there are second derivatives, () -> samples)}, a sample being (f, inputs, its
    own checker(order)).
    """
    torch.set_num_threads(1)
    found = {}
    for op in op_db:
        if op.supports_autograd and torch.float64 in op.supported_backward_dtypes("cpu"):
            name = op.name + (f" ({op.variant_test_name})" if op.variant_test_name else "")
            found[name] = op.supports_gradgrad, lambda op=op: samples(op)
    return found


def samples(op):
    torch.manual_seed(0)
    for sample in itertools.islice(op.sample_inputs("cpu", torch.float64, requires_grad=True), 20):
        leaves, form = tree.tree_flatten((sample.input, sample.args, sample.kwargs))
        places = [
            i for i, x in enumerate(leaves) if isinstance(x, torch.Tensor) and x.requires_grad
        ]

        def f(*inputs, sample=sample, leaves=leaves, form=form, places=places):
            given = dict(zip(places, inputs))
            parts = [given.get(i, x) for i, x in enumerate(leaves)]
            x, args, kwargs = tree.tree_unflatten(parts, form)
            out = op.gradcheck_wrapper(op.op, x, *args, **kwargs)
            return (sample.output_process_fn_grad or (lambda y: y))(out)

        tracked = [leaves[i] for i in places]

        def own(order, f=f, inputs=tracked):
            options = {"nondet_tol": op.gradcheck_nondet_tol, "fast_mode": False}
            torch.autograd.gradcheck(f, inputs, **options)
            if order > 1:
                torch.autograd.gradgradcheck(f, inputs, **options)

        yield f, [x.detach().clone() for x in tracked], own
