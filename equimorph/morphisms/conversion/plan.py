"""Which layer takes the place of which, and the network with all of them in their places."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from equimorph.layers import TiedParameter
from equimorph.layers.parameter import bind
from equimorph.morphisms.conversion._base import Made, RefusedError, Setting
from equimorph.morphisms.conversion.norms import NORMS, fit_norm, make_norm, tie
from equimorph.morphisms.conversion.obstacles import not_reached, refusal
from equimorph.morphisms.conversion.report import Note
from equimorph.morphisms.conversion.weighted import make_weighted, resized_free
from equimorph.tracing import Feature, Flow, Problem
from equimorph.tracing.flow import CONVOLUTIONS, TRANSPOSED


@dataclass
class Plan:
    """What takes which place."""

    layers: dict[str, Made] = field(default_factory=dict)
    parameters: dict[str, TiedParameter] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    free: list[Note] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)

    def refuse(self, path: str, error: RefusedError) -> None:
        """Note that a layer cannot be converted."""
        self.problems.append(Problem(path, error.reason, error.remedy))


def planned(model: nn.Module, flow: Flow, setting: Setting, free: Sequence[str]) -> Plan:
    """A layer for each that must be exchanged.

    Raises:
        MorphismError: Names what cannot be converted.
    """
    plan = Plan(problems=list(flow.problems))
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
    plan.notes.extend(_shared(model, set(plan.layers)))
    plan.problems.extend(not_reached(model, flow, free))
    if plan.problems:
        raise refusal(model, plan.problems)
    return plan


def _shared(model: nn.Module, converted: set[str]) -> Iterator[Note]:
    """Layers that are converted and hold the same parameter, each of which gets one of its own."""
    first: dict[int, str] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        path = name.rpartition(".")[0]
        other = first.setdefault(id(parameter), path)
        if other != path and path in converted and model.get_submodule(other) is not model.get_submodule(path):
            yield Note(path, f'it shares a parameter with "{other}"; from here on each has its own')


def _plan_layer(plan: Plan, path: str, modules: dict[str, nn.Module], make: Any) -> None:
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


def _plan_free(plan: Plan, call: Any, flow: Flow, module: nn.Module, setting: Setting) -> None:
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


def _plan_parameter(plan: Plan, model: nn.Module, name: str, feature: Feature, setting: Setting) -> None:
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


def assembled(model: nn.Module, plan: Plan) -> nn.Module:
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
