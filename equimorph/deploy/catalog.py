"""Formats by name."""

from __future__ import annotations

from equimorph.deploy._base import Format
from equimorph.deploy.onnx_file import OnnxFile
from equimorph.deploy.torch_export import TorchExport
from equimorph.deploy.torch_folder import TorchFolder
from equimorph.errors import ConfigurationError

FORMATS: dict[str, Format] = {form.name: form for form in (TorchFolder(), TorchExport(), OnnxFile())}


def format_named(name: str) -> Format:
    """The format of that name.

    Raises:
        ConfigurationError: There is none, or a package that it needs is missing.
    """
    if name not in FORMATS:
        raise ConfigurationError(f'export: no format "{name}"; there are {", ".join(FORMATS)}.')
    FORMATS[name].check()
    return FORMATS[name]
