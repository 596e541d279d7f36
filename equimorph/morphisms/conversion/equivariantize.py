"""The conversion as a whole: find the types of all features, exchange the layers, measure what came of it."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from equimorph.errors import ConfigurationError, EquivarianceWarning, MorphismError
from equimorph.groups import Group, Representation
from equimorph.groups import group as group_named
from equimorph.inspection.audit import (
    TOLERANCES,
    check_example,
    equivariance_error,
    find_breaks,
    in_double,
    noise_like,
)
from equimorph.layers import TiedParameter, constrained_modules, set_order, sites_of, transform
from equimorph.layers.parameter import bind
from equimorph.morphisms.conversion.layers import (
    NORMS,
    Made,
    RefusedError,
    Setting,
    fit_norm,
    make_norm,
    make_weighted,
    resized_free,
    tie,
)
from equimorph.morphisms.conversion.narrowing import Recipe
from equimorph.morphisms.conversion.obstacles import in_words, not_reached, refusal
from equimorph.morphisms.conversion.report import Conversion, ConvertedLayer, Note
from equimorph.morphisms.conversion.values import Weights, check_weights
from equimorph.morphisms.conversion.widths import Width, Widths
from equimorph.tracing import Feature, Flow, Problem, Recording, follow_network
from equimorph.tracing.flow import CONVOLUTIONS, TRANSPOSED
from equimorph.tracing.recording import tensors_in

Output = Literal["trivial", "regular"]
_SIZES = ("in_features", "out_features", "num_features", "num_channels", "normalized_shape", "num_parameters")
_MANY_PIXELS = 2**15  # in a sample, beyond which one sample is enough to measure on


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
    plan = _plan(model, flow, setting, free)
    network = _assembled(model, plan)
    measured = _measure(network, model, probe, setting, free, output)
    report = _report(network, model, plan, setting, width, output, measured)
    network.__dict__["conversion"] = report
    network.__dict__["narrowed"] = Recipe(model, example, output, tuple(free)).narrowed
    if not report.exact or report.free:
        warnings.warn(_warning(report), EquivarianceWarning, stacklevel=2)
    return network


@dataclass
class _Plan:
    """What takes which place."""

    layers: dict[str, Made] = field(default_factory=dict)
    parameters: dict[str, TiedParameter] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    free: list[Note] = field(default_factory=list)
    order: list[str] = field(default_factory=list)

    def refuse(self, path: str, error: RefusedError) -> None:
        self.problems.append(Problem(path, error.reason, error.remedy))


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


def _plan(model: nn.Module, flow: Flow, setting: Setting, free: Sequence[str]) -> _Plan:
    plan = _Plan(problems=list(flow.problems))
    uses = {use.number: use for use in flow.weights}
    parameters = {(use.number, use.name): use.feature for use in flow.parameters}
    modules = dict(model.named_modules())
    for number, call in enumerate(flow.recording.calls):
        if number in uses:
            _plan_layer(plan, call.path, modules, lambda number=number: make_weighted(uses[number], setting))
        elif call.path in free and call.module is not None:
            _plan_free(plan, call, flow, modules[call.path], setting)
        elif isinstance(call.module, NORMS):
            source = flow.features.get(call.inputs[0])
            if source is not None:
                _plan_layer(
                    plan, call.path, modules, lambda path=call.path, f=source: make_norm(modules[path], f, setting)
                )
        for name in [name for at, name in parameters if at == number]:
            _plan_parameter(plan, model, name, parameters[number, name], setting)
    plan.problems.extend(not_reached(model, flow, free))
    if plan.problems:
        raise refusal(model, plan.problems)
    return plan


def _plan_layer(plan: _Plan, path: str, modules: dict[str, nn.Module], make: Any) -> None:
    try:
        made = make()
    except RefusedError as error:
        plan.refuse(path, error)
        return
    before = plan.layers.get(path)
    if before is not None and made is not None and str(before.module) != str(made.module):
        plan.refuse(path, RefusedError("it is used at places with different features", "give each place its own layer"))
    if made is not None and before is None:
        made.module.train(modules[path].training)
        plan.layers[path] = made


def _plan_free(plan: _Plan, call: Any, flow: Flow, module: nn.Module, setting: Setting) -> None:
    source, target = flow.features.get(call.inputs[0]), flow.features.get(call.outputs[0])
    if call.path not in {note.path for note in plan.free}:
        plan.free.append(Note(call.path, "left as it is; what comes after it commutes with C1 alone"))
    if isinstance(module, (nn.Linear, *CONVOLUTIONS, *TRANSPOSED)) and source is not None and target is not None:
        try:
            resized = resized_free(module, source, target, setting.widths)
        except RefusedError as error:
            plan.refuse(call.path, error)
            return
        if resized is not None:
            plan.layers[call.path] = Made(resized.train(module.training), notes=["left free, at a new width"])


def _plan_parameter(plan: _Plan, model: nn.Module, name: str, feature: Feature, setting: Setting) -> None:
    if name in plan.parameters:
        return
    path, _, attribute = name.rpartition(".")
    kinds = {segment.term.kind for segment in feature.segments}
    if kinds == {"trivial"}:
        return
    if kinds != {"regular"}:
        plan.problems.append(Problem(path, f'"{attribute}" is for channels of two types', "divide it"))
        return
    values = getattr(model.get_submodule(path), attribute)
    plan.parameters[name] = tie(values, setting.widths.fields_of(feature.segments), setting)


def _assembled(model: nn.Module, plan: _Plan) -> nn.Module:
    """A copy of the model with the new layers in their places, wherever these are used."""
    modules = dict(model.named_modules())
    memo = {id(modules[path]): made.module for path, made in plan.layers.items()}
    network = copy.deepcopy(model, memo=memo)
    for path, made in plan.layers.items():
        for name, tied in made.tied.items():
            bind(network.get_submodule(path), name, tied)
    for name, tied in plan.parameters.items():
        path, _, attribute = name.rpartition(".")
        module = network.get_submodule(path)
        fit_norm(module, tied.table.shape[1], tied.constraint.group.order)  # one of torch's with a forward of its own
        bind(module, attribute, tied.train(module.training))
    for parameter in network.parameters():
        parameter.grad = None
    return network


@dataclass(frozen=True)
class _Measured:
    """What a run of the converted network tells."""

    error: float
    tolerance: float
    breaks: tuple[Problem, ...]
    copy_error: float | None


def _measure(
    network: nn.Module, model: nn.Module, probe: Tensor, setting: Setting, free: Sequence[str], output: Output
) -> _Measured:
    """Run the new network: in which order its sites come, which is put on record, and how far it commutes."""
    group = setting.group
    samples = probe if probe[0].numel() <= _MANY_PIXELS else probe[:1]
    try:
        copied, x, run = in_double(network, samples, free)
    except (RuntimeError, ValueError) as stopped:
        raise MorphismError(
            "equivariantize: the network's own code does not run at the new widths; choose widths that are whole "
            f"numbers of fields, or leave the part free. What it says: {in_words(stopped)}"
        ) from None
    set_order(network, _order_of(network, run))
    set_order(copied, _order_of(network, run))
    error = equivariance_error(copied, x, run.results, group, output)
    tolerance = TOLERANCES.get(x.dtype, 1e-2)
    found = () if error <= tolerance else find_breaks(copied, x, group)
    breaks = tuple(one for one in found if one.path not in free)
    copy_error = (
        _copy_error(model, x, run.results, group) if setting.weights == "copy" and output == "trivial" else None
    )
    return _Measured(error, tolerance, breaks, copy_error)


def _order_of(network: nn.Module, run: Recording) -> list[str]:
    """The constrained modules in the order in which they run."""
    constrained = dict(constrained_modules(network))
    order: dict[str, None] = {}
    for call in run.calls:
        # A layer with bound parameters is one call, and they are inside it.
        inside = [name for name in constrained if name.startswith(f"{call.path}.")] if call.module is not None else []
        for name in ([call.path] if call.path in constrained else []) + inside:
            order.setdefault(name)
    return list(order)


def _report(
    network: nn.Module,
    model: nn.Module,
    plan: _Plan,
    setting: Setting,
    width: Width | float,
    output: str,
    measured: _Measured,
) -> Conversion:
    before = dict(model.named_modules())
    layers = [
        ConvertedLayer(path, _told(before[path]), _told(network.get_submodule(path)), made.distance)
        for path, made in plan.layers.items()
    ]
    notes = [Note(path, text) for path, made in plan.layers.items() for text in made.notes]
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


@torch.no_grad()
def _copy_error(model: nn.Module, x: Tensor, results: Sequence[Tensor], group: Group) -> float:
    """How far a copied network is from the mean of the model over the group, relative to the latter."""
    original = copy.deepcopy(model).eval().to(x.dtype)
    total = [torch.zeros_like(result) for result in results]
    for element in range(group.order):
        moved = tensors_in(original(transform(x, element, group, "trivial")))
        for mean, result in zip(total, moved, strict=True):
            mean += transform(result, int(group.inverses[element]), group, "trivial") / group.order
    errors = [
        float((result - mean).abs().max() / mean.abs().max().clamp_min(torch.finfo(x.dtype).tiny))
        for result, mean in zip(results, total, strict=True)
    ]
    return max(errors)


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
