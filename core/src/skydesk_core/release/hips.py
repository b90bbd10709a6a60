"""Writing HiPS 1.0 of a release's coadds: FITS and PNG tiles for each band, and one in colour."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from skydesk_core.release.healpix import locate_cell
from skydesk_core.release.hips_pixels import TILE_WIDTH, TileSampler, band_folder, halve, join_children
from skydesk_core.release.hips_properties import HipsFacts, format_index, format_properties
from skydesk_core.release.manifest import HipsEntry

if TYPE_CHECKING:
    from mocpy import MOC

    from skydesk_core.release.pyramid import Pyramid

__all__ = ["ORDER_MIN", "choose_order", "compose_colour", "tile_header", "tile_path", "write_hips"]

ORDER_MIN = 3
"""Coarsest order that is written, that of the Allsky file."""

type Tile = NDArray[np.float32]

_MAX_ORDER = 20
_ALLSKY_COLUMNS, _ALLSKY_WIDTH = 27, 64
_TILE_BITS = 9
_SLACK = 0.9
_ORDER0_DEG = 58.6323
_SOFTENING, _BRIGHT_SIGMA = 8.0, 60.0
_COLOUR = ("i", "r", "g")
_PNG_LEVEL = 3


def choose_order(pixel_arcsec: float) -> int:
    """Choose the deepest order whose tile pixels are not noticeably smaller than those of the image."""
    order = 0
    while order < _MAX_ORDER:
        finer_arcsec = 3600 * _ORDER0_DEG / (TILE_WIDTH << (order + 1))
        if finer_arcsec < _SLACK * pixel_arcsec:
            break
        order += 1
    return max(order, ORDER_MIN)


def tile_path(order: int, index: int, ending: str) -> str:
    """Return the path of a tile inside its HiPS."""
    return f"Norder{order}/Dir{index // 10000 * 10000}/Npix{index}.{ending}"


def tile_header(order: int, index: int, unit: str | None) -> Any:
    """Make the FITS header of a tile.

    Parameters
    ----------
    order, index
        The tile.
    unit
        Unit of its pixels.

    Returns
    -------
    astropy.io.fits.Header
        With a WCS in the HEALPix projection, in which the grid of the tile stands on its corner.
    """
    from astropy.io import fits

    step = 45.0 / (TILE_WIDTH << order)
    x0, y0 = locate_cell(order, index)
    # The first pixel of the array is the one at the eastern corner of the tile.
    width = 1.0 / (1 << order)
    x, y = 45.0 * (x0 + width) - step, 45.0 * (y0 + width)
    if x0 > 4.0:
        x -= 360.0
    a, b = (-x / step + y / step) / 2, (-x / step - y / step) / 2
    header = fits.Header()
    header["CTYPE1"], header["CTYPE2"] = "RA---HPX", "DEC--HPX"
    header["CRVAL1"], header["CRVAL2"] = 0.0, 0.0
    header["CRPIX1"], header["CRPIX2"] = 1.0 - a, 1.0 - b
    header["CD1_1"], header["CD1_2"] = -step, -step
    header["CD2_1"], header["CD2_2"] = step, -step
    header["CUNIT1"], header["CUNIT2"] = "deg", "deg"
    header["PV2_1"], header["PV2_2"] = 4, 3
    header["RADESYS"] = "ICRS"
    if unit:
        header["BUNIT"] = unit
    header["ORDER"], header["NPIX"] = order, index
    return header


def _as_fits(tile: Tile) -> Tile:
    """Turn a tile whose axes run north-east and north-west into FITS rows, which run south-west."""
    return tile[::-1]


def _encode_fits(header: Any, rows: Tile) -> bytes:
    from astropy.io import fits

    buffer = io.BytesIO()
    fits.PrimaryHDU(np.ascontiguousarray(rows, np.float32), header).writeto(buffer)
    return buffer.getvalue()


def _encode_png(picture: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", compress_level=_PNG_LEVEL)
    return buffer.getvalue()


@dataclass(frozen=True)
class Stretch:
    """How the pixels of one band become grey: sky level, noise and the value that is white."""

    sky: float
    sigma: float
    white: float

    @staticmethod
    def of(coadds: Sequence[Pyramid]) -> Stretch:
        """Choose the stretch of a band from the statistics of its coadds."""
        known = [p.stats for p in coadds if "median" in p.stats]
        if not known:
            return Stretch(0.0, 1.0, 1.0)
        sky = float(np.median([s["median"] for s in known]))
        sigma = float(np.median([s["sigma"] for s in known])) or 1.0
        white = float(np.max([s["p995"] for s in known]))
        return Stretch(sky, sigma, max(white, sky + 20 * sigma))

    @property
    def cut(self) -> tuple[float, float]:
        """Values shown black and white."""
        return self.sky - 2 * self.sigma, self.white

    def paint(self, tile: Tile) -> NDArray[np.uint8]:
        """Make a grey picture with transparency, shape (ny, nx, 2)."""
        low, high = self.cut
        good = np.isfinite(tile)
        picture = np.zeros((*tile.shape, 2), np.uint8)
        part = np.clip((tile[good] - np.float32(low)) / np.float32(high - low), 0, 1)
        grey = np.arcsinh(np.float32(_SOFTENING) * part) * np.float32(255 / np.arcsinh(_SOFTENING))
        picture[good, 0] = np.rint(grey)
        picture[good, 1] = 255
        return picture


def compose_colour(red: Tile, green: Tile, blue: Tile) -> NDArray[np.uint8]:
    """Compose three planes into a picture that keeps the colours of bright stars.

    Parameters
    ----------
    red, green, blue
        Planes in units of their noise, sky at zero; NaN where there is no data.

    Returns
    -------
    numpy.ndarray
        Shape (ny, nx, 4): the asinh scaling of Lupton et al. (2004, PASP 116, 133), transparent where a band is missing.
    """
    good = np.isfinite(red) & np.isfinite(green) & np.isfinite(blue)
    r, g, b = red[good], green[good], blue[good]
    total = np.maximum((r + g + b) / np.float32(3), np.float32(1e-6))
    scaled = np.arcsinh(np.float32(_SOFTENING / _BRIGHT_SIGMA) * total) / np.float32(np.arcsinh(_SOFTENING))
    factor = scaled / total
    colours = [np.maximum(plane, np.float32(0)) * factor for plane in (r, g, b)]
    # Where a colour is brighter than the picture can show, all three are scaled down, so that the ratio stays.
    peak = np.maximum(np.maximum(np.maximum(colours[0], colours[1]), colours[2]), np.float32(1))
    picture = np.zeros((*red.shape, 4), np.uint8)
    for channel, colour in enumerate(colours):
        picture[good, channel] = np.rint(np.float32(255) * colour / peak)
    picture[good, 3] = 255
    return picture


def _choose_colour(bands: Sequence[str]) -> tuple[str, str, str] | None:
    """Choose red, green and blue: i, r, g where they exist, otherwise three bands far apart; None without three."""
    if set(_COLOUR) <= set(bands):
        return _COLOUR[0], _COLOUR[1], _COLOUR[2]
    return (bands[-1], bands[len(bands) // 2], bands[0]) if len(bands) >= 3 else None


class _Output:
    """One HiPS while it is written."""

    def __init__(self, folder: Path, name: str, bands: tuple[str, ...], formats: tuple[str, ...]) -> None:
        self.folder = folder / "hips" / name
        self.name, self.bands, self.formats = name, bands, formats
        self.tiles = 0
        self.bytes = 0
        self.range = [np.inf, -np.inf]
        self.allsky: dict[int, Any] = {}
        self.folder.mkdir(parents=True)

    def write(self, order: int, index: int, ending: str, content: bytes) -> None:
        """Write one tile."""
        path = self.folder / tile_path(order, index, ending)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self.tiles += 1
        self.bytes += len(content)


class _Writer:
    """Goes down from the coarsest tiles to the finest and writes on the way back."""

    def __init__(
        self,
        outputs: Sequence[_Output],
        sampler: TileSampler,
        cells: Mapping[int, frozenset[int]],
        stretches: Mapping[str, Stretch],
        unit: str | None,
        tell: Callable[[float], None],
    ) -> None:
        self._outputs, self._sampler, self._cells = outputs, sampler, cells
        self._stretches, self._unit, self._tell = stretches, unit, tell
        self._deepest = max(cells)
        self._done = 0

    def build(self, order: int, index: int) -> Mapping[str, Tile]:
        """Build a tile of every band and those below it."""
        if index not in self._cells[order]:
            return {}
        if order == self._deepest:
            tiles = self._sampler.sample(index)
            self._done += 1
            self._tell(self._done / len(self._cells[order]))
        else:
            children = [self.build(order + 1, 4 * index + k) for k in range(4)]
            joined = {b: join_children([c.get(b) for c in children]) for b in self._sampler.bands}
            tiles = {b: tile for b, tile in joined.items() if tile is not None}
        for output in self._outputs:
            self._write(output, order, index, tiles)
        return tiles

    def _write(self, output: _Output, order: int, index: int, tiles: Mapping[str, Tile]) -> None:
        planes = [tiles.get(band) for band in output.bands]
        present = [p for p in planes if p is not None]
        if len(present) != len(planes):
            return
        picture = self._paint(output.bands, present)
        if not picture[..., -1].any():
            return
        output.write(order, index, "png", _encode_png(picture))
        if "fits" in output.formats:
            tile = present[0]
            header = tile_header(order, index, self._unit)
            output.write(order, index, "fits", _encode_fits(header, _as_fits(tile)))
            output.range[0] = min(output.range[0], float(np.nanmin(tile)))
            output.range[1] = max(output.range[1], float(np.nanmax(tile)))
        if order == ORDER_MIN:
            output.allsky[index] = [_shrink(p) for p in present]

    def _paint(self, bands: tuple[str, ...], planes: Sequence[Tile]) -> NDArray[np.uint8]:
        if len(bands) == 1:
            return self._stretches[bands[0]].paint(planes[0])
        scaled = [
            (p - np.float32(self._stretches[b].sky)) / np.float32(self._stretches[b].sigma)
            for b, p in zip(bands, planes, strict=True)
        ]
        return compose_colour(*scaled)

    def write_allsky(self, output: _Output) -> None:
        """Write the preview of all tiles of order 3 in one picture."""
        rows = -(-12 * 4**ORDER_MIN // _ALLSKY_COLUMNS)
        shape = (rows * _ALLSKY_WIDTH, _ALLSKY_COLUMNS * _ALLSKY_WIDTH)
        planes = [np.full(shape, np.nan, np.float32) for _ in output.bands]
        for index, tiles in output.allsky.items():
            row, column = divmod(index, _ALLSKY_COLUMNS)
            place = np.s_[
                row * _ALLSKY_WIDTH : (row + 1) * _ALLSKY_WIDTH,
                column * _ALLSKY_WIDTH : (column + 1) * _ALLSKY_WIDTH,
            ]
            for plane, tile in zip(planes, tiles, strict=True):
                plane[place] = tile
        folder = output.folder / f"Norder{ORDER_MIN}"
        (folder / "Allsky.png").write_bytes(_encode_png(self._paint(output.bands, planes)))
        if "fits" in output.formats:
            from astropy.io import fits

            (folder / "Allsky.fits").write_bytes(_encode_fits(fits.Header(), planes[0][::-1]))


def _shrink(tile: Tile) -> Tile:
    while tile.shape[0] > _ALLSKY_WIDTH:
        tile = halve(tile)
    return tile


def _cells_of(moc: MOC, deepest: int) -> dict[int, frozenset[int]]:
    """List the tiles that a coverage reaches, at every order."""
    cells = {int(c) for c in moc.degrade_to_order(deepest).flatten()}
    found = {deepest: frozenset(cells)}
    for order in range(deepest - 1, ORDER_MIN - 1, -1):
        cells = {c >> 2 for c in cells}
        found[order] = frozenset(cells)
    return found


def write_hips(
    folder: Path,
    release: str,
    title: str,
    coadds: Sequence[Pyramid],
    mocs: Mapping[str, MOC],
    progress: Callable[[float], None] = lambda _fraction: None,
) -> tuple[HipsEntry, ...]:
    """Write a HiPS for each band of the coadds and one in colour where three bands overlap.

    Parameters
    ----------
    folder
        The release being built; the files go to ``hips/`` in it.
    release, title
        Its name, and its title for people.
    coadds
        Pyramids of the coadds of all bands.
    mocs
        Coverage of each band, as `skydesk_core.release.moc.write_mocs` returns it.
    progress
        Called with the fraction that is done.

    Returns
    -------
    tuple of HipsEntry
        Entries for the manifest; none without coadds.

    Notes
    -----
    The finest tiles interpolate the coadds linearly and keep their unit, the flux per coadd pixel; every coarser
    pixel is the mean of the four below it that have data.
    """
    chosen = [p for p in coadds if p.band in mocs and not mocs[str(p.band)].empty()]
    if not chosen:
        return ()
    scale = min(float(p.wcs_fit["pixel_scale_arcsec"]) for p in chosen if p.wcs_fit is not None)
    order = choose_order(scale)
    sampler = TileSampler(chosen, order)
    bands = tuple(sorted(sampler.bands, key=lambda b: ("ugrizy".find(b) % 99, b)))
    outputs = [_Output(folder, f"deep_coadd/{band_folder(b)}", (b,), ("fits", "png")) for b in bands]
    coverage: dict[tuple[str, ...], MOC] = {(b,): mocs[b] for b in bands}
    colour = _choose_colour(bands)
    if colour is not None:
        common = mocs[colour[0]].intersection(mocs[colour[1]], mocs[colour[2]])
        if not common.empty():
            name = f"deep_coadd/color_{''.join(band_folder(b)[5:] for b in reversed(colour))}"
            outputs.append(_Output(folder, name, colour, ("png",)))
            coverage[colour] = common
    stretches = {b: Stretch.of([p for p in chosen if p.band == b]) for b in bands}
    units = {p.unit for p in chosen}
    unit = units.pop() if len(units) == 1 else None
    whole = [mocs[b] for b in bands]
    cells = _cells_of(whole[0].union(*whole[1:]) if len(whole) > 1 else whole[0], order)
    writer = _Writer(outputs, sampler, cells, stretches, unit, progress)
    for index in sorted(cells[ORDER_MIN]):
        writer.build(ORDER_MIN, index)
    entries = []
    for output in outputs:
        if output.tiles:
            writer.write_allsky(output)
            entries.append(
                _finish(output, release, title, order, coverage[output.bands], stretches, unit, scale)
            )
    return tuple(entries)


def _finish(
    output: _Output,
    release: str,
    title: str,
    order: int,
    moc: MOC,
    stretches: Mapping[str, Stretch],
    unit: str | None,
    pixel_arcsec: float,
) -> HipsEntry:
    """Write what describes a HiPS."""
    what = f"band {output.bands[0]}" if len(output.bands) == 1 else f"colour ({', '.join(output.bands)})"
    facts = HipsFacts(
        release=release,
        name=output.name,
        title=f"{title}: deep coadd, {what}",
        bands=output.bands,
        order=order,
        order_min=ORDER_MIN,
        tile_width=TILE_WIDTH,
        formats=output.formats,
        cut=stretches[output.bands[0]].cut if len(output.bands) == 1 else None,
        value_range=(output.range[0], output.range[1]) if "fits" in output.formats else None,
        unit=unit,
        pixel_deg=_ORDER0_DEG / (TILE_WIDTH << order),
        image_pixel_deg=pixel_arcsec / 3600,
        size_kb=max(1, output.bytes // 1024),
        tiles=output.tiles,
    )
    moc.save(str(output.folder / "Moc.fits"), format="fits")
    text = format_properties(facts, moc)
    (output.folder / "properties").write_text(text, encoding="utf-8")
    (output.folder / "index.html").write_text(format_index(facts), encoding="utf-8")
    return HipsEntry(output.name, facts.title, output.bands, order, output.formats, output.tiles)
