"""Files of images and arrays, whole and damaged."""

import io
import pickle
import random
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

import equimorph.data.decoding as module
from equimorph.data.decoding import IMAGE_FORMATS, FileSource
from equimorph.data.problems import SampleError
from equimorph.data.sources import Form

RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 256, (5, 7, 4), dtype=np.uint8)
RGB = Form(3, (5, 7))
GREY = Form(1, (5, 7))
MANY = Form(1, (5, 7), "float32")
EXIF = 0x0112
# Where pixels go: the turn that makes what a camera stored as orientation 1 to 8 what it saw.
TURNS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


def source_of(path, dim=2, axis="auto"):
    return FileSource([str(path)], dim, axis)


def stored(path, image, **how):
    image.save(path, **how)
    return source_of(path)


def reason_of(path, dim=2, form=RGB, *, in_header=True):
    """Why a file is refused; in the header as well, unless only its pixels tell."""
    source = source_of(path, dim)
    with pytest.raises(SampleError) as refused:
        source.read(0, form)
    if in_header:
        with pytest.raises(SampleError) as early:
            source.header(0)
        assert str(early.value) == str(refused.value)
    return str(refused.value)


def checked_header(source, shape=None):
    """The header, after the pixels were compared with it."""
    header = source.header(0)
    form = Form(header.channels, header.sides, header.levels)
    assert source.array(0, form).shape == form.shape == (shape or form.shape)
    assert source.read(0, form).dtype == header.levels
    assert header.is_image
    return header


def on_black(colours, alpha):
    return np.round(colours.astype(float) * alpha[..., None] / 255)


def test_bytes_come_through_as_they_are(tmp_path):
    for suffix in ("png", "bmp", "tif", "ppm"):
        source = stored(tmp_path / f"a.{suffix}", Image.fromarray(BYTES[..., :3]))
        assert (source.read(0, RGB) == BYTES[..., :3].transpose(2, 0, 1)).all()
        assert checked_header(source).handled == ()
    for suffix in ("png", "bmp", "tif", "pgm"):
        source = stored(tmp_path / f"b.{suffix}", Image.fromarray(BYTES[..., 0]))
        assert (source.read(0, GREY) == BYTES[..., 0]).all()
        assert checked_header(source).handled == ()


def test_jpeg_and_webp_come_through_nearly(tmp_path):
    smooth = np.broadcast_to(np.array([200, 40, 90], np.uint8), (5, 7, 3))
    for suffix in ("jpg", "jpeg", "webp"):
        source = stored(tmp_path / f"a.{suffix}", Image.fromarray(smooth), quality=95)
        difference = source.read(0, RGB).astype(int) - smooth.transpose(2, 0, 1)
        assert abs(difference).max() <= 3  # 1 when it was written
        checked_header(source)


def test_a_source_can_be_pickled(tmp_path):
    source = stored(tmp_path / "a.png", Image.fromarray(BYTES[..., 0]))
    assert pickle.loads(pickle.dumps(source)).header(0) == source.header(0)


def test_the_content_says_what_a_file_is(tmp_path):
    source = stored(tmp_path / "a.png", Image.fromarray(BYTES[..., :3]), format="BMP")
    assert (source.read(0, RGB) == BYTES[..., :3].transpose(2, 0, 1)).all()


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_file_that_is_cut_short_is_refused(tmp_path, kind):
    noise = Image.fromarray(RNG.integers(0, 256, (40, 40, 3), dtype=np.uint8))
    whole = tmp_path / "whole"
    noise.save(whole, kind)
    path = tmp_path / "cut.img"
    path.write_bytes(whole.read_bytes()[:-900])
    assert source_of(path).header(0).sides == (40, 40)
    assert reason_of(path, in_header=False) == "the file is cut short or damaged"


def test_files_that_are_no_images_are_refused(tmp_path):
    contents = {"empty": b"", "text": b"This is a text.\n", "half": b"\x89PNG\r\n\x1a\n\0\0"}
    whole = io.BytesIO()
    Image.fromarray(BYTES).save(whole, "PNG")
    contents["corrupt"] = whole.getvalue()[:18] + b"\xff" * 8 + whole.getvalue()[26:]
    for name, content in contents.items():
        path = tmp_path / f"{name}.png"
        path.write_bytes(content)
        assert reason_of(path) == "the file is no image, or damaged at its beginning", name


