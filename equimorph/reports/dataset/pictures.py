"""Samples as small pictures in a page: pixels as PNG, enlarged and crisp, and signals as drawn lines."""

from __future__ import annotations

import base64
from html import escape
from io import BytesIO

import torch
from PIL import Image
from torch import Tensor

from equimorph.errors import ShapeError
from equimorph.reports import style

_LINES = ("#2b3a8c", style.ACCENT, "#41a9c2", "#8d74b8")  # of a signal's channels, in turn
_MOST_PIXELS = 512  # along a side of what is stored; larger samples are thinned out


def picture(sample: Tensor, *, alt: str, size: int = 96) -> str:
    """One raw sample as an element of a page.

    Pixels are enlarged by a whole number and stay sharp. One channel is grey, three are red, green and blue; of any
    other number the mean over channels is shown. A volume is shown by its greatest values along z, the last axis.
    uint8 is shown as it is, other numbers from the least (black) to the greatest (white) of the sample. A signal is
    a line for each channel on one scale.

    Args:
        sample: Shape (channels, *spatial), with one to three spatial axes, uint8 or floating.
        alt: What it is, for those who do not see it; plain text, which is escaped here.
        size: The longer side on the page, in pixels.
    Returns:
        An <img> whose data are in it, or an <svg>.
    Raises:
        ShapeError: The sample has another number of axes, or is empty.
    Example:
        >>> picture(torch.zeros(1, 8, 8, dtype=torch.uint8), alt="nothing", size=32)[:44]
        '<img class="sample" width="32" height="32" a'
    """
    if sample.ndim not in (2, 3, 4) or sample.numel() == 0:
        raise ShapeError(
            f"picture: a sample of shape {tuple(sample.shape)}, needed (channels, 1 to 3 spatial axes), none of them 0."
        )
    values = _as_bytes(sample.detach().cpu())
    if sample.ndim == 2:
        return _draw_signal(values, alt, size)
    return _make_image(values.amax(3) if sample.ndim == 4 else values, alt, size)


def _as_bytes(sample: Tensor) -> Tensor:
    """The sample in 0 to 255; what is no finite number is 0."""
    if sample.dtype == torch.uint8:
        return sample
    values = sample.double()
    is_known = values.isfinite()
    known = values[is_known]
    if known.numel() == 0 or known.min() == known.max():
        return torch.full(sample.shape, 128, dtype=torch.uint8)
    low, high = known.min(), known.max()
    scaled = torch.where(is_known, (values - low) * (255 / (high - low)), 0.0)
    return scaled.round().to(torch.uint8)


def _make_image(pixels: Tensor, alt: str, size: int) -> str:
    if pixels.shape[0] not in (1, 3):
        pixels = pixels.double().mean(0, keepdim=True).round().to(torch.uint8)
    step = -(-max(pixels.shape[1:]) // _MOST_PIXELS)
    pixels = pixels[:, ::step, ::step]
    array = pixels.permute(1, 2, 0).contiguous().numpy()
    image = Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)
    # Twice the size on the page, for screens with two pixels to a point.
    factor = max(1, round(2 * size / max(image.size)))
    image = image.resize((factor * image.width, factor * image.height), Image.Resampling.NEAREST)
    buffer = BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    width, height = (max(1, round(size * side / max(image.size))) for side in image.size)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return (
        f'<img class="sample" width="{width}" height="{height}" alt="{escape(alt)}" src="data:image/png;base64,{data}">'
    )


def _draw_signal(values: Tensor, alt: str, size: int) -> str:
    step = -(-values.shape[1] // _MOST_PIXELS)
    values = values[:, ::step]
    width, height = size, max(24, size // 2)
    across = (width - 4) / max(1, values.shape[1] - 1)
    lines = []
    for index, channel in enumerate(values.tolist()):
        points = " ".join(
            f"{2 + x * across:.1f},{height - 2 - y * (height - 4) / 255:.1f}" for x, y in enumerate(channel)
        )
        colour = _LINES[index % len(_LINES)]
        lines.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.2"/>')
    return (
        f'<svg class="sample" role="img" aria-label="{escape(alt)}" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}">{"".join(lines)}</svg>'
    )
