"""One image or array file: what its header says, and its pixels."""

from __future__ import annotations

import io
import struct
import tokenize
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from equimorph.data.problems import SampleError
from equimorph.data.sources import ChannelAxis, Form, Header, Levels, Source, channels_first, header_of

IMAGE_SUFFIXES = frozenset(
    (".png", ".jpg", ".jpeg", ".jpe", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm")
)
ARRAY_SUFFIXES = frozenset((".npy",))
SUFFIXES = IMAGE_SUFFIXES | ARRAY_SUFFIXES

# No others are tried: some that Pillow knows run programs, and the names of files say little.
IMAGE_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "PPM", "TIFF", "WEBP")

_MOST_PIXELS = 89_478_485  # Pillow's own bound: a quarter of a GiB of RGB
_WIDTH, _HEIGHT, _ORIENTATION = 256, 257, 274  # tags of TIFF and EXIF
_TURN = Image.Transpose
_TURNS = {2: _TURN.FLIP_LEFT_RIGHT, 3: _TURN.ROTATE_180, 4: _TURN.FLIP_TOP_BOTTOM, 5: _TURN.TRANSPOSE}
_TURNS |= {6: _TURN.ROTATE_270, 7: _TURN.TRANSVERSE, 8: _TURN.ROTATE_90}
_SIXTEEN_BITS = frozenset(("I;16", "I;16B", "I;16L", "I;16N"))
_MANY_LEVELS = _SIXTEEN_BITS | {"I", "F"}
_GREY = _MANY_LEVELS | {"1", "L", "LA", "La"}
_WITH_PALETTE = frozenset(("P", "PA"))
_WITH_ALPHA = frozenset(("LA", "La", "PA", "RGBA", "RGBa"))
_WITHOUT_REMARK = _GREY | _WITH_PALETTE | {"RGB", "RGBA", "RGBa"}
_SIXTEEN_IN_I = frozenset(("PNG", "PPM"))  # formats of which mode "I", in some releases of Pillow, holds 16 bits
_READ_ERRORS = (
    *(OSError, ValueError, SyntaxError, TypeError, EOFError, LookupError, ArithmeticError, AttributeError),
    *(RuntimeError, MemoryError, struct.error, zlib.error, tokenize.TokenError),
)
_SIGNS_OF_DAMAGE = (
    *("truncated", "cut short", "unrecognized data stream", "broken"),
    *("mmap length", "cannot reshape", "Failed to read all data"),
)
_SIGNS_OF_OBJECTS = ("pickled", "Python objects", "Object arrays")


class FileSource(Source):
    """Samples that are files: images that Pillow reads, or `.npy` arrays.

    Images are turned as their EXIF tag says; palettes become RGB; transparent pixels become black; 16 bits are scaled
    to 0 to 255, as floating-point numbers; of several frames the first is taken. Each is counted.

    Args:
        paths: The files.
        dim: Spatial axes of a sample.
        axis: Which axis of an array counts channels.
    """

    def __init__(self, paths: list[str], dim: int, axis: ChannelAxis = "auto") -> None:
        self.paths, self.dim, self.axis = paths, dim, axis

    def __len__(self) -> int:
        return len(self.paths)

    def header(self, index: int) -> Header:
        """What the file's header says."""
        path = self.paths[index]
        with reasons():
            if _is_array(path):
                array = _array_in(path, in_memory=False)
                return header_of(array.shape, array.dtype, self.dim, self.axis)
            if self.dim != 2:
                raise SampleError(f"it is an image, and samples of dimension {self.dim} are needed, as .npy files")
            with open(path, "rb") as file:  # noqa: PTH123, there may be very many
                return image_header(Image.open(file, formats=IMAGE_FORMATS))

    def array(self, index: int, form: Form) -> NDArray[Any]:
        """The pixels of the file."""
        path = self.paths[index]
        with reasons():
            if _is_array(path):
                return channels_first(_array_in(path, in_memory=True), self.dim, self.axis)
            with open(path, "rb", buffering=0) as file:  # noqa: PTH123
                content = io.BytesIO(file.read())
            return image_pixels(Image.open(content, formats=IMAGE_FORMATS), form)