def test_a_format_that_runs_a_program_is_never_tried(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\n" + b"showpage\n" * 40)
    assert "no image" in reason_of(path)
    assert not {"EPS", "WMF", "FITS", "IPTC"} & set(IMAGE_FORMATS)


def test_a_file_that_is_missing_a_folder_or_unreadable_is_refused(tmp_path, monkeypatch):
    assert reason_of(tmp_path / "none.png") == "there is no such file"
    (tmp_path / "x.png").mkdir()
    assert reason_of(tmp_path / "x.png") == "it is a folder"

    def refusing(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(module, "open", refusing, raising=False)
    assert reason_of(tmp_path / "y.png") == "the file may not be read"


def test_whatever_is_damaged_only_sample_errors_come_out(tmp_path):
    draw = random.Random(0)
    path = tmp_path / "a.img"
    images = {kind: Image.fromarray(BYTES[..., :3]) for kind in ("PNG", "JPEG", "BMP", "PPM", "TIFF", "WEBP", "GIF")}
    exif = Image.Exif()
    exif[EXIF] = 6
    for kind, image in images.items():
        buffer = io.BytesIO()
        image.save(buffer, kind, **({"exif": exif} if kind in ("PNG", "JPEG", "TIFF", "WEBP") else {}))
        for _ in range(80):
            content = bytearray(buffer.getvalue())
            for _ in range(draw.randint(1, 8)):
                content[draw.randrange(len(content) if draw.random() < 0.5 else 60)] = draw.randrange(256)
            path.write_bytes(content[: draw.randint(1, len(content))] if draw.random() < 0.3 else content)
            source = source_of(path)
            try:
                header = source.header(0)
                if np.prod(header.sides) < 10**6:
                    source.read(0, Form(header.channels, header.sides, header.levels))
            except SampleError:
                pass


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_of_grey_are_scaled(tmp_path, suffix):
    values = np.array([[0, 257, 65535], [128, 1000, 40000]], np.uint16)
    source = stored(tmp_path / f"a.{suffix}", Image.fromarray(values))
    header = checked_header(source, (1, 2, 3))
    assert header.levels == "float32" and header.handled == ("16 bits scaled to 0 to 255",)
    expected = (values / 257).astype(np.float32)
    assert np.allclose(source.read(0, Form(1, (2, 3), "float32")), expected, rtol=1e-6)
    assert np.allclose(source.read(0, Form(3, (2, 3), "float32")), expected[None].repeat(3, 0), rtol=1e-6)


def test_sixteen_bits_are_scaled_in_the_other_byte_order_and_in_pgm(tmp_path):
    values = np.array([[0, 257, 65535]], np.uint16)
    (tmp_path / "a.pgm").write_bytes(b"P5 3 1 65535\n" + values.astype(">u2").tobytes())
    entries = [(256, 3), (257, 1), (258, 16), (259, 1), (262, 1), (273, 8), (277, 1), (278, 1), (279, 6)]
    fields = b"".join(struct.pack(">HHIHH", tag, 3, 1, value, 0) for tag, value in entries)
    start = struct.pack(">2sHI6s2sH", b"MM", 42, 16, values.astype(">u2").tobytes(), b"", len(entries))
    (tmp_path / "b.tif").write_bytes(start + fields + b"\0\0\0\0")
    for name in ("a.pgm", "b.tif"):
        source = source_of(tmp_path / name)
        assert checked_header(source, (1, 1, 3)).handled == ("16 bits scaled to 0 to 255",)
        assert source.read(0, Form(1, (1, 3), "float32")).tolist() == [[[0, 1, 255]]]


def test_floating_points_and_whole_numbers_of_32_bits_stay(tmp_path):
    for values in (np.array([[0.5, -2.25, 1e6]], np.float32), np.array([[7, -2, 10**6]], np.int32)):
        source = stored(tmp_path / "a.tif", Image.fromarray(values))
        assert checked_header(source).handled == ()
        assert source.read(0, Form(1, (1, 3), "float32")).tolist() == [values.tolist()]


def test_pixels_that_are_no_finite_numbers_are_refused(tmp_path):
    Image.fromarray(np.array([[0.5, np.nan]], np.float32)).save(tmp_path / "a.tif")
    assert "not finite" in reason_of(tmp_path / "a.tif", form=Form(1, (1, 2), "float32"), in_header=False)


@pytest.mark.parametrize("kind", ["png", "gif"])
def test_a_palette_becomes_rgb(tmp_path, kind):
    image = Image.fromarray(BYTES[..., :3]).quantize(16)
    source = stored(tmp_path / f"a.{kind}", image)
    assert checked_header(source, (3, 5, 7)).handled == ("palette made RGB",)
    assert (source.read(0, RGB) == np.asarray(image.convert("RGB")).transpose(2, 0, 1)).all()


@pytest.mark.parametrize("kind", ["png", "gif"])
def test_a_transparent_colour_of_a_palette_becomes_black(tmp_path, kind):
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8), "P")
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    source = stored(tmp_path / f"a.{kind}", image, transparency=1)
    assert checked_header(source, (3, 1, 3)).handled == ("palette made RGB", "transparent put on black")
    assert source.read(0, Form(3, (1, 3))).transpose(1, 2, 0).tolist() == [[[255, 0, 0], [0, 0, 0], [0, 0, 255]]]


