"""Predict the classes of images with the network in this folder.

    python predict.py IMAGE... [--out FILE.csv]

Images are PNG, JPEG, TIFF, BMP, GIF, WebP or PNM; signals, images and volumes may also be arrays in .npy files, one
sample each. Printed is CSV: the file, its class, and the probability of every class; for a network that predicts values
instead, the file and the values.

It needs numpy and Pillow, beside torch and safetensors or, for ONNX, onnxruntime. Before anything else it compares the
files of the folder with manifest.json: that finds damage, and not someone who forged both.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

_BATCH = 32
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "PPM", "TIFF", "WEBP")
_MOST_PIXELS = 89_478_485
_TURN = Image.Transpose
_TURNS = {2: _TURN.FLIP_LEFT_RIGHT, 3: _TURN.ROTATE_180, 4: _TURN.FLIP_TOP_BOTTOM, 5: _TURN.TRANSPOSE}
_TURNS |= {6: _TURN.ROTATE_270, 7: _TURN.TRANSVERSE, 8: _TURN.ROTATE_90}
_SIXTEEN_BITS = ("I;16", "I;16B", "I;16L", "I;16N")


def main() -> int:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image files, or .npy arrays")
    parser.add_argument("--out", metavar="FILE", help="write the CSV there, and not to the screen")
    parser.add_argument("--trust-pickle", action="store_true", help="load a .pt2 file, which can run any code in it")
    options = parser.parse_args()
    folder = Path(__file__).resolve().parent
    manifest = checked_manifest(folder)
    if manifest["holds_pickle"] and not options.trust_pickle:
        sys.exit("predict: network.pt2 holds a pickle, and can run any code; if you trust it, add --trust-pickle.")
    if len(manifest["output"]["shape"]) != 2:
        shape = manifest["output"]["shape"]
        sys.exit(f"predict: the network gives no classes or values but {shape}; call it from your own code.")
    labels = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
    labels = labels or [str(number) for number in range(manifest["output"]["shape"][1])]
    preprocessing = json.loads((folder / "preprocessing.json").read_text(encoding="utf-8"))
    is_classifier = preprocessing.get("targets", "classes") == "classes"
    network = load_network(folder, manifest["format"])
    file = open(options.out, "w", newline="", encoding="utf-8") if options.out else sys.stdout  # noqa: SIM115, PTH123
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow(["file", *(["class"] if is_classifier else []), *labels])
    failed = 0
    for start in range(0, len(options.images), _BATCH):
        good, samples = [], []
        for path in options.images[start : start + _BATCH]:
            try:
                samples.append(sample(path, preprocessing, manifest["input"]["dtype"]))
                good.append(path)
            except Exception as error:  # Pillow and numpy raise many kinds for damaged files
                failed += 1
                print(f"predict: {path}: {error or type(error).__name__}", file=sys.stderr)
        if good:
            for path, output in zip(good, network(np.stack(samples)), strict=True):
                rows.writerow([path, *(told(output, labels) if is_classifier else output.tolist())])
    if options.out:
        file.close()
    return 1 if failed else 0


# --- the folder ------------------------------------------------------------------------------------------------------


def checked_manifest(folder: Path) -> dict[str, Any]:
    """What manifest.json says, once every file is as it says."""
    try:
        text = (folder / "manifest.json").read_text(encoding="utf-8")
        manifest: dict[str, Any] = json.loads(text)
        own = manifest.pop("manifest_sha256")
    except (OSError, ValueError, KeyError, AttributeError):
        sys.exit("predict: manifest.json is missing or was changed; take the folder anew from where it comes.")
    is_own = hashlib.sha256(json.dumps(manifest).encode()).hexdigest() == own
    if not is_own or text != json.dumps({**manifest, "manifest_sha256": own}, indent=2) + "\n":
        sys.exit("predict: manifest.json was changed; take the folder anew from where it comes.")
    for name, known in manifest["files"].items():
        path = folder / Path(name).name
        if not path.is_file():
            sys.exit(f"predict: {name} is missing; take the folder anew from where it comes.")
        content = path.read_bytes()
        if len(content) != known["bytes"] or hashlib.sha256(content).hexdigest() != known["sha256"]:
            sys.exit(f"predict: {name} was changed or cut short; take the folder anew from where it comes.")
    return manifest


def load_network(folder: Path, form: str) -> Any:
    """The network as a function from a batch of samples to outputs, numpy to numpy."""
    if form == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(folder / "network.onnx", providers=["CPUExecutionProvider"])
        return lambda x: session.run(None, {"image": x})[0]
    import torch

    if form == "torch":
        path = folder / "network.py"
        written: dict[str, Any] = {"__file__": str(path), "__name__": "network"}
        exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), written)
        network = written["load"](folder)
    else:
        network = torch.export.load(folder / "network.pt2").module()

    def run(x: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return np.asarray(network(torch.from_numpy(x)))

    return run


def told(output: np.ndarray, labels: list[str]) -> list[str]:
    """The class, and the probability of each: the softmax of the output."""
    powers = np.exp(output.astype(np.float64) - output.max())
    return [labels[int(output.argmax())], *(f"{share:.6f}" for share in powers / powers.sum())]


# --- one sample, as it was prepared when the network was trained -----------------------------------------------------


def sample(path: str, preprocessing: dict[str, Any], dtype: str) -> np.ndarray:
    """Read a file, bring it to the network's size, and standardise it; shape (channels, *sides)."""
    channels, sides = preprocessing["channels"], tuple(preprocessing["sides"])
    if path.lower().endswith(".npy"):
        array = channels_first(np.load(path, allow_pickle=False), channels, len(sides))
    elif len(sides) != 2 or channels not in (1, 3):
        raise ValueError(f"it is an image, and arrays of shape {(channels, *sides)} are needed, as .npy files")
    else:
        with open(path, "rb") as file:  # noqa: PTH123
            array = pixels(Image.open(file, formats=_FORMATS), channels)
    if array.shape[1:] != sides:
        array = fitted(array, sides, preprocessing.get("fit", "crop"))
    x = np.ascontiguousarray(array, dtype="float32").astype(dtype)
    if not np.isfinite(x).all():
        raise ValueError("it holds numbers that are not finite")
    shape = (-1, *(1 for _ in sides))
    mean, std = (np.array(preprocessing[key], dtype=dtype).reshape(shape) for key in ("mean", "std"))
    return np.asarray((x - mean) / std)


