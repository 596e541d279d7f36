"""The conversion as a whole: find the types of all features, exchange the layers, measure what came of it."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from equimorph.errors import ConfigurationError, EquivarianceWarning, MorphismError
from equimorph.groups import Group, Representation
from equimorph.groups import group as group_named
from equimorph.inspection.measuring import check_example, noise_like
from equimorph.layers import sites_of
from equimorph.morphisms.conversion._base import Setting
from equimorph.morphisms.conversion.measure import Measured, measure
from equimorph.morphisms.conversion.narrowing import Recipe
from equimorph.morphisms.conversion.plan import Plan, assembled, planned
from equimorph.morphisms.conversion.report import Conversion, ConvertedLayer, Note
from equimorph.morphisms.conversion.values import Weights, check_weights
from equimorph.morphisms.conversion.widths import Width, Widths
from equimorph.tracing import Flow, follow_network
from equimorph.tracing.flow import CONVOLUTIONS

Output = Literal["trivial", "regular"]


_SIZES = ("in_features", "out_features", "num_features", "num_channels", "normalized_shape", "num_parameters")


def equivariantize(
    model: nn.Module,
    group: Group | str,
    example: Tensor,
    *,
    width: Width | float = "cost",
    weights: Weights = "fresh",
    output: Output = "trivial",
    free: Sequence[str] = (),
    generator: torch.Generator | None = None,
) -> nn.Module:
    """The same network with every convolution on a weight space, so that it commutes with a group.

    Convolutions that see the image lift, inner ones become group convolutions, the layers before the output map regular
    to trivial features: a classifier becomes invariant, a map turns with the image. Norms and other parameters per
    channel are tied. The network's own code stays as it is. The result has sites (`em.sites`), in the order in which
    they run: a valid order of depth for branches too, since what joins them runs after them.

    `network.conversion` says what became of each layer, and what does not commute and why.

    Args:
        model: A convolutional network of torch's layers, whoever wrote it; it is left as it was.
        group: G, by name or object; the name is read in the example's dimension.
        example: An input (batch, channels, *spatial). Layers are built for its size.
        width: "cost" reads C channels as ceil(C / |G|) fields (dense kernels of the same shape, 1 / |G| of the
            parameters), "parameters" takes ceil(C / sqrt(|G|)) fields, "fields" C fields; a number f, ceil(f C).
        weights: "fresh" draws new ones; "copy" (width "fields") makes the network the mean of the model over the turns
            of its input, sum_g g^-1 M(g x) / |G|, as exactly as the model's sampling grids allow; "project" (width
            "cost") takes the nearest kernels, which loses what the report gives as distance.
        output: What the network returns: "trivial" for class scores, values and maps that turn with the image;
            "regular" for features, |G| channels a field.
        free: Paths of modules to leave as they are. Behind them nothing commutes, except by chance.
        generator: Where fresh values are drawn from; torch's default generator when left out.
    Returns:
        A new network.
    Raises:
        MorphismError: There is something that cannot be converted; it is named with its path and the reason.
        ConfigurationError: Options outside their range; vector-valued outputs.
        GroupError, ShapeError: The group does not act on the example.
    Warns:
        EquivarianceWarning: The result does not commute with G; the report says where and why.
    Example:
        >>> model = nn.Sequential(
        ...     nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        ...     nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10),
        ... )
        >>> network = equivariantize(model, "D4", torch.zeros(1, 3, 32, 32))
        >>> network[0].constraint.name, network.conversion.exact
        ('D4', True)
        >>> [sum(p.numel() for p in one.parameters()) for one in (model, network)]
        [650, 90]

    Source: ours; "copy" is group averaging (Yarotsky 2022) moved into the layers, as group convolutions of Cohen and
        Welling (2016).
    """
    setting = _checked(model, group, example, width, weights, output, generator)
    probe = noise_like(example.detach())[:2]
    _check_paths(model, free)
    with torch.no_grad():
        flow = _flow_of(model, probe, output, free)
    _settle(flow, weights)
    plan = planned(model, flow, setting, free)
    network = assembled(model, plan)
    measured = measure(network, model, probe, setting, free, output)
    report = _report(network, model, plan, setting, width, output, measured)
    network.__dict__["conversion"] = report
    trivial = group_named("C1", dim=setting.group.dim)
    again = partial(equivariantize, model, trivial, example, output=output, free=tuple(free))
    network.__dict__["narrowed"] = Recipe(again).narrowed
    if not report.exact or report.free:
        warnings.warn(_warning(report), EquivarianceWarning, stacklevel=2)
    return network


def _checked(
    model: nn.Module,
    group: Group | str,
    example: Tensor,
    width: Width | float,
    weights: Weights,
    output: str,
    generator: torch.Generator | None,
) -> Setting:
    ambient = group_named(group, dim=example.ndim - 2) if isinstance(group, str) else group
    check_example("equivariantize", example, ambient)
    if output == "vector":
        raise ConfigurationError(
            "equivariantize: vector-valued outputs (flow, displacements, normals) turn by themselves when the image "
            "turns, and no layer here gives such features; predict scalars, such as their lengths."
        )
    if output not in ("trivial", "regular"):
        raise ConfigurationError(f'equivariantize: output is "{output}"; it is trivial or regular.')
    check_weights(weights, width)
    if sites_of(model):
        raise MorphismError("equivariantize: the network has sites already; pass the one of torch's own layers.")
    return Setting(ambient, Widths(width, ambient), weights, generator)


def _check_paths(model: nn.Module, free: Sequence[str]) -> None:
    known = dict(model.named_modules())
    for path in free:
        if path not in known or not path:
            some = ", ".join(f'"{name}"' for name in list(known)[1:8])
            raise MorphismError(f'equivariantize: no module "{path}" to leave free; the first ones are {some}.')


def _flow_of(model: nn.Module, probe: Tensor, output: Representation, free: Sequence[str]) -> Flow:
    return follow_network(copy.deepcopy(model).eval(), probe, output=output, opaque=free, go_on=True)


def _settle(flow: Flow, weights: Weights) -> None:
    """Decide the types that nothing else decides: features of maps are regular, and so is what acts on maps.

    Vectors on their way to the output are trivial from the first linear map on, the head; when copying, not before the
    last, which takes the mean.
    """
    to_maps = flow.leads_to_map()
    for use in flow.weights:
        on_map = use.target.is_map or use.call.outputs[0] in to_maps or isinstance(use.call.module, CONVOLUTIONS)
        for segment in use.target.segments:
            if segment.term.kind is None:
                segment.term.settle("regular" if on_map or weights == "copy" else "trivial")
    for feature in flow.features.values():
        for segment in feature.segments:
            if segment.term.kind is None:
                segment.term.settle("regular")


def _report(
    network: nn.Module,
    model: nn.Module,
    plan: Plan,
    setting: Setting,
    width: Width | float,
    output: str,
    measured: Measured,
) -> Conversion:
    before = dict(model.named_modules())
    layers = [
        ConvertedLayer(path, _told(before[path]), _told(network.get_submodule(path)), made.distance)
        for path, made in plan.layers.items()
    ]
    notes = [Note(path, text) for path, made in plan.layers.items() for text in made.notes] + plan.notes
    return Conversion(
        group=setting.group.name,
        width=width,
        output=output,
        weights=setting.weights,
        layers=tuple(layers),
        notes=tuple(notes),
        free=tuple(plan.free),
        breaks=measured.breaks,
        error=measured.error,
        tolerance=measured.tolerance,
        copy_error=measured.copy_error,
    )


def _told(module: nn.Module) -> str:
    """A layer in a few words: its class, and what comes first of what torch says of it."""
    ours = type(module).__module__.startswith("equimorph.")
    sizes = [] if ours else [str(getattr(module, name)) for name in _SIZES if hasattr(module, name)]
    words = " -> ".join(sizes) if sizes else module.extra_repr().split(", kernel_size")[0].split(", constraint")[0]
    return f"{type(module).__name__}({words})"


def _warning(report: Conversion) -> str:
    parts = [str(item) for item in (*report.breaks, *report.free)]
    if report.copy_error is not None and report.copy_error > report.copy_tolerance:
        parts.append(
            f"the output differs from the mean of the model over the group by {report.copy_error:.1e}: something "
            "behind the last layer is not linear (tanh, softmax), or a function sees all turns at once (such as a mean "
            "over the channels)"
        )
    return (
        f"equivariantize: the network is not exact (relative error {report.error:.1e} under {report.group}): "
        + ("; ".join(parts) or "see em.audit")
        + "."
    )