def test_transparent_colours_are_put_on_black(tmp_path):
    source = stored(tmp_path / "a.png", Image.fromarray(BYTES))
    assert checked_header(source, (3, 5, 7)).handled == ("transparent put on black",)
    difference = source.read(0, RGB).transpose(1, 2, 0) - on_black(BYTES[..., :3], BYTES[..., 3])
    assert abs(difference).max() <= 1  # Pillow rounds twice


def test_transparent_grey_is_put_on_black_and_stays_grey(tmp_path):
    source = stored(tmp_path / "a.png", Image.fromarray(BYTES[..., :2], "LA"))
    assert checked_header(source, (1, 5, 7)).handled == ("transparent put on black",)
    difference = source.read(0, GREY)[0] - on_black(BYTES[..., :1], BYTES[..., 1])[..., 0]
    assert abs(difference).max() <= 1


def test_one_colour_that_stands_for_transparent_becomes_black(tmp_path):
    grey = Image.fromarray(np.array([[5, 9]], np.uint8))
    assert stored(tmp_path / "a.png", grey, transparency=9).read(0, Form(1, (1, 2))).tolist() == [[[5, 0]]]
    many = Image.fromarray(np.array([[257, 514]], np.uint16))
    source = stored(tmp_path / "b.png", many, transparency=514)
    assert "transparent put on black" in checked_header(source).handled
    assert source.read(0, Form(1, (1, 2), "float32")).tolist() == [[[1, 0]]]


@pytest.mark.parametrize("kind", ["jpg", "tif"])
def test_cmyk_becomes_rgb(tmp_path, kind):
    red = Image.new("CMYK", (7, 5), (0, 255, 255, 0))
    source = stored(tmp_path / f"a.{kind}", red)
    assert checked_header(source, (3, 5, 7)).handled == ("CMYK made RGB",)
    colour = source.read(0, RGB)[:, 2, 3].astype(int)
    assert colour[0] > 250 and colour[1] < 5 and colour[2] < 5


def test_single_bits_become_black_and_white(tmp_path):
    source = stored(tmp_path / "a.png", Image.fromarray(BYTES[..., 0] > 127))
    assert checked_header(source).levels == "uint8"
    assert (source.read(0, GREY)[0] == np.where(BYTES[..., 0] > 127, 255, 0)).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("kind", "channels"), [("png", 3), ("tif", 3), ("jpg", 1), ("png", 1), ("webp", 3)])
