"""Cut-outs for alert packets: small FITS images around DIA sources."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from skydesk_core.release.wcsfit import make_pixel_to_sky, project

if TYPE_CHECKING:
    from lsst.daf.butler import Butler, DatasetRef

__all__ = ["STAMPS", "StampImages", "Stamps", "encode_stamp"]

STAMPS = ("difference", "science", "template")
"""The cut-outs of a packet, in the order of its schema."""

_BLOCK = 2880

type Key = tuple[int, int]


@dataclass(frozen=True)
class Stamps:
    """FITS files of the cut-outs around one source; None where there is no such image."""

    difference: bytes | None = None
    science: bytes | None = None
    template: bytes | None = None


def _card(key: str, value: object, comment: str = "") -> str:
    if isinstance(value, bool):
        text = f"{'T' if value else 'F':>20}"
    elif isinstance(value, str):
        text = f"'{value:<8}'"
    elif isinstance(value, float):
        text = f"{value:>20.13G}"
    else:
        text = f"{value:>20}"
    line = f"{key:<8}= {text}"
    return f"{line} / {comment}"[:80].ljust(80) if comment else line.ljust(80)


def encode_stamp(pixels: NDArray[np.float32], cards: Mapping[str, object]) -> bytes:
    """Write a small image as FITS.

    Parameters
    ----------
    pixels
        The image, bottom row first.
    cards
        Header cards beyond those that every image has, numbers and short texts.

    Returns
    -------
    bytes
        The file, as `astropy.nddata.CCDData.read` takes it when the cards have ``BUNIT``.
    """
    fixed: dict[str, object] = {
        "SIMPLE": True,
        "BITPIX": -32,
        "NAXIS": 2,
        "NAXIS1": pixels.shape[1],
        "NAXIS2": pixels.shape[0],
    }
    header = "".join(_card(k, v) for k, v in {**fixed, **cards}.items()) + "END".ljust(80)
    data = pixels.astype(">f4").tobytes()
    return header.ljust(-(-len(header) // _BLOCK) * _BLOCK).encode("ascii") + data.ljust(
        -(-len(data) // _BLOCK) * _BLOCK, b"\0"
    )


def _cut(pixels: NDArray[Any], column: int, row: int, half: int) -> NDArray[np.float32]:
    """Copy the square around a pixel; NaN beyond the edge."""
    out = np.full((2 * half + 1, 2 * half + 1), np.nan, np.float32)
    y0, y1 = max(row - half, 0), min(row + half + 1, pixels.shape[0])
    x0, x1 = max(column - half, 0), min(column + half + 1, pixels.shape[1])
    if y0 < y1 and x0 < x1:
        out[y0 - row + half : y1 - row + half, x0 - column + half : x1 - column + half] = pixels[y0:y1, x0:x1]
    return out


class StampImages:
    """The images that cut-outs are taken from, by visit and detector.

    Parameters
    ----------
    images
        For each of `STAMPS` the Butler and the references of its images; difference and science images share the
        detector's pixels, and so does the template that was warped onto them.
    side
        Pixels along the side of a cut-out; made odd, so that the source is in the middle.
    """

    def __init__(self, images: Mapping[str, tuple[Butler, Iterable[DatasetRef]]], side: int) -> None:
        self._half = side // 2
        self._places: dict[str, dict[Key, tuple[Butler, DatasetRef]]] = {
            kind: {(int(r.dataId["visit"]), int(r.dataId["detector"])): (butler, r) for r in refs}
            for kind, (butler, refs) in images.items()
        }

    def cut(self, key: Key, x: Sequence[float], y: Sequence[float]) -> list[Stamps]:
        """Cut out the surroundings of the sources of one detector of one visit.

        Parameters
        ----------
        key
            Visit and detector.
        x, y
            Positions in the detector's pixels.

        Returns
        -------
        list of Stamps
            In the order of the positions.
        """
        found: list[dict[str, bytes]] = [{} for _ in x]
        for kind in STAMPS:
            place = self._places.get(kind, {}).get(key)
            if place is None:
                continue
            for stamps, content in zip(found, self._cut_image(place, kind, key, x, y), strict=True):
                stamps[kind] = content
        return [Stamps(**stamps) for stamps in found]

    def _cut_image(
        self, place: tuple[Butler, DatasetRef], kind: str, key: Key, x: Sequence[float], y: Sequence[float]
    ) -> list[bytes]:
        butler, ref = place
        parts = butler.get(
            ref.makeComponentRef("components"), parameters={"components": ["image", "sky_projection"]}
        )
        image = parts["image"]
        pixels, bbox = image.array, image.bbox
        xs, ys = np.asarray(x, float) - bbox.x.start, np.asarray(y, float) - bbox.y.start
        columns, rows = np.rint(xs).astype(int), np.rint(ys).astype(int)
        cards: dict[str, object] = {"EXTNAME": kind.upper(), "VISIT": key[0], "DETECTOR": key[1]}
        if image.unit is not None:
            cards["BUNIT"] = image.unit.to_string("fits")
        wcs = self._local_wcs(parts["sky_projection"], bbox, columns, rows)
        return [
            encode_stamp(_cut(pixels, int(c), int(r), self._half), {**cards, **cards_of})
            for c, r, cards_of in zip(columns, rows, wcs, strict=True)
        ]

    def _local_wcs(
        self, projection: Any, bbox: Any, columns: NDArray[Any], rows: NDArray[Any]
    ) -> list[dict[str, object]]:
        """Describe the sky around each source by its tangent plane, exact in the middle of the cut-out."""
        if projection is None:
            return [{} for _ in columns]
        to_sky = make_pixel_to_sky(projection, bbox)
        ra, dec = to_sky(columns.astype(float), rows.astype(float))
        steps = []
        for dx, dy in ((1.0, 0.0), (0.0, 1.0)):
            steps.append((to_sky(columns + dx, rows + dy), to_sky(columns - dx, rows - dy)))
        middle = float(self._half + 1)
        out: list[dict[str, object]] = []
        for i in range(len(columns)):
            center = (float(ra[i]), float(dec[i]))
            entry: dict[str, object] = {
                "CTYPE1": "RA---TAN",
                "CTYPE2": "DEC--TAN",
                "CRPIX1": middle,
                "CRPIX2": middle,
                "CRVAL1": center[0],
                "CRVAL2": center[1],
            }
            for axis, (ahead, behind) in enumerate(steps, start=1):
                a = project(ahead[0][i], ahead[1][i], center)
                b = project(behind[0][i], behind[1][i], center)
                entry[f"CD1_{axis}"] = float(a[0] - b[0]) / 2
                entry[f"CD2_{axis}"] = float(a[1] - b[1]) / 2
            entry |= {"CUNIT1": "deg", "CUNIT2": "deg", "RADESYS": "ICRS"}
            out.append(entry)
        return out
