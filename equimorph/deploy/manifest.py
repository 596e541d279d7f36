"""The list of an export's files with their checksums."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from equimorph.errors import ExportError

NAME = "manifest.json"
VERSION = 1
_OWN = "manifest_sha256"
_CHUNK = 2**20


def write_manifest(folder: Path, content: Mapping[str, Any]) -> None:
    """Write manifest.json: what is given, and size and SHA-256 of every other file in the folder."""
    names = sorted(path.name for path in folder.iterdir() if path.name != NAME)
    files = {name: {"bytes": (folder / name).stat().st_size, "sha256": _digest(folder / name)} for name in names}
    (folder / NAME).write_text(_text({"version": VERSION, **content, "files": files}), encoding="utf-8")


def check_export(folder: str | Path) -> dict[str, Any]:
    """Compare the files of an export with its manifest, which holds the size and the SHA-256 of each, and its own.

    It finds damage and careless changes, and not a forger, who would write the manifest anew.

    Args:
        folder: What `export` wrote.
    Returns:
        The manifest.
    Raises:
        ExportError: A file is missing, cut short or was changed; names it.
    """
    folder = Path(folder)
    manifest = _read(folder)
    for name, known in manifest["files"].items():
        path = folder / name
        if Path(name).name != name:
            raise ExportError(f'check_export: {NAME} in {folder} names "{name}", which is not in the folder.')
        if not path.is_file():
            raise ExportError(f"check_export: {name} is missing from {folder}; export again.")
        size = path.stat().st_size
        if size != known["bytes"]:
            what = "cut short" if size < known["bytes"] else "changed"
            raise ExportError(
                f"check_export: {name} in {folder} was {what}: {size:,} bytes, and {known['bytes']:,} were written."
            )
        if _digest(path) != known["sha256"]:
            raise ExportError(f"check_export: {name} in {folder} was changed since it was written; export again.")
    return manifest


def _read(folder: Path) -> dict[str, Any]:
    try:
        text = (folder / NAME).read_bytes().decode("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise ExportError(f"check_export: {folder} is no export: {NAME} is missing.") from None
    except UnicodeDecodeError:
        raise ExportError(f"check_export: {NAME} in {folder} was changed: it is not text.") from None
    changed = ExportError(f"check_export: {NAME} in {folder} was changed or cut short; export again.")
    try:
        manifest = json.loads(text)
    except ValueError:
        raise changed from None
    if not isinstance(manifest, dict) or text != _text({key: manifest[key] for key in manifest if key != _OWN}):
        raise changed
    if manifest["version"] != VERSION:
        raise ExportError(
            f"check_export: {folder} has version {manifest['version']}, and this equimorph reads {VERSION}."
        )
    return manifest


def _text(content: Mapping[str, Any]) -> str:
    """The file's text, whose last entry is the checksum of the others."""
    own = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    return json.dumps({**content, _OWN: own}, indent=2) + "\n"


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
