"""Batch normalisation whose statistics pool the channels of each coset, without moving these channels together.

    y = weight (x - mean) / sqrt(var + eps) + bias,     mean and var over the batch, all positions and a coset Hg

Where the channels of a coset lie side by side, an ordinary batch norm that reads them as one does it all. Elsewhere the
statistics of single channels are pooled, and an ordinary batch norm in evaluation mode applies them; the plain path,
which moves the channels, is what `torch.compile` sees and what the tests compare with. A GPU always pools: it gives
each channel to processors of its own, and would leave most of them idle if there were only as many channels as cosets.
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
    if not one_each and x.is_cuda and has_fast_path(x):
        return _PooledNormOnGPU.apply(x, weight, bias, order, eps)  # type: ignore[no-any-return]
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
        if torch.is_grad_enabled():  # a gradient of this gradient is wanted
            return _differentiable_gradients(ctx, gradient, x, weight, bias, order)
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


class _PooledNormOnGPU(torch.autograd.Function):
    """The same with the operations that norms synchronised over several GPUs are made of, in as few passes over x.

    dx = k (dy - <dy> - (x - mean) / (var + eps) <dy (x - mean)>),     k = weight / sqrt(var + eps)
    """

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor, order: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        num_cosets, fields = weight.shape
        unused = torch.zeros(x.shape[1], dtype=weight.dtype, device=x.device)  # left as it is: the momentum is 0
        statistics = torch.stack(torch.batch_norm_update_stats(x, unused, unused, 0.0))
        means, variances = statistics.view(2, fields, -1).index_select(2, order).view(2, fields, num_cosets, -1)
        between, mean = torch.var_mean(means, 2, correction=0)
        var = variances.mean(2) + between
        mean, var = mean.T.contiguous(), var.T.contiguous()
        coset_of = _coset_of(order, num_cosets)
        shift, inverse_std, multiply, add = _on_channels(coset_of, mean, (var + eps).rsqrt(), weight, bias)
        return torch.batch_norm_elemt(x, multiply, add, shift, inverse_std, eps), mean, var

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
        if torch.is_grad_enabled():  # a gradient of this gradient is wanted
            return _differentiable_gradients(ctx, gradient, x, weight, bias, order)
        num_cosets, fields = weight.shape
        if is_channels_last(x):
            gradient = gradient.contiguous(memory_format=torch.channels_last if x.ndim == 4 else torch.channels_last_3d)
        else:
            gradient = gradient.contiguous()
        coset_of = _coset_of(order, num_cosets)
        shift, inverse_std, multiply = _on_channels(coset_of, mean, (var + ctx.eps).rsqrt(), weight)
        found = torch.batch_norm_backward_reduce(gradient, x, shift, inverse_std, multiply, True, True, True)
        totals = torch.stack(found).view(4, fields, -1).index_select(2, order).view(4, fields, num_cosets, -1).sum(3)
        total, along, weight_gradient, bias_gradient = totals.transpose(1, 2)
        input_gradient = None
        if ctx.needs_input_grad[0]:
            total, along = _on_channels(coset_of, total, along)
            count = torch.full((1,), x.numel() // weight.numel(), dtype=torch.int32, device=x.device)
            input_gradient = torch.batch_norm_backward_elemt(
                gradient, x, shift, inverse_std, multiply, total, along, count
            )
        return input_gradient, weight_gradient.to(weight.dtype), bias_gradient.to(weight.dtype), None, None


def _differentiable_gradients(
    ctx: Any, gradient: Tensor, x: Tensor, weight: Tensor, bias: Tensor, order: Tensor
) -> tuple[Tensor | None, ...]:
    """By the plain path, whose gradients have gradients."""
    wanted = [one for one, needed in zip((x, weight, bias), ctx.needs_input_grad, strict=False) if needed]
    y, _, _ = plain_batch_norm(x, weight, bias, order, ctx.eps)
    found = iter(torch.autograd.grad(y, wanted, gradient, create_graph=True))
    return *(next(found) if needed else None for needed in ctx.needs_input_grad[:3]), None, None


def _coset_of(order: Tensor, num_cosets: int) -> Tensor:
    """The number of each g's coset, shape (n,)."""
    return order.argsort().div(len(order) // num_cosets, rounding_mode="floor")


def _on_channels(coset_of: Tensor, *tables: Tensor) -> Tensor:
    """From tables of shape (cosets, fields) to one row each, with a number for each channel."""
    stacked = torch.stack([table.to(tables[0].dtype) for table in tables])
    return stacked.index_select(1, coset_of).transpose(1, 2).reshape(len(tables), -1)


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
