"""A finished network put to use, here and without the library.

`export` writes a folder with the network in one of the `FORMATS`, compares what it wrote with the network itself, and
adds labels, preprocessing, checksums and a script that predicts; `check_export` says whether the files are still those.
`_base.py` is the contract of a format, and each format is one file. `predict` reads image files as the training data
were read, and runs the network on them and on what the group makes of them.
"""

from equimorph.deploy._base import Card, Format
from equimorph.deploy.catalog import FORMATS
from equimorph.deploy.export import Export, export
from equimorph.deploy.manifest import check_export
from equimorph.deploy.prediction import MovedPrediction, Prediction, predict
from equimorph.deploy.samples import find_images, read_images

__all__ = [
    "FORMATS",
    "Card",
    "Export",
    "Format",
    "MovedPrediction",
    "Prediction",
    "check_export",
    "export",
    "find_images",
    "predict",
    "read_images",
]
