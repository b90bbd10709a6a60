"""The full focal plane of a visit as one image: the detectors' pyramids on one plane of the sky."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from skydesk_portal.exceptions import NotFoundError
from skydesk_portal.pipeline.sky import invert_wcs, project, unproject

if TYPE_CHECKING:
    from skydesk_portal.pipeline import Pyramid

__all__ = ["FocalPlane", "Member", "parse_visit_id", "visit_id"]

_TILE = 256
_STEPS = 16
_ID = re.compile(r"visit-([a-z_]{3,40})-(\d{1,19})\Z")
_LARGEST = 1 << 18
_SAMPLED = 3
_BULGE = 16
"""By how many native pixels the edge of a detector may lie outside the straight lines between its corners."""
# Two cores: more threads would only wait for one another.
_POOL = ThreadPoolExecutor(2, thread_name_prefix="focal-plane")


def visit_id(dataset_type: str, visit: int) -> str:
    """Name the focal plane of a visit."""
    return f"visit-{dataset_type}-{visit}"


def parse_visit_id(text: str) -> tuple[str, int] | None:
    """Return dataset type and visit of a focal plane's name, `None` if it is none."""
    found = _ID.match(text)
    return (found[1], int(found[2])) if found else None


@dataclass(frozen=True)
class Member:
    """One detector's image.

    Parameters
    ----------
    name
        What people call it.
    outline
        Corners in ICRS degrees, shape (n, 2).
    open
        Opens its pyramid; the first time may take a while.
    open_overview
        Opens the coarsest level of its pixels, which is there at once.
    """

    name: str
    outline: NDArray[np.float64]
    open: Callable[[], Pyramid]
    open_overview: Callable[[], Pyramid]


