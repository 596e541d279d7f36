"""The conversion as a whole: find the types of all features, exchange the layers, measure what came of it."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from equimorph.errors import ConfigurationError, EquivarianceWarning, MorphismError
from equimorph.groups import Group, Representation
from equimorph.groups import group as group_named
from equimorph.inspection.audit import (
    audit,
    check_example,
    equivariance_error,
    generators_of,
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
from equimorph.morphisms.conversion.report import Conversion, ConvertedLayer, Note
from equimorph.morphisms.conversion.values import Weights, check_weights
from equimorph.morphisms.conversion.widths import Width, Widths
from equimorph.tracing import Feature, Flow, Problem, follow_network
from equimorph.tracing.flow import CONVOLUTIONS, TRANSPOSED

Output = Literal["trivial", "regular"]


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
    _set_order(network, probe, free)
    report = _report(network, model, probe, plan, setting, free, str(width), output)
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
    return follow_network(copy.deepcopy(model).eval(), probe, output=output, opaque=free)


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
    plan.problems.extend(_not_reached(model, flow, free))
    if plan.problems:
        listed = {str(problem): problem for problem in plan.problems}
        paths = ", ".join(f'"{path}"' for path in dict.fromkeys(problem.path for problem in listed.values()))
        raise MorphismError(
            f"equivariantize: {len(listed)} parts of {type(model).__name__} cannot be converted: "
            + "; ".join(listed)
            + f". Or leave them as they are, and lose the symmetry there: free=[{paths}]."
        )
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


def _not_reached(model: nn.Module, flow: Flow, free: Sequence[str]) -> Iterable[Problem]:
    """Layers that the run on the example passed by, or reached in a way that was not followed."""
    followed = {id(use.call.module) for use in flow.weights} | {call.path for call in flow.recording.calls}
    called = {call.path for call in flow.recording.calls}
    weights = {use.call.path for use in flow.weights}
    for path, module in model.named_modules():
        if not isinstance(module, (nn.Linear, *CONVOLUTIONS, *TRANSPOSED)) or path in weights:
            continue
        if any(path == one or path.startswith(f"{one}.") for one in free) or (path in followed and path in weights):
            continue
        if any(problem.path == path or path.startswith(f"{problem.path}.") for problem in flow.problems):
            continue
        if path in called:
            lost = _lost_before(flow, path)
            yield Problem(
                path, f"how the group acts on what reaches it is not known{lost}", "write that part another way"
            )
        elif next(module.parameters(), None) is not None and not _is_inside_layer(flow, path):
            yield Problem(path, "the run on the example does not reach it", "remove it, or pass an example that does")


def _is_inside_layer(flow: Flow, path: str) -> bool:
    return any(call.module is not None and path.startswith(f"{call.path}.") for call in flow.recording.calls)


def _lost_before(flow: Flow, path: str) -> str:
    """Where the trace was lost, in words."""
    lost = ""
    for call in flow.recording.calls:
        if call.path == path and call.module is not None:
            return lost
        known = any(value in flow.features for value in call.inputs)
        if known and not any(value in flow.features for value in call.outputs):
            lost = f" after {call.name}" + (f' in "{call.path}"' if call.path else "")
    return lost


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


def _set_order(network: nn.Module, probe: Tensor, free: Sequence[str]) -> None:
    """Put the order in which the sites and what follows them run on record."""
    from equimorph.tracing import record

    was_training = network.training
    modes = {path: module.training for path, module in network.named_modules()}
    network.eval()
    try:
        calls = record(network, probe, opaque=free).calls
    except (RuntimeError, ValueError) as error:
        raise MorphismError(
            "equivariantize: the network's own code does not run at the new widths; choose widths that are whole "
            f"numbers of fields, or leave the part free. What it says: {' '.join(str(error).split())}"
        ) from None
    finally:
        network.train(was_training)
        for path, module in network.named_modules():
            module.training = modes[path]
    constrained = dict(constrained_modules(network))
    order: dict[str, None] = {}
    for call in calls:
        # A layer with bound parameters is one call, and they are inside it.
        inside = [name for name in constrained if name.startswith(f"{call.path}.")] if call.module is not None else []
        for name in ([call.path] if call.path in constrained else []) + inside:
            order.setdefault(name)
    set_order(network, list(order))


def _report(
    network: nn.Module,
    model: nn.Module,
    probe: Tensor,
    plan: _Plan,
    setting: Setting,
    free: Sequence[str],
    width: str,
    output: str,
) -> Conversion:
    error, tolerance = equivariance_error(network, probe, setting.group)
    breaks: tuple[Problem, ...] = ()
    if not error <= tolerance:
        generators = generators_of(setting.group)
        found = audit(network, probe, setting.group, elements=generators)
        breaks = tuple(Problem(row.name, row.reason, row.remedy) for row in found.broken)
    before = dict(model.named_modules())
    layers = [
        ConvertedLayer(path, _told(before[path]), _told(network.get_submodule(path)), made.distance)
        for path, made in plan.layers.items()
    ]
    notes = [Note(path, text) for path, made in plan.layers.items() for text in made.notes]
    return Conversion(
        group=setting.group.name,
        width=width,
        weights=setting.weights,
        layers=tuple(layers),
        notes=tuple(notes),
        free=tuple(plan.free),
        breaks=breaks,
        error=error,
        tolerance=tolerance,
        copy_error=_copy_error(network, model, probe, setting.group, output) if setting.weights == "copy" else None,
    )


def _told(module: nn.Module) -> str:
    return f"{type(module).__name__}({module.extra_repr()})"


@torch.no_grad()
def _copy_error(network: nn.Module, model: nn.Module, probe: Tensor, group: Group, output: str) -> float:
    """How far a copied network is from the mean of the model over the group, relative to the latter."""
    converted, x = in_double(network, probe)
    original = copy.deepcopy(model).eval().to(x.dtype)
    if output != "trivial":
        return 0.0
    total = torch.zeros_like(converted(x))
    for element in range(group.order):
        result = original(transform(x, element, group, "trivial"))
        total += transform(result, int(group.inverses[element]), group, "trivial")
    mean = total / group.order
    return float((converted(x) - mean).abs().max() / mean.abs().max().clamp_min(torch.finfo(x.dtype).tiny))


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
