"""The part of the query form that says where on the sky: circle, box, polygon, coverage map or list of positions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import panel as pn

from skydesk_portal.exceptions import UsageError
from skydesk_portal.models.coverage_maps import (
    area_deg2,
    list_orders,
    read_coverage,
    write_cells,
    write_text,
)
from skydesk_portal.models.position_lists import write_table
from skydesk_portal.ui.adql_form import (
    COVERAGE_NAME,
    POSITIONS_NAME,
    CellTable,
    Cone,
    PositionTable,
    QueryForm,
    Shape,
    SkyBox,
    SkyCoverage,
    SkyPolygon,
)
from skydesk_portal.ui.positions import parse_position

if TYPE_CHECKING:
    from mocpy import MOC

    from skydesk_portal.models.identity import Identity
    from skydesk_portal.ui.services import PortalServices

__all__ = ["RegionInputs"]

_CIRCLE, _BOX, _POLYGON, _COVERAGE, _LIST = (
    "a circle",
    "a box",
    "a polygon",
    "a coverage map (MOC)",
    "circles around a list of positions",
)
_LONGEST_TEXT = 4000
"""Longest text of a coverage map that is written into the query; a longer one comes with it as a table."""

_NO_MAP = "(none)"
_ABOUT_COVERAGE = (
    "Rows whose position lies in a cell of the map. FITS, JSON or text; of a gravitational-wave sky map the region that "
    "holds 90 % of the probability."
)
_ABOUT_LIST = (
    "One position a line in any notation, an object's identifier or a name; behind <code>|</code> a radius of its own in "
    "arcsec. Or a file: such lines, or a table with <code>ra</code>, <code>dec</code> and <code>radius_arcsec</code>. "
    "Each row of the answer names its entry of the list."
)


class RegionInputs:
    """The widgets of the search region.

    Parameters
    ----------
    services
        What the page works with.
    identity
        Who asks.
    release_of
        Returns the name of the release that is searched.
    """

    def __init__(self, services: PortalServices, identity: Identity, release_of: Callable[[], str]) -> None:
        self._services, self._identity, self._release_of = services, identity, release_of
        self.uploads: dict[str, bytes] = {}
        self._source: Any = None
        stretch: dict[str, Any] = {"sizing_mode": "stretch_width"}
        self.shape = pn.widgets.Select(
            name="Search in", options=[_CIRCLE, _BOX, _POLYGON, _COVERAGE, _LIST], **stretch
        )
        self.position = pn.widgets.TextInput(name="Around (RA Dec)", placeholder="53.13 -28.10", **stretch)
        self.radius = pn.widgets.FloatInput(
            name="Radius (arcsec)", value=60.0, start=0.01, step=10, **stretch
        )
        self.height = pn.widgets.FloatInput(
            name="Height (arcsec)", value=60.0, start=0.01, step=10, **stretch
        )
        self.corners = pn.widgets.TextAreaInput(
            name="Corners, one position a line", placeholder="53.1 -28.1", rows=4, **stretch
        )
        self.map = pn.widgets.Select(name="Coverage map of the release", options=[_NO_MAP], **stretch)
        self.cells = pn.widgets.TextAreaInput(
            name="… or its cells as text", placeholder="6/1-5 7/32", rows=2, max_length=2_000_000, **stretch
        )
        self.map_file = pn.widgets.FileInput(
            name="… or a file with a map", accept=".fits,.json,.txt", **stretch
        )
        self.about_map = pn.pane.HTML(f"<p class='soft'>{_ABOUT_COVERAGE}</p>", **stretch)
        self.positions = pn.widgets.TextAreaInput(
            name="Positions", placeholder="53.13 -28.10\n3:32:31 -28:06:00 | 5", rows=5, max_length=5_000_000, **stretch
        )  # fmt: skip
        self.positions_file = pn.widgets.FileInput(
            name="… or a file with them", accept=".txt,.csv,.vot,.xml,.fits,.parquet", **stretch
        )
        self.about_list = pn.pane.HTML(f"<p class='soft'>{_ABOUT_LIST}</p>", **stretch)
        self._parts: dict[str, tuple[Any, ...]] = {
            _CIRCLE: (self.position, self.radius),
            _BOX: (self.position, self.radius, self.height),
            _POLYGON: (self.corners,),
            _COVERAGE: (self.about_map, self.map, self.cells, self.map_file),
            _LIST: (self.about_list, self.positions, self.positions_file, self.radius),
        }
        self.view = pn.Column(margin=0, **stretch)
        self.shape.param.watch(lambda _e: self._lay_out(), "value")
        self.map.param.watch(lambda event: self._keep_one(self.map, event.new != _NO_MAP), "value")
        self.cells.param.watch(lambda event: self._keep_one(self.cells, bool(event.new.strip())), "value")
        self.map_file.param.watch(lambda event: self._keep_one(self.map_file, bool(event.new)), "value")
        self._lay_out()

    def _lay_out(self) -> None:
        self.radius.name = "Width (arcsec)" if self.shape.value == _BOX else "Radius (arcsec)"
        self.view.objects = [self.shape, *self._parts[self.shape.value]]

    def _keep_one(self, chosen: Any, is_set: bool) -> None:
        """Of the three ways to give a map keep the one used last."""
        if not is_set:
            return
        # A browser takes a while to give up a file, so that its emptiness cannot tell.
        self._source = chosen
        if chosen is not self.map:
            self.map.value = _NO_MAP
        if chosen is not self.cells:
            self.cells.value = ""
        if chosen is not self.map_file and self.map_file.value:
            self.map_file.clear()

    def offer_maps(self) -> None:
        """Offer the coverage maps of the release that is searched."""
        release = self._services.releases.find(self._identity, self._release_of())
        found = release.manifest.mocs if release is not None else ()
        names = {f"band {entry.band}" if entry.band else "whole survey": entry.file for entry in found}
        self.map.param.update(options={_NO_MAP: _NO_MAP, **names}, value=_NO_MAP)

    def read(self) -> tuple[Cone | None, Shape | None]:
        """Return the region that the widgets hold; what has to come with the query is kept in ``uploads``.

        Raises
        ------
        UsageError
            If something cannot be read.
        """
        kind = self.shape.value
        if kind == _POLYGON:
            lines = [line for line in self.corners.value.splitlines() if line.strip()]
            return None, SkyPolygon(tuple(parse_position(line) for line in lines)) if lines else None
        if kind == _COVERAGE:
            return None, self._read_coverage()
        if kind == _LIST:
            return None, self._read_list()
        if not self.position.value.strip():
            return None, None
        ra_deg, dec_deg = parse_position(self.position.value)
        size = float(self.radius.value or 0)
        if kind == _BOX:
            return None, SkyBox(ra_deg, dec_deg, size, float(self.height.value or 0))
        return Cone(ra_deg, dec_deg, size), None

    def find_position(self) -> tuple[float, float] | None:
        """Return around what is searched (ICRS degrees); None where that is no single place."""
        cone, shape = self.read()
        if isinstance(shape, SkyPolygon) and shape.corners_deg:
            return shape.corners_deg[0]
        place = cone or shape
        return (place.ra_deg, place.dec_deg) if isinstance(place, Cone | SkyBox) else None

    def _find_map(self) -> MOC | None:
        if self._source is self.map_file and self.map_file.value:
            return read_coverage(self.map_file.value)
        if self._source is self.cells and self.cells.value.strip():
            return read_coverage(self.cells.value.encode())
        if self._source is not self.map or self.map.value == _NO_MAP:
            return None
        release = self._services.releases.find(self._identity, self._release_of())
        if release is None:
            raise UsageError(f"there is no release {self._release_of()}")
        return read_coverage((release.path / self.map.value).read_bytes())

    def _read_coverage(self) -> SkyCoverage | CellTable | None:
        found = self._find_map()
        if found is None:
            if COVERAGE_NAME in self.uploads:
                raise UsageError(
                    "the coverage map that came with the query is not in the form: give it again"
                )
            raise UsageError("choose a coverage map of the release, write its cells, or give a file")
        self.about_map.object = f"<p class='soft'>The map covers {area_deg2(found):,.6g} square degrees.</p>"
        text = write_text(found)
        if len(text) <= _LONGEST_TEXT:
            self.uploads.pop(COVERAGE_NAME, None)
            return SkyCoverage(text)
        self.uploads[COVERAGE_NAME] = write_cells(found)
        return CellTable(list_orders(found))

    def _read_list(self) -> PositionTable:
        content = self.positions_file.value or self.positions.value.encode()
        found = self._services.lists.read(
            self._identity, content, float(self.radius.value or 0), self._release_of()
        )
        self.uploads[POSITIONS_NAME] = write_table(found)
        self.about_list.object = (
            f"<p class='soft'>{len(found):,} position{'s' if len(found) > 1 else ''} of the list, the first at "
            f"{found[0].ra_deg:.5f} {found[0].dec_deg:+.5f}. {_ABOUT_LIST}</p>"
        )
        return PositionTable()

    def show(self, form: QueryForm) -> None:
        """Show the region of a form that was read from ADQL."""
        shape = form.shape
        kinds: dict[type, str] = {
            SkyBox: _BOX, SkyPolygon: _POLYGON, SkyCoverage: _COVERAGE, CellTable: _COVERAGE, PositionTable: _LIST,
        }  # fmt: skip
        self.shape.value = kinds.get(type(shape), _CIRCLE)
        place = form.cone or shape
        self.position.value = f"{place.ra_deg} {place.dec_deg}" if isinstance(place, Cone | SkyBox) else ""
        if form.cone:
            self.radius.value = form.cone.radius_arcsec
        if isinstance(shape, SkyBox):
            self.radius.value, self.height.value = shape.width_arcsec, shape.height_arcsec
        if isinstance(shape, SkyPolygon):
            self.corners.value = "\n".join(f"{ra} {dec}" for ra, dec in shape.corners_deg)
        if isinstance(shape, SkyCoverage):
            self.cells.value = shape.text
