"""Batch normalisation whose statistics pool the channels of each coset, without moving these channels together.

    y = weight (x - mean) / sqrt(var + eps) + bias,     mean and var over the batch, all positions and a coset Hg

Where the channels of a coset lie side by side, an ordinary batch norm that reads them as one does it all. Elsewhere the
statistics of single channels are pooled, and an ordinary batch norm in evaluation mode applies them; the plain path,
which moves the channels, is what `torch.compile` sees and what the tests compare with.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from equimorph.spaces import has_fast_path, is_channels_last


def pooled_batch_norm(
    x: Tensor, weight: Tensor, bias: Tensor, order: Tensor, eps: float, *, side_by_side: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalise a batch by its own statistics.

    Args:
        x: Shape (batch, fields * n, *spatial), channel c n + g.
        weight: Shape (cosets, fields).
        bias: Shape (cosets, fields).
        order: The indices g of a field, coset after coset, shape (n,).
        eps: Added to the variance.
        side_by_side: Whether `order` ascends.
    Returns:
        y; and mean and biased variance of the batch, shape (cosets, fields), which have no gradient.
    """
    one_each = len(weight) == len(order)
    if has_fast_path(x) and not one_each and (is_channels_last(x) or not side_by_side):
        return _PooledNorm.apply(x, weight, bias, order, eps)  # type: ignore[no-any-return]
    return plain_batch_norm(x, weight, bias, None if side_by_side else order, eps)


def plain_batch_norm(
    x: Tensor, weight: Tensor, bias: Tensor, order: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The same by an ordinary batch norm that reads a coset's channels as one, moved together by `order` if need be."""
    num_cosets, fields = weight.shape
    n = x.shape[1] // fields
    pooled, split = x, x
    if num_cosets < n:
        split = x.reshape(x.shape[0], fields, n, -1)
        if order is not None:
            split = _Permute.apply(split, order, order.argsort())
        pooled = split.reshape(x.shape[0], fields * num_cosets, -1)
    mean = torch.zeros(fields * num_cosets, dtype=weight.dtype, device=x.device)
    var = torch.ones_like(mean)
    # Momentum 1 makes it leave this batch's own statistics in `mean` and `var`, the latter without bias.
    y = F.batch_norm(pooled, mean, var, weight.T.reshape(-1), bias.T.reshape(-1), True, 1.0, eps)
    if num_cosets < n:
        y = y.reshape(split.shape)
        if order is not None:
            y = _Permute.apply(y, order.argsort(), order)
        y = y.reshape(x.shape)
    count = pooled.numel() // pooled.shape[1]
    var = var * ((count - 1) / count)
    return y, mean.view(fields, num_cosets).T, var.view(fields, num_cosets).T


class _PooledNorm(torch.autograd.Function):
    """y, mean and var by statistics of single channels.

    dx = k (dy - <dy> - xhat <dy xhat>),     k = weight / sqrt(var + eps),  <.> the mean over what was pooled
    """

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor, order: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        num_cosets, fields = weight.shape
        # Running statistics that it leaves as they are (momentum 0) say in which precision to take these.
        unused = torch.zeros(x.shape[1], dtype=weight.dtype, device=x.device)
        means, variances = torch.batch_norm_update_stats(x, unused, unused.clone(), 0.0)
        means, variances = (one.view(fields, -1).T.index_select(0, order) for one in (means, variances))
        means, variances = (one.view(num_cosets, -1, fields) for one in (means, variances))
        mean = means.mean(1)
        var = (variances + (means - mean[:, None]).square()).mean(1)
        shift, scale, multiply, add = (_to_channels(table, order) for table in (mean, var, weight, bias))
        return F.batch_norm(x, shift, scale, multiply, add, False, 0.0, eps), mean, var

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
        x, weight, bias, order, ctx.eps = inputs
        _, mean, var = output
        ctx.mark_non_differentiable(mean, var)
        ctx.save_for_backward(x, weight, bias, order, mean, var)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, order, mean, var = ctx.saved_tensors
        gradient = gradients[0]
        if torch.is_grad_enabled():  # a gradient of this gradient is wanted: take the path that has one
            wanted = [one for one, needed in zip((x, weight, bias), ctx.needs_input_grad, strict=False) if needed]
            y, _, _ = plain_batch_norm(x, weight, bias, order, ctx.eps)
            found = iter(torch.autograd.grad(y, wanted, gradient, create_graph=True))
            return *(next(found) if needed else None for needed in ctx.needs_input_grad[:3]), None, None
        dense = [_to_channels(table, order) for table in (weight, mean, var)]
        _, along, total = torch.ops.aten.native_batch_norm_backward(
            gradient, x, *dense, None, None, False, ctx.eps, [False, True, True]
        )
        along, total = (_over_cosets(one, order, weight) for one in (along, total))
        input_gradient = None
        if ctx.needs_input_grad[0]:
            count = x.numel() / weight.numel()
            inverse_std = (var + ctx.eps).rsqrt()
            scale = weight * inverse_std
            slope = -scale * inverse_std * along / count
            constant = -scale * total / count - slope * mean
            input_gradient = _add_multiple(
                _affine(gradient, *(_to_channels(table, order) for table in (scale, constant))),
                x,
                _to_channels(slope, order),
            )
        return input_gradient, along, total, None, None


def _to_channels(table: Tensor, order: Tensor) -> Tensor:
    """From (cosets, fields) to one number for each channel."""
    per_coset = len(order) // len(table)
    return table.repeat_interleave(per_coset, 0).index_select(0, order.argsort()).T.reshape(-1)


def _over_cosets(channels: Tensor, order: Tensor, table: Tensor) -> Tensor:
    """The sum over each coset of one number for each channel, shape (cosets, fields)."""
    num_cosets, fields = table.shape
    return channels.view(fields, -1).T.index_select(0, order).view(num_cosets, -1, fields).sum(1)


def _affine(x: Tensor, scale: Tensor, constant: Tensor) -> Tensor:
    """scale x + constant for each channel, in one pass."""
    half = torch.full_like(scale, 0.5)  # as the variance and as what is added to it, which may not be zero
    return F.batch_norm(x, torch.zeros_like(scale), half, scale, constant, False, 0.0, 0.5)


def _add_multiple(y: Tensor, x: Tensor, slope: Tensor) -> Tensor:
    """y + slope x for each channel, in place of y."""
    if slope.dtype is not x.dtype:  # of half precision, in which the slopes would be too coarse
        return y.add_(_affine(x, slope, torch.zeros_like(slope)))
    return y.addcmul_(x, slope.view(-1, *[1] * (x.ndim - 2)))


class _Permute(torch.autograd.Function):
    """A permutation of the group axis, whose gradient is the inverse gather."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
        return x.index_select(2, order)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        order, inverse = ctx.saved_tensors
        return _Permute.apply(gradients[0], inverse, order), None, None