def test_images_are_turned_as_exif_says(tmp_path, orientation, kind, channels):
    pixels = np.kron(np.array([[0, 80, 160], [240, 30, 120]], np.uint8), np.ones((8, 8), np.uint8))
    pixels = np.stack([pixels, 255 - pixels, pixels // 2], -1) if channels == 3 else pixels
    exif = Image.Exif()
    exif[EXIF] = orientation
    how = {"lossless": True} if kind == "webp" else {"quality": 100} if kind == "jpg" else {}
    source = stored(tmp_path / f"a.{kind}", Image.fromarray(pixels), exif=exif, **how)
    turned = TURNS[orientation](pixels)
    header = checked_header(source, (channels, *turned.shape[:2]))
    assert header.handled == (() if orientation == 1 else ("turned as EXIF says",))
    read = source.read(0, Form(channels, turned.shape[:2])).astype(int)
    assert abs(read - (turned.transpose(2, 0, 1) if channels == 3 else turned)).max() <= (2 if kind == "jpg" else 0)


@pytest.mark.parametrize("orientation", [0, 9, 700])
def test_an_orientation_that_does_not_exist_is_none(tmp_path, orientation):
    exif = Image.Exif()
    exif[EXIF] = orientation
    source = stored(tmp_path / "a.png", Image.fromarray(BYTES[..., 0]), exif=exif)
    assert checked_header(source).handled == () and (source.read(0, GREY)[0] == BYTES[..., 0]).all()


def test_exif_behind_the_pixels_is_seen_neither_in_the_header_nor_later(tmp_path):
    exif = Image.Exif()
    exif[EXIF] = 6
    content = exif.tobytes()[6:]
    chunk = struct.pack(">I", len(content)) + b"eXIf" + content + struct.pack(">I", zlib.crc32(b"eXIf" + content))
    buffer = io.BytesIO()
    Image.fromarray(BYTES[..., 0]).save(buffer, "PNG")
    whole = buffer.getvalue()
    (tmp_path / "a.png").write_bytes(whole[:-12] + chunk + whole[-12:])
    assert checked_header(source_of(tmp_path / "a.png"), (1, 5, 7)).handled == ()


@pytest.mark.parametrize("kind", ["gif", "tif", "png", "webp"])
def test_of_several_frames_the_first_is_taken(tmp_path, kind):
    frames = [Image.new("RGB", (7, 5), colour) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    how = {"lossless": True} if kind == "webp" else {}
    source = stored(tmp_path / f"a.{kind}", frames[0], save_all=True, append_images=frames[1:], **how)
    assert "first of several frames taken" in checked_header(source).handled
    assert source.read(0, RGB)[:, 0, 0].tolist() == [255, 0, 0]


def test_an_image_beyond_the_bound_is_refused(tmp_path, monkeypatch):
    source = stored(tmp_path / "a.png", Image.fromarray(BYTES))
    monkeypatch.setattr(module, "_MOST_PIXELS", 35)
    source.header(0)
    monkeypatch.setattr(module, "_MOST_PIXELS", 34)
    assert reason_of(tmp_path / "a.png") == "more than 34 pixels, refused as a decompression bomb"


@pytest.mark.parametrize("side", [12_000, 60_000])  # between Pillow's two bounds, and beyond both
def test_a_small_file_that_declares_many_pixels_is_refused(tmp_path, side):
    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
    assert "decompression bomb" in reason_of(tmp_path / "a.png")


def test_grey_becomes_rgb_and_rgb_grey_where_the_form_says_so(tmp_path):
    grey = stored(tmp_path / "a.png", Image.fromarray(BYTES[..., 0]))
    assert (grey.read(0, RGB) == BYTES[..., 0]).all()
    colour = stored(tmp_path / "b.png", Image.fromarray(BYTES[..., :3]))
    luminance = BYTES[..., :3] @ [0.299, 0.587, 0.114]  # ITU-R 601
    assert abs(colour.read(0, GREY)[0] - luminance).max() <= 0.6


def test_an_image_is_brought_to_the_sides_of_the_form(tmp_path):
    source = stored(tmp_path / "a.png", Image.fromarray(np.full((8, 12, 3), 9, np.uint8)))
    assert (source.read(0, Form(3, (4, 4))) == 9).all()


def test_an_image_among_other_dimensions_is_refused(tmp_path):
    source = stored(tmp_path / "a.png", Image.fromarray(BYTES))
    for dim in (1, 3):
        with pytest.raises(SampleError, match=f"an image, and samples of dimension {dim}"):
            FileSource(source.paths, dim).header(0)


def test_an_image_with_damaged_bytes_of_a_text_is_read_all_the_same(tmp_path):
    image = Image.fromarray(BYTES[..., 0])
    source = stored(tmp_path / "a.tif", image, software="x")
    assert (source.read(0, GREY)[0] == BYTES[..., 0]).all()


@pytest.mark.parametrize(
    ("shape", "dim", "axis", "channels", "sides"),
    [
        ((9,), 1, "auto", 1, (9,)),
        ((2, 9), 1, "auto", 2, (9,)),
        ((9, 2), 1, "auto", 2, (9,)),
        ((5, 7), 2, "auto", 1, (5, 7)),
        ((5, 7, 3), 2, "auto", 3, (5, 7)),
        ((4, 5, 7), 2, "auto", 4, (5, 7)),
        ((9, 5, 7), 2, "first", 9, (5, 7)),
        ((5, 7, 9), 2, "last", 9, (5, 7)),
        ((4, 5, 6), 3, "auto", 1, (4, 5, 6)),
        ((2, 4, 5, 6), 3, "auto", 2, (4, 5, 6)),
    ],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.bool_, np.int16, np.uint16, np.float16, np.float64, ">f4"])
def test_arrays_are_read_with_channels_first(tmp_path, shape, dim, axis, channels, sides, dtype):
    array = RNG.integers(0, 100, shape).astype(dtype)
    np.save(tmp_path / "A.NPY", array)
    (tmp_path / "A.NPY.npy").rename(tmp_path / "A.NPY")
    source = source_of(tmp_path / "A.NPY", dim, axis)
    header = source.header(0)
    assert (header.channels, header.sides, header.is_image) == (channels, sides, False)
    assert header.levels == ("uint8" if dtype is np.uint8 else "float32")
    read = source.read(0, Form(channels, sides, header.levels))
    last = len(shape) > dim and shape[0] != channels
    assert (read == (np.moveaxis(array, -1, 0) if last or axis == "last" else array)).all()
    assert read.shape == (channels, *sides) and read.dtype == header.levels


class Trap:
    """Unpickled, it would call a function."""

    def __reduce__(self):
        return (pytest.fail, ("it was unpickled",))


def test_objects_are_never_unpickled(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[Trap()]]), allow_pickle=True)
    (tmp_path / "b.npy").write_bytes(pickle.dumps(Trap()))
    for name in ("a.npy", "b.npy"):
        assert "Python objects are never loaded" in reason_of(tmp_path / name)


