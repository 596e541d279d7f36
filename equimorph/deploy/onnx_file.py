"""One ONNX file, for onnxruntime and what else reads ONNX."""

from __future__ import annotations

import importlib.util
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from equimorph.deploy._base import CARD_KEY, Card, Format, Runner
from equimorph.errors import ConfigurationError, ExportError
from equimorph.morphisms.exported_program import exported

INPUT = "image"
_MOST_BYTES = 2**31 - 2**26  # a file of more is not allowed, and the graph needs some of it
_NEEDED = ("onnx", "onnxscript", "onnxruntime")
_TRACE = "pkg.torch.onnx.stack_trace"
_REMARKS = "torch.onnx._internal.exporter._registration"  # warns of packages that are not installed


class OnnxFile(Format):
    """`network.onnx`: input "image", output "logits" for classes and "output" otherwise, any batch.

    Weights are in the file, unless they are more than 2 GiB, which ONNX does not allow; then they lie beside it.
    """

    name = "onnx"

    def check(self) -> None:
        """Raise ConfigurationError unless onnx, onnxscript and onnxruntime are there."""
        missing = [package for package in _NEEDED if importlib.util.find_spec(package) is None]
        if missing:
            raise ConfigurationError(
                f'export: the format onnx needs {", ".join(missing)}: pip install "equimorph[onnx]".'
            )

    def write(self, network: nn.Module, example: Tensor, card: Card, folder: Path) -> Runner:
        """Write the file, have ONNX check it, and open it in onnxruntime."""
        import onnx

        with torch.no_grad():
            is_classifier = network(example).ndim == 2 and card.targets == "classes"
        path = folder / "network.onnx"
        program = _converted(network, example, "logits" if is_classifier else "output")
        program.model.metadata_props[CARD_KEY] = card.text()
        num_bytes = sum(value.numel() * value.element_size() for value in network.state_dict().values())
        program.save(path, external_data=num_bytes > _MOST_BYTES)
        onnx.checker.check_model(path, full_check=True)
        return _runner(path, example.dtype)


def _converted(network: nn.Module, example: Tensor, output: str) -> Any:
    traced = exported(network, example)
    with _quiet():
        try:
            program = torch.onnx.export(
                traced, dynamo=True, verbose=False, input_names=[INPUT], output_names=[output], external_data=False
            )
        except torch.onnx.errors.OnnxExporterError as error:
            raise ExportError(f"export: torch cannot write this network as ONNX: {_reason(error)}") from None
    from onnx_ir.traversal import RecursiveGraphIterator

    assert program is not None
    for node in RecursiveGraphIterator(program.model.graph):
        node.metadata_props.pop(_TRACE, None)  # paths on the machine that exported
    return program


@contextmanager
def _quiet() -> Iterator[None]:
    """Without torch's remarks on its own code and on packages that are not there."""
    logger = logging.getLogger(_REMARKS)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning, message=".*LeafSpec")
            yield
    finally:
        logger.setLevel(level)


def _reason(error: Exception) -> str:
    """The innermost cause, in a line: torch wraps it in advice on reporting."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    return (str(cause).splitlines() or [type(cause).__name__])[0]


def _runner(path: Path, dtype: torch.dtype) -> Runner:
    import onnxruntime
    from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NotThere

    try:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except NotThere as error:
        raise ExportError(
            f"export: onnxruntime cannot run this network in {dtype}: {str(error).rpartition(' : ')[2]} "
            "Export network.float(), or choose the format torch."
        ) from None

    def run(x: Tensor) -> Tensor:
        (output,) = session.run(None, {INPUT: x.numpy()})
        return torch.from_numpy(output)

    return run
