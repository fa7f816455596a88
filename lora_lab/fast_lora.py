"""LinearWithFastLoRA: the layer of lesson 05 with the same numbers, in less time and memory. Lesson 06, Going
further.

PyTorch's autograd makes a new tensor of the output's size for each product and each sum. Written as one node,
with its gradient by hand, the layer adds the update to the dense output in place, and keeps x (tokens, in)
and A x^T (r, tokens). A matrix with one side of r is computed lying, r rows of it: products with it can take
a third of the time that they take with a standing one, such as x A^T, on a processor.
"""

import torch
from torch.autograd.function import once_differentiable

from lora_lab.lora import LinearWithLoRA, LoRALayer, dense_weight


class DenseWithUpdate(torch.autograd.Function):
    """x (tokens, in) -> x W0^T + b + scale (x A^T) B^T (tokens, out), W0 (out, in) and b frozen."""

    @staticmethod
    def forward(ctx, x, W0, b, A, B, scale):
        y = x @ W0.T if b is None else torch.addmm(b, x, W0.T)
        z = A @ x.T  # (r, tokens)
        y.T.addmm_(B, z, alpha=scale)
        ctx.save_for_backward(x, z, W0, A, B)
        ctx.scale = scale
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, g):
        x, z, W0, A, B = ctx.saved_tensors
        g_z = (B.T @ g.T).mul_(ctx.scale)  # the gradient of z
        g_x = (g @ W0).addmm_(g_z.T, A) if ctx.needs_input_grad[0] else None
        g_A = g_z @ x if ctx.needs_input_grad[3] else None
        g_B = (z @ g).mul_(ctx.scale).T if ctx.needs_input_grad[4] else None
        return g_x, None, None, g_A, g_B, None


class LinearWithFastLoRA(LinearWithLoRA):
    """`LinearWithLoRA` with the forward pass as one node of the graph: equal to it within rounding.

    It has no dropout, one precision (RuntimeError under autocast, and for an x of another dtype), no gradient
    of its gradient (RuntimeError, from PyTorch), and a base that is frozen and dense (RuntimeError for one
    that is trained, or in four bits).
    """

    def __init__(self, base, rank, alpha):
        super().__init__(base, rank, alpha)

    def forward(self, x):
        W0, lora = dense_weight(self.base), self.lora
        kind = x.device.type
        autocast = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)  # not on "meta"
        if autocast or x.dtype != W0.dtype:
            raise RuntimeError(
                f"the fast layer computes in one precision, {W0.dtype}, without autocast, and got {x.dtype}: "
                "convert the model, or use LinearWithLoRA"
            )
        plain = isinstance(self.base.weight, torch.nn.Parameter) and type(lora) is LoRALayer
        if not plain or any(parameter.requires_grad for parameter in self.base.parameters()):
            raise RuntimeError(
                "the fast layer needs a dense base that is frozen, and no DoRA: this one is trained, in four "
                "bits or has another update, so use LinearWithLoRA"
            )
        rows = x.reshape(-1, x.shape[-1])
        y = DenseWithUpdate.apply(rows, W0, self.base.bias, lora.A, lora.B, lora.scale)
        return y.view(*x.shape[:-1], y.shape[-1])
