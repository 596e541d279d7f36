"""All named data sets, and loading one of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

from equimorph.data import files
from equimorph.data._base import ImageData, Split
from equimorph.data.download import Remote, download
from equimorph.data.loading import silent
from equimorph.data.readers import ReadOptions
from equimorph.data.scan import Progress
from equimorph.data.tasks import galaxy10, isic2019
from equimorph.data.tasks._base import Request, Task
from equimorph.data.tasks.digits import load_digits
from equimorph.data.tasks.galaxies import load_galaxies, load_merged, load_winding
from equimorph.data.tasks.mnist import load_mnist, load_rotmnist
from equimorph.data.tasks.modelnet10 import load_modelnet10
from equimorph.data.tasks.skin import load_skin
from equimorph.data.tasks.textures import make_textures
from equimorph.errors import ConfigurationError

_TEXTURES = "textures:"


def _from_folder(load: Callable[[str | Path | None], ImageData]) -> Callable[[Request], ImageData]:
    """A data set of which the folder is all that its reader asks for."""
    return lambda request: load(request.data_dir)


_MNIST = Task(
    name="mnist",
    what="handwritten digits, upright",
    sample="28 x 28, grey",
    splits="54,000 / 6,000 / 10,000",
    symmetry="breaks turns and mirrors",
    licence="none stated by its authors; CC BY-SA 3.0 as Keras states",
    source="LeCun, Cortes and Burges; the copy that Keras uses",
    load=_from_folder(load_mnist),
    file="mnist.npz",
    remote=Remote(
        url="https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz",
        sha256="731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1",
        size_bytes=11_490_434,
        licence="CC BY-SA 3.0, as Keras states",
    ),
)
_GALAXIES = Task(
    name="galaxies",
    what="galaxies in five classes, the two winding senses of spirals among them",
    sample="64 x 64, RGB",
    splits="2,214 / 316 / 633",
    symmetry="keeps turns; mirrors exchange the winding senses",
    licence="none stated; SDSS images and Galaxy Zoo 1 are public, cite both",
    source="SDSS, Galaxy Zoo 1 (Lintott et al. 2011); made from Eggochi/Proyecto_Galaxias as its docstring tells",
    load=_from_folder(load_galaxies),
    file="galaxyzoo1_small.npz",
)

TASKS = {
    task.name: task
    for task in (
        Task(
            name="digits",
            what="handwritten digits, each turned by a random angle",
            sample="12 x 12, grey",
            splits="1,000 / 297 / 500",
            symmetry="keeps turns, but for 6 and 9; breaks mirrors",
            licence="CC BY 4.0",
            source="scikit-learn's copy of UCI Optical Recognition of Handwritten Digits",
            load=lambda request: load_digits(),
        ),
        _MNIST,
        replace(
            _MNIST,
            name="rotmnist",
            what="handwritten digits, each turned by a random angle, drawn anew from MNIST",
            sample="28 x 28, grey",
            splits="10,800 / 1,200 / 50,000",
            symmetry="keeps turns, but for 6 and 9; breaks mirrors",
            load=_from_folder(load_rotmnist),
        ),
        _GALAXIES,
        replace(
            _GALAXIES,
            name="galaxies-winding",
            what="spirals that wind clockwise against those that wind anticlockwise",
            splits="595 / 85 / 170",
            symmetry="keeps turns; mirrors exchange the two classes",
            load=_from_folder(load_winding),
        ),
        replace(
            _GALAXIES,
            name="galaxies-merged",
            what="galaxies in four classes, spirals of both winding senses as one",
            splits="2,214 / 316 / 633",
            symmetry="keeps turns and mirrors",
            load=_from_folder(load_merged),
        ),
        Task(
            name="skin",
            what="skin lesions under the dermatoscope, seven diagnoses, very unequal",
            sample="48 x 48, RGB",
            splits="4,078 / 583 / 1,512",
            symmetry="keeps turns and mirrors",
            licence="CC BY-NC 4.0: with attribution, not commercial",
            source="HAM10000 (Tschandl et al. 2018), ISIC 2018; made small as its docstring tells",
            load=_from_folder(load_skin),
            file="skin_lesions_ham10000.npz",
        ),
        Task(
            name="modelnet10",
            what="models of furniture as occupancy grids, ten classes",
            sample="24 x 24 x 24, one channel",
            splits="3,493 / 498 / 908",
            symmetry="keeps turns about z and upright mirrors; up matters",
            licence="academic research; the models are their authors'",
            source="Princeton ModelNet10 (Wu et al. 2015); made into grids as its docstring tells",
            load=_from_folder(load_modelnet10),
            file="modelnet10_voxels24.npz",
            settings={"group": "O", "image_size": 12, "fields": "1,2", "depth": 4, "kernel_size": 3},
        ),
        Task(
            name="galaxy10",
            what="Galaxy10 DECaLS: galaxies in ten classes of shape",
            sample="256 x 256, RGB",
            splits="14,366 / 1,596 / 1,774",
            symmetry="keeps turns and mirrors",
            licence="CC BY 4.0",
            source=galaxy10.SOURCE,
            load=galaxy10.load_galaxy10,
            file=galaxy10.FILE,
            remote=galaxy10.REMOTE,
            settings={"image_size": 64},
            reduces=True,
        ),
        Task(
            name="isic2019",
            what="ISIC 2019: skin lesions under the dermatoscope, eight diagnoses, very unequal",
            sample="many sizes, RGB",
            splits="about 20,518 / 2,280 / 2,533",
            symmetry="keeps turns and mirrors",
            licence="CC BY-NC 4.0: with attribution, not commercial",
            source=isic2019.SOURCE,
            load=isic2019.load_isic2019,
            file=isic2019.FOLDER,
            settings={"image_size": 128, "kernel_size": 7, "metric": "balanced-error"},
            reduces=True,
        ),
    )
}


def names() -> tuple[str, ...]:
    """The names of all data sets; in the last one H stands for a subgroup of D4."""
    return (*TASKS, f"{_TEXTURES}H")


def is_named(text: str) -> bool:
    """Whether a text is the name of a data set."""
    return text in TASKS or text.startswith(_TEXTURES)


def load_named(
    name: str,
    data_dir: str | Path | None = None,
    *,
    options: ReadOptions | None = None,
    fetch: bool = False,
    progress: Progress = silent,
) -> ImageData:
    """The data set of that name.

    Args:
        name: One of `names()`.
        data_dir: The folder with data files; the environment variable EQUIMORPH_DATA when left out.
        options: How samples are read; a named set decides itself what has only one right answer (splits, columns).
        fetch: Whether a file that is missing is downloaded, where it can be.
        progress: Is told while samples are looked at.
    Raises:
        ConfigurationError: There is no such name, or an option that a named set does not take.
        GroupError: After "textures:" comes no subgroup of D4; lists those there are.
        DataError: Its file is missing or damaged; says which one and where to get it.
    Example:
        >>> load_named("digits").num_classes
        10
    """
    options = options or ReadOptions()
    _refuse_options(name, options)
    if name.startswith(_TEXTURES):
        return _finished(make_textures(name.removeprefix(_TEXTURES)), options.image_size)
    if name not in TASKS:
        raise ConfigurationError(f'data: no data set "{name}"; there are {", ".join(names())}.')
    task = TASKS[name]
    if fetch and task.remote is not None and task.file is not None and not files.is_there(task.file, data_dir):
        download(task.remote, files.folder_for(data_dir) / task.file)
    data = task.load(Request(data_dir, options, progress))
    return _finished(data, None if task.reduces else options.image_size)


def _refuse_options(name: str, options: ReadOptions) -> None:
    """Raise ConfigurationError when an option was given that would do nothing."""
    heeded = {"dim", "image_size", "memory_gib", "workers"}
    if name in TASKS and TASKS[name].reduces:
        heeded |= {"fit", "channels", "bad_samples"}
    usual = ReadOptions()
    for option in fields(options):
        if option.name not in heeded and getattr(options, option.name) != getattr(usual, option.name):
            given = "validation-share or test-share" if option.name == "shares" else option.name.replace("_", "-")
            raise ConfigurationError(
                f"data: --{given} is for your own data; {name} has its own splits and files, so leave it out."
            )


def _finished(data: ImageData, image_size: int | None) -> ImageData:
    """The data set with names for its samples, made smaller where that was asked for."""
    if data.train.ids is None:
        data = replace(
            data,
            train=_with_ids(data.train, "train"),
            validation=_with_ids(data.validation, "validation"),
            test=_with_ids(data.test, "test"),
        )
    return data if image_size is None else data.resized(image_size)


def _with_ids(split: Split, part: str) -> Split:
    return replace(split, ids=tuple(f"{part}/{number}" for number in range(len(split))))
