"""Why a layer or function does not commute with a group, and what to try."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from equimorph.groups import Subgroup
from equimorph.inspection.windows import windows_of
from equimorph.layers import Constrained
from equimorph.tracing import Call
from equimorph.tracing.flow import CONVOLUTIONS, TRANSPOSED

_NORMS = (
    nn.modules.batchnorm._BatchNorm,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.modules.instancenorm._InstanceNorm,
    nn.LocalResponseNorm,
    nn.PReLU,
)
_CHANNELS_MOVED = frozenset(["PixelShuffle", "PixelUnshuffle", "ChannelShuffle", "pixel_shuffle", "channel_shuffle"])
_ORDER_MOVED = frozenset(["flip", "roll", "rot90", "sort", "cumsum", "cumprod"])
_MADE_LARGER = frozenset(["Upsample", "UpsamplingNearest2d", "UpsamplingBilinear2d", "interpolate", "upsample"])


def explain(
    call: Call, failing: Sequence[int], sizes: Sequence[int], constraint: Subgroup | None, lost: str = ""
) -> tuple[str, str]:
    """The reason and the remedy for a call whose own error is not one of rounding.

    Args:
        call: The call.
        failing: The elements of the group, by index, that it does not commute with.
        sizes: Sides of the input at which all windows would fit.
        constraint: The subgroup that the layer is constrained to, where it is.
        lost: Where it was lost how the group acts on something that reaches the call, in words; empty where it was not.
    """
    if constraint is not None and not any(element in constraint for element in failing):
        return f"it is constrained to {constraint.name} alone", "em.constrain it, if that is not what is wanted"
    for window in windows_of(call):
        if not window.keeps_grid:
            if getattr(call.module, "ceil_mode", call.kwargs.get("ceil_mode", False)):
                return (
                    f"ceil_mode lets the last window hang over one end alone, as stride {window.stride} does not fit "
                    f"size {window.size}",
                    _other_sizes(sizes),
                )
            return (
                f"stride {window.stride} against size {window.size}: windows of {window.window} with padding "
                f"{window.padding} leave {window.rest} over at one end, so a mirrored image is sampled at other places",
                _other_sizes(sizes),
            )
    if any(getattr(call.module, "output_padding", ())) and (
        isinstance(call.module, TRANSPOSED) or hasattr(call.module, "output_padding")
    ):
        return (
            "output_padding makes one end of each axis longer than the other",
            "take an even kernel without output_padding, such as kernel 2 or 4 (padding 1) for stride 2",
        )
    if isinstance(call.module, (*CONVOLUTIONS, *TRANSPOSED, nn.Linear)):
        return "an unconstrained layer", "em.equivariantize the network, or leave it free on purpose"
    if isinstance(call.module, _NORMS):
        return "a norm with values of its own for each channel", "em.equivariantize ties them over the group"
    if isinstance(call.module, Constrained):
        return "its features are zero up to rounding, so that a relative error says nothing", "look at what precedes it"
    if "pad" in call.name.lower():
        return "its padding or window is not the same at both ends of an axis", "pad each end alike"
    if call.name in _CHANNELS_MOVED:
        return "it takes channels apart or mixes their order", "make maps larger by interpolation or ConvTranspose"
    if call.name in _ORDER_MOVED:
        return "it moves positions or channels in one direction", "leave it out"
    if call.name in _MADE_LARGER:
        return (
            "it resamples positions unevenly",
            "make maps larger by a whole factor, or by bilinear interpolation with align_corners=False",
        )
    if any(value.parameter for value in call.inputs):
        return "it uses a parameter or buffer that is not the same for all elements", "tie it, or take one value"
    if lost:
        return f"how the group acts on what reaches it is not known{lost}", "write that part another way"
    if _has_positions(call):
        return "positional input: it uses numbers that do not move with the image", "leave the coordinates out"
    return f"{call.name} does not commute with the group", "write that part another way, or leave the module free"


def _has_positions(call: Call) -> bool:
    return len(call.inputs) > 1


def _other_sizes(sizes: Sequence[int]) -> str:
    if not sizes:
        return "take other windows, or em.layers.AvgPool, whose windows fit every size"
    return f"take images of {' or '.join(map(str, sizes))} pixels, at which all windows fit, or em.layers.AvgPool"
