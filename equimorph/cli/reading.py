"""The options that say how data are found and read, and the data that they name."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from equimorph import data
from equimorph.cli.progress import Reading
from equimorph.data.readers._base import BadSamples, Channels
from equimorph.data.resizing import Fit
from equimorph.data.sources import ChannelAxis
from equimorph.errors import ConfigurationError
from equimorph.groups import group

HOW_READ = ("data_dir", "offline", "memory", "workers")  # options that change nothing in the results
_Add = Callable[..., Any]


def add_reading_options(add: _Add) -> None:
    """How data are found and read."""
    add("--data-dir", type=str | None, default=None, help="the folder with data files (default: $EQUIMORPH_DATA)")
    add(
        "--offline",
        action="store_true",
        help="never download a file that is missing ($EQUIMORPH_OFFLINE does the same)",
    )
    add(
        "--image-size",
        type=int | None,
        default=None,
        help="bring samples to this side (default: as they are; your own data may be made larger, too)",
    )
    add(
        "--fit",
        type=Fit,
        default="crop",
        help="own data of other proportions: crop the middle, pad the border, stretch",
    )
    add("--channels", type=Channels, default="auto", help="own images: grey, rgb, or as they are")
    add("--channel-axis", type=ChannelAxis, default="auto", help="own arrays: whether channels come first or last")
    add("--label-column", type=str | None, default=None, help="own table or file: the column (array) with the labels")
    add("--path-column", type=str | None, default=None, help="own table: the column with the paths of the images")
    add("--group-column", type=str | None, default=None, help="own table or file: the patient or object, never divided")
    add(
        "--split-column",
        type=str | None,
        default=None,
        help="own table: the column that says train, validation or test",
    )
    add(
        "--images",
        type=str | None,
        default=None,
        help="own table: the folder that its paths begin in (default: its own)",
    )
    add("--validation-share", type=float, default=0.1, help="own data: share of the validation set where there is none")
    add("--test-share", type=float, default=0.2, help="own data: share of the test set where there is none")
    add(
        "--bad-samples",
        type=BadSamples,
        default="stop",
        help="own data: stop at samples that cannot be used, or leave-out and count them",
    )
    add(
        "--memory",
        type=float | None,
        default=None,
        help="own data: keep samples decoded up to so many GiB, and stream them beyond (default: 4, or a quarter of "
        "the free memory where that is less)",
    )
    add("--workers", type=int | None, default=None, help="processes that decode (default: one a core)")


def reading_of(options: Any, dim: int) -> data.ReadOptions:
    """How data are read."""
    return data.ReadOptions(
        dim=dim,
        image_size=options.image_size,
        fit=options.fit,
        channels=options.channels,
        channel_axis=options.channel_axis,
        label_column=options.label_column,
        path_column=options.path_column,
        group_column=options.group_column,
        split_column=options.split_column,
        images=options.images,
        shares=data.Shares(validation=options.validation_share, test=options.test_share),
        bad_samples=options.bad_samples,
        memory_gib=options.memory,
        workers=options.workers,
    )


def read_samples(given: str, options: Any) -> data.ImageData:
    """Named or own data, of the dimension of the group."""
    ambient = group(options.group)
    fetch = not (options.offline or os.environ.get("EQUIMORPH_OFFLINE"))
    if given.startswith("hf:") and not fetch:
        raise ConfigurationError(
            f"data: {given} is looked up on huggingface.co, and --offline (or EQUIMORPH_OFFLINE) forbids it; leave "
            "that out, or name a folder that save_to_disk wrote."
        )
    with Reading() as progress:
        samples = data.load(
            given, options.data_dir, options=reading_of(options, ambient.dim), fetch=fetch, progress=progress
        )
    if ambient.dim != samples.dim:
        raise ConfigurationError(
            f"data: {ambient.name} acts in dimension {ambient.dim}, and {samples.name} has images of "
            f"dimension {samples.dim}; choose another --group."
        )
    sides = samples.train.x.shape[2:]
    if any(tuple(sides[axis] for axis in abs(matrix).argmax(1)) != tuple(sides) for matrix in ambient.elements):
        raise ConfigurationError(
            f"data: samples of {samples.name} have sides {' x '.join(map(str, sides))}, and {ambient.name} exchanges "
            "axes; make them equal with --image-size, or choose a --group that does not, such as D2 for images; for "
            "signals it is Z2."
        )
    return samples