def test_arrays_that_cannot_be_used_are_refused(tmp_path):
    def reason(array, dim=2):
        np.save(tmp_path / "a.npy", array)
        with pytest.raises(SampleError) as refused:
            source_of(tmp_path / "a.npy", dim).header(0)
        return str(refused.value)

    assert "dimension 2 has 2 axes" in reason(np.zeros(4))
    assert "cannot be told" in reason(np.zeros((4, 4, 4)))
    assert "real numbers" in reason(np.zeros((4, 4), complex))
    assert "real numbers" in reason(np.array([["a", "b"]]))
    assert "nothing in it" in reason(np.zeros((0, 4)))


def test_an_array_file_that_is_cut_short_or_none_is_refused(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((20, 20)))
    whole = path.read_bytes()
    path.write_bytes(whole[:-8])
    assert reason_of(path, form=Form(1, (20, 20), "float32")) == "the file is cut short or damaged"
    for content in (b"", whole[:20], b"text", whole.replace(b"20, 20", b"20, xx")):
        path.write_bytes(content)
        reason_of(path)
    with path.open("wb") as file:
        np.savez(file, x=np.zeros(3))
    assert "an archive of arrays" in reason_of(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_arrays_with_numbers_that_are_not_finite_are_refused(tmp_path, value):
    np.save(tmp_path / "a.npy", np.array([[1.0, value]]))
    assert "not finite" in reason_of(tmp_path / "a.npy", form=Form(1, (1, 2), "float32"), in_header=False)


def test_an_array_of_other_channels_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((2, 5, 7), np.uint8))
    assert "(2, 5, 7)" in reason_of(tmp_path / "a.npy", in_header=False)