class FocalPlane:
    """Looks like a `Pyramid` whose pixels are those of the nearest detector's pixel.

    Parameters
    ----------
    members
        The detectors' images.
    title
        What people call the whole.
    pixel_scale_arcsec
        Size of its pixels.

    Notes
    -----
    The plane is gnomonic around the middle of the detectors, north up, with square pixels. No value is
    interpolated: each is one of an archive pixel of the level that fits.
    """

    def __init__(self, members: Sequence[Member], title: str, pixel_scale_arcsec: float) -> None:
        if not members:
            raise NotFoundError("this visit has no image with a place on the sky")
        self.members = tuple(members)
        self._numbers = {m.name: n for n, m in enumerate(self.members)}
        corners = np.concatenate([m.outline for m in self.members])
        unit = np.radians(corners)
        middle = np.stack(
            [
                np.cos(unit[:, 1]) * np.cos(unit[:, 0]),
                np.cos(unit[:, 1]) * np.sin(unit[:, 0]),
                np.sin(unit[:, 1]),
            ]
        ).mean(axis=1)
        self._crval = (
            float(np.degrees(np.arctan2(middle[1], middle[0])) % 360),
            float(np.degrees(np.arctan2(middle[2], np.hypot(middle[0], middle[1])))),
        )
        self._scale_deg = pixel_scale_arcsec / 3600
        flat = [self._flatten(m.outline) for m in self.members]
        low = np.min([f.min(axis=0) for f in flat], axis=0) - 2
        high = np.max([f.max(axis=0) for f in flat], axis=0) + 2
        nx, ny = (int(np.ceil(v)) for v in high - low)
        if max(nx, ny) > _LARGEST:
            raise NotFoundError("the detectors of this visit lie too far apart to be shown as one image")
        self.shape = (ny, nx)
        self._origin = low
        self.footprints = [f - low for f in flat]
        self.levels = 1
        while _TILE << (self.levels - 1) < max(nx, ny):
            self.levels += 1
        self.xy0 = (0, 0)
        self.title = title
        self.planes = ("image", "variance", "mask")
        self._overviews: dict[str, Pyramid] = {}

    def _flatten(self, sky: NDArray[np.float64]) -> NDArray[np.float64]:
        xi, eta = project(sky[:, 0], sky[:, 1], self._crval)
        return np.stack([-xi, eta], axis=1) / self._scale_deg

    @cached_property
    def wcs_fit(self) -> dict[str, Any]:
        """The plane's mapping in the form of `fit_wcs`; it is exact."""
        ny, nx = self.shape
        scale = max(nx, ny) / 2
        centre = [(nx - 1) / 2, (ny - 1) / 2]
        x0, y0 = centre[0] + self._origin[0], centre[1] + self._origin[1]
        step = self._scale_deg * scale
        reach = self._scale_deg * max(nx, ny)
        return {
            "crval": list(self._crval),
            "centre": centre,
            "scale": scale,
            "degree": 1,
            "xi": [[-x0 * self._scale_deg, 0.0], [-step, 0.0]],
            "eta": [[y0 * self._scale_deg, step], [0.0, 0.0]],
            "max_error_px": 0.0,
            "max_error_arcsec": 0.0,
            "pixel_scale_arcsec": self._scale_deg * 3600,
            "inverse": {
                "scale_deg": reach,
                "degree": 1,
                "u": [[-x0 / scale, 0.0], [-reach / step, 0.0]],
                "v": [[-y0 / scale, reach / step], [0.0, 0.0]],
                "max_error_px": 0.0,
            },
        }

    @cached_property
    def _sample(self) -> list[Pyramid]:
        return list(_POOL.map(lambda m: m.open(), self.members[:: max(1, len(self.members) // _SAMPLED)]))

    @property
    def mask_planes(self) -> dict[str, int]:
        """Mask plane name to bit, of the first detector."""
        return self._sample[0].mask_planes

    def _no_data(self) -> int:
        return 1 << self.mask_planes["NO_DATA"] if "NO_DATA" in self.mask_planes else 0

    @property
    def unit(self) -> str | None:
        """Unit of the pixels."""
        return self._sample[0].unit

    @property
    def band(self) -> str | None:
        """Band of the visit."""
        return self._sample[0].band

    @cached_property
    def stats(self) -> dict[str, float]:
        """Medians of what some of the detectors' statistics say."""
        found = [p.stats for p in self._sample if p.stats]
        return (
            {k: float(np.median([s[k] for s in found])) for k in found[0] if all(k in s for s in found)}
            if found
            else {}
        )

    @property
    def meta(self) -> dict[str, Any]:
        """What `ImageService` reads of a pyramid's meta data."""
        return {
            "tile": _TILE,
            "version": 1,
            "title": self.title,
            "dataset_type": "focal_plane",
            "data_id": {},
        }

    def _open(self, member: Member, plane: str, block: int) -> Pyramid:
        """Open what a tile of one pixel for so many of a detector's needs: its overview if that is fine enough."""
        if plane == "image":
            small = self._overviews.get(member.name)
            if small is None:
                small = self._overviews[member.name] = member.open_overview()
            if block >= 1 << (small.levels - 1):
                return small
        return member.open()

    def _touched(self, box: tuple[float, float, float, float]) -> list[Member]:
        x0, y0, x1, y1 = box
        return [
            m
            for m, f in zip(self.members, self.footprints, strict=True)
            if f[:, 0].max() >= x0 and f[:, 0].min() <= x1 and f[:, 1].max() >= y0 and f[:, 1].min() <= y1
        ]

    def _sky(self, x: Any, y: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        xi, eta = -(x + self._origin[0]) * self._scale_deg, (y + self._origin[1]) * self._scale_deg
        return unproject(xi, eta, self._crval)

    def tile(self, plane: str, z: int, x: int, y: int) -> NDArray[Any]:
        """Make one tile, as `Pyramid.tile`.

        Raises
        ------
        NotFoundError
            If there is no such tile.
        """
        count = 1 << z
        if plane not in self.planes or not (0 <= z < self.levels and 0 <= x < count and 0 <= y < count):
            raise NotFoundError(f"image has no tile {plane}/{z}/{x}/{y}")
        block = 1 << (self.levels - 1 - z)
        padded = _TILE << (self.levels - 1)
        left, top = x * _TILE * block - 0.5, padded - y * _TILE * block - 0.5
        side = _TILE * block
        members = self._touched((left, top - side, left + side, top))
        mask = plane == "mask"
        out: NDArray[Any] = (
            np.full((_TILE, _TILE), self._no_data(), np.uint32)
            if mask
            else np.full((_TILE, _TILE), np.nan, np.float32)
        )
        steps = np.linspace(0, side, _STEPS + 1)
        gx, gy = np.meshgrid(left + steps, top - steps)
        ra, dec = self._sky(gx, gy)
        opened = _POOL.map(lambda m: self._open(m, plane, block), members)
        for member, pyramid in zip(members, opened, strict=True):
            flat = self.footprints[self._numbers[member.name]]
            columns, rows = (flat[:, 0] - left) / block, (top - flat[:, 1]) / block
            part = (_span(rows, _BULGE / block), _span(columns, _BULGE / block))
            self._fill(out[part], part, pyramid, plane, block, (ra, dec))
        return out

    def _fill(
        self,
        out: NDArray[Any],
        part: tuple[slice, slice],
        pyramid: Pyramid,
        plane: str,
        block: int,
        sky: tuple[Any, Any],
    ) -> None:
        """Put the nearest pixels of a detector into the part of a tile that it touches."""
        fit = pyramid.wcs_fit
        if fit is None or plane not in pyramid.planes or out.size == 0:
            return
        gx, gy = invert_wcs(fit, *sky)
        px, py = _refine(gx, part), _refine(gy, part)
        level = pyramid.levels - 1 - min(int(np.log2(block)), pyramid.levels - 1)
        size = 1 << (pyramid.levels - 1 - level)
        array = pyramid.array(plane, level)
        i, j = np.floor((px + 0.5) / size).astype(int), np.floor((py + 0.5) / size).astype(int)
        inside = (i >= 0) & (j >= 0) & (i < array.shape[1]) & (j < array.shape[0])
        values = array[j[inside], i[inside]]
        if plane == "variance" and size < block:
            values = values * np.float32((size / block) ** 2)
        out[inside] = values

    def pixel(self, x: int, y: int) -> tuple[float, float, int]:
        """Read one native pixel, as `Pyramid.pixel`; NaN between the detectors."""
        ra, dec = self._sky(np.array([x], float), np.array([y], float))
        for member in self._touched((x, y, x, y)):
            pyramid = member.open()
            if pyramid.wcs_fit is None:
                continue
            px, py = (int(np.floor(v[0] + 0.5)) for v in invert_wcs(pyramid.wcs_fit, ra, dec))
            if 0 <= px < pyramid.shape[1] and 0 <= py < pyramid.shape[0]:
                return pyramid.pixel(px, py)
        return float("nan"), float("nan"), self._no_data()

    def describe_members(self) -> list[dict[str, Any]]:
        """List name and outline (0-based pixels of the plane) of each detector."""
        return [
            {"name": m.name, "outline": np.round(f, 2).tolist()}
            for m, f in zip(self.members, self.footprints, strict=True)
        ]


def _span(at: NDArray[np.float64], margin: float) -> slice:
    """Return the pixels of a tile's side that some places on it enclose, with a margin at each end."""
    low, high = int(np.floor(at.min() - margin)) - 1, int(np.ceil(at.max() + margin)) + 1
    return slice(min(max(low, 0), _TILE), min(max(high, 0), _TILE))


def _refine(grid: NDArray[np.float64], part: tuple[slice, slice]) -> NDArray[np.float64]:
    """Interpolate a grid of control points to the middles of the pixels of a part of a tile."""
    at = (np.arange(_TILE) + 0.5) * _STEPS / _TILE
    low = np.minimum(at.astype(int), _STEPS - 1)
    share = at - low
    i, j = low[part[0]], low[part[1]]
    down, right = share[part[0], None], share[part[1]]
    rows = grid[i] * (1 - down) + grid[i + 1] * down
    return np.asarray(rows[:, j] * (1 - right) + rows[:, j + 1] * right)