@contextmanager
def reasons() -> Iterator[None]:
    """Whatever goes wrong with a file becomes a SampleError with the reason."""
    try:
        # A file may be odd in many ways that Pillow only warns of; a bomb is refused, and the pixels tell the rest.
        with warnings.catch_warnings(action="ignore"):
            yield
    except SampleError:
        raise
    except FileNotFoundError:
        raise SampleError("there is no such file") from None
    except IsADirectoryError:
        raise SampleError("it is a folder") from None
    except PermissionError:
        raise SampleError("the file may not be read") from None
    except UnidentifiedImageError:
        raise SampleError("the file is no image, or damaged at its beginning") from None
    except Image.DecompressionBombError:
        raise SampleError(f"more than {_MOST_PIXELS:,} pixels, refused as a decompression bomb") from None
    except _READ_ERRORS as error:
        text = str(error)
        if any(sign in text for sign in _SIGNS_OF_OBJECTS):
            raise SampleError("it is no array of numbers, and Python objects are never loaded") from None
        if isinstance(error, EOFError | struct.error) or any(sign in text for sign in _SIGNS_OF_DAMAGE):
            raise SampleError("the file is cut short or damaged") from None
        raise SampleError(f"the file cannot be read ({type(error).__name__})") from None


def _is_array(path: str) -> bool:
    return path[-4:].lower() in ARRAY_SUFFIXES


def _array_in(path: str, *, in_memory: bool) -> NDArray[Any]:
    array = np.load(path, mmap_mode=None if in_memory else "r", allow_pickle=False)
    if not isinstance(array, np.ndarray):
        array.close()
        raise SampleError("it is an archive of arrays, and one array is needed")
    return array


def _check_size(image: Image.Image) -> None:
    if image.width * image.height > _MOST_PIXELS:
        raise SampleError(f"more than {_MOST_PIXELS:,} pixels, refused as a decompression bomb")


def image_header(image: Image.Image) -> Header:
    """What the header of an open image says."""
    _check_size(image)
    sides = _stored_size(image)[::-1]
    handled = []
    orientation = _orientation(image)
    if orientation != 1:
        handled.append("turned as EXIF says")
        sides = sides[::-1] if orientation >= 5 else sides
    if image.mode in _WITH_PALETTE:
        handled.append("palette made RGB")
    if image.mode in _WITH_ALPHA or "transparency" in image.info:
        handled.append("transparent put on black")
    if _has_sixteen_bits(image):
        handled.append("16 bits scaled to 0 to 255")
    if image.mode not in _WITHOUT_REMARK:
        handled.append(f"{image.mode} made RGB")
    if getattr(image, "is_animated", False):
        handled.append("first of several frames taken")
    levels: Levels = "float32" if image.mode in _MANY_LEVELS else "uint8"
    return Header(1 if image.mode in _GREY else 3, sides, levels, is_image=True, handled=tuple(handled))


def _has_sixteen_bits(image: Image.Image) -> bool:
    return image.mode in _SIXTEEN_BITS or (image.mode == "I" and image.format in _SIXTEEN_IN_I)


def _stored_size(image: Image.Image) -> tuple[int, int]:
    """Width and height before any turn; releases of Pillow differ in whether a TIFF's `size` is turned already."""
    if isinstance(image, TiffImageFile):
        return image.tag_v2[_WIDTH], image.tag_v2[_HEIGHT]
    return image.size


def _orientation(image: Image.Image) -> int:
    if "exif" not in image.info and image.format not in ("TIFF", "MPO"):
        return 1  # asking a PNG for what it does not have would decode it
    orientation = image.getexif().get(_ORIENTATION, 1)
    return orientation if orientation in range(1, 9) else 1


def image_pixels(image: Image.Image, form: Form) -> NDArray[Any]:
    """The pixels of an open image, shape (channels, height, width), by the rules of `FileSource`."""
    _check_size(image)
    orientation = _orientation(image)  # before more than the header is read, as in `image_header`
    image.load()
    # A TIFF has turned itself by now, and EXIF that follows the pixels is not looked at.
    is_to_turn = orientation != 1 and orientation == _orientation(image)
    num_channels = 1 if form.channels == 1 else 3
    turned = image.transpose(_TURNS[orientation]) if is_to_turn else image
    if turned.mode in _MANY_LEVELS:
        grey = np.asarray(turned).astype(np.float32)
        grey[grey == image.info.get("transparency")] = 0
        return np.repeat(grey[None] / (257 if _has_sixteen_bits(image) else 1), num_channels, 0)  # 65,535 becomes 255
    if turned.mode in _WITH_ALPHA or "transparency" in turned.info:
        colours = turned.convert("RGBA")
        turned = Image.alpha_composite(Image.new("RGBA", colours.size, (0, 0, 0, 255)), colours)
    wanted = "L" if num_channels == 1 else "RGB"
    array = np.asarray(turned if turned.mode == wanted else turned.convert(wanted))
    return array[None] if wanted == "L" else array.transpose(2, 0, 1)
