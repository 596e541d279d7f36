"""An export that was damaged or changed is told from one that was not."""

import json
import shutil

import pytest
import torch
from torch import nn

from equimorph.deploy import FORMATS, check_export, export
from equimorph.errors import ExportError


@pytest.fixture(scope="module", params=list(FORMATS))
def written(request, tmp_path_factory):
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 2))
    folder = tmp_path_factory.mktemp("exports") / request.param
    return export(network, folder, format=request.param, example=torch.zeros(1, 1, 4, 4), labels=("a", "b"))


@pytest.fixture
def done(written, tmp_path):
    shutil.copytree(written.folder, tmp_path / "copy")
    return written


@pytest.mark.parametrize("place", [0, 0.5, -1], ids=["first", "middle", "last"])
def test_a_changed_byte_is_found_in_every_file(done, tmp_path, place):
    folder = tmp_path / "copy"
    for name in done.files:
        content = bytearray((folder / name).read_bytes())
        at = int(len(content) * place) if place >= 0 else len(content) - 1
        content[at] ^= 1
        (folder / name).write_bytes(content)
        with pytest.raises(ExportError, match=f"{name} in .* was changed"):
            check_export(folder)
        shutil.copyfile(done.folder / name, folder / name)
    check_export(folder)


def test_a_file_that_is_cut_short_or_missing_is_found(done, tmp_path):
    folder = tmp_path / "copy"
    for name in done.files:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[:-1])
        with pytest.raises(ExportError, match=f"{name} in .* cut short"):
            check_export(folder)
        (folder / name).unlink()
        with pytest.raises(ExportError, match=f"{name} is missing"):
            check_export(folder)
        (folder / name).write_bytes(content)
    check_export(folder)


def test_every_byte_of_the_manifest_counts(tmp_path):
    done = export(nn.Flatten(), tmp_path / "out", format="torch", example=torch.zeros(1, 1, 2, 2))
    path = done.folder / "manifest.json"
    content = path.read_bytes()
    for at in range(0, len(content), 7):
        path.write_bytes(content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :])
        with pytest.raises(ExportError, match="manifest"):
            check_export(done.folder)


def test_a_manifest_that_names_files_elsewhere_is_refused(tmp_path):
    from equimorph.deploy.manifest import _text

    text = _text({"version": 1, "files": {"../secret": {"bytes": 1, "sha256": ""}}})
    (tmp_path / "manifest.json").write_text(text)
    (tmp_path.parent / "secret").write_text("x")
    with pytest.raises(ExportError, match="not in the folder"):
        check_export(tmp_path)


def test_a_manifest_of_a_later_version_is_refused(tmp_path):
    from equimorph.deploy.manifest import _text

    (tmp_path / "manifest.json").write_text(_text({"version": 2, "files": {}}))
    with pytest.raises(ExportError, match="version 2"):
        check_export(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "7", json.dumps({"files": 3})])
def test_what_is_no_manifest_is_refused(content, tmp_path):
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(ExportError, match="changed"):
        check_export(tmp_path)


def test_a_folder_that_is_no_export_is_told(tmp_path):
    with pytest.raises(ExportError, match="no export"):
        check_export(tmp_path / "nowhere")