def channels_first(array: np.ndarray, channels: int, dim: int) -> np.ndarray:
    """An array as (channels, *sides); which axis counts channels is told by their number, or else by the shorter."""
    if array.dtype.kind not in "biuf":
        raise ValueError(f"its values are {array.dtype}, and real numbers are needed")
    if array.ndim == dim:
        array = array[None]
    elif array.ndim == dim + 1:
        shape = array.shape
        is_last = shape[-1] < min(shape[:-1]) if shape[0] == channels else shape[-1] == channels
        array = np.moveaxis(array, dim, 0) if is_last and shape[-1] == channels else array
    if array.ndim != dim + 1 or array.shape[0] != channels:
        raise ValueError(f"its shape is {array.shape}, and {channels} channels of {dim} axes are needed")
    return array


def pixels(image: Image.Image, channels: int) -> np.ndarray:
    """An image as (channels, height, width): turned as EXIF says, transparent pixels black, 16 bits as 0 to 255."""
    if image.width * image.height > _MOST_PIXELS:
        raise ValueError(f"it has more than {_MOST_PIXELS:,} pixels")
    turn = orientation(image)
    image.load()
    is_to_turn = turn != 1 and turn == orientation(image)  # a TIFF has turned itself by now
    turned = image.transpose(_TURNS[turn]) if is_to_turn else image
    if turned.mode in (*_SIXTEEN_BITS, "I", "F"):
        grey = np.asarray(turned).astype(np.float32)
        grey[grey == image.info.get("transparency")] = 0
        has_sixteen = image.mode in _SIXTEEN_BITS or (image.mode == "I" and image.format in ("PNG", "PPM"))
        return np.repeat(grey[None] / (257 if has_sixteen else 1), channels, 0)
    if turned.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in turned.info:
        colours = turned.convert("RGBA")
        turned = Image.alpha_composite(Image.new("RGBA", colours.size, (0, 0, 0, 255)), colours)
    array = np.asarray(turned.convert("L" if channels == 1 else "RGB"))
    return array[None] if channels == 1 else array.transpose(2, 0, 1)


def orientation(image: Image.Image) -> int:
    """What EXIF says of how the camera was held, 1 to 8."""
    if "exif" not in image.info and image.format not in ("TIFF", "MPO"):
        return 1
    found = image.getexif().get(274, 1)
    return found if found in range(1, 9) else 1


def fitted(array: np.ndarray, sides: tuple[int, ...], fit: str) -> np.ndarray:
    """Cut, pad or stretch to the proportions of the sides, then average areas or interpolate, axis by axis."""
    if fit != "stretch" and len(sides) > 1:
        old = array.shape[1:]
        scales = [Fraction(side, new) for side, new in zip(old, sides, strict=True)]
        scale = min(scales) if fit == "crop" else max(scales)
        ends = [int(abs(side - scale * new) // 2) for side, new in zip(old, sides, strict=True)]
        if fit == "crop":
            array = array[(slice(None), *(slice(end, side - end) for side, end in zip(old, ends, strict=True)))]
        else:
            array = np.pad(array, [(0, 0), *((end, end) for end in ends)], mode="edge")
    if array.shape[1:] == sides:
        return array
    resized, divisor = array.astype(np.float64), np.ones([1] * array.ndim)
    for axis, side in enumerate(sides, start=1):
        if side != array.shape[axis]:
            resized, divisors = weighted_sums(resized, axis, side)
            divisor = divisor * divisors
    result = resized / divisor
    return (np.rint(result) if array.dtype.kind in "iub" else result).astype(array.dtype)


def weighted_sums(array: np.ndarray, axis: int, new: int) -> tuple[np.ndarray, np.ndarray]:
    """Sums along an axis with whole weights, and what they are to be divided by to be means."""
    old, places = array.shape[axis], np.arange(new)
    shape = [-1 if other == axis else 1 for other in range(array.ndim)]
    if new < old:  # the mean of all pixels that the new one covers
        first, end = places * old // new, -(-(places + 1) * old // new)
        taps = [(first + step, first + step < end) for step in range(int((end - first).max()))]
        divisors = end - first
    else:  # linear between the two nearest
        first, further = np.divmod((2 * places + 1) * old - new, 2 * new)
        taps = [(first, 2 * new - further), (first + 1, further)]
        divisors = np.full(new, 2 * new)
    total = np.zeros((*array.shape[:axis], new, *array.shape[axis + 1 :]))
    for indices, weights in taps:
        total += array.take(indices, axis, mode="clip") * weights.astype(np.float64).reshape(shape)
    return total, divisors.astype(np.float64).reshape(shape)


if __name__ == "__main__":
    sys.exit(main())
