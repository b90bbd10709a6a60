"""Writing the geometrical functions of a query."""

from __future__ import annotations

from abc import abstractmethod

from sqlglot import exp

from skydesk_portal.adql import geometry as geo
from skydesk_portal.adql.functions import GEOMETRY
from skydesk_portal.adql.scope import Scope
from skydesk_portal.adql.written import Written, name_kind
from skydesk_portal.exceptions import QueryError
from skydesk_portal.models.regions import parse_region
from skydesk_portal.models.tables import ColumnInfo

__all__ = ["GeometryWriter", "find_geometry_call"]


class GeometryWriter:
    """The geometrical part of an expression writer."""

    scope: Scope
    joins = False
    """Whether the distance being written may become a join by cells."""

    @abstractmethod
    def write(self, node: exp.Expression) -> Written:
        """Write one expression."""

    @abstractmethod
    def _number(self, node: exp.Expression) -> Written:
        """Write an expression that must be a number."""

    @abstractmethod
    def _error(self, node: exp.Expression | None, message: str) -> QueryError:
        """Make an error that points at a node."""

    def _geometry(self, node: exp.Anonymous, name: str) -> Written:
        # What stands inside the arguments of a condition is no condition itself.
        joins, self.joins = self.joins, False
        written = self._geometry_value(node, name)
        self.joins = joins
        return written

    def _geometry_value(self, node: exp.Anonymous, name: str) -> Written:
        if name in {"CONTAINS", "INTERSECTS"}:
            exact, _ = self._inside(node)
            return Written(f"CAST({exact} AS INTEGER)", "num", ColumnInfo(name.lower(), "int"))
        if name == "DISTANCE":
            a, b = self._two_points(node)
            return Written(
                geo.distance_sql(a, b),
                "num",
                ColumnInfo("distance", "double", unit="deg", ucd="pos.angDistance"),
            )
        if name == "COORDSYS":
            self._shape(node.expressions[0] if node.expressions else node)
            return Written("'ICRS'", "str", ColumnInfo("coordsys", "char", "*"))
        if name in {"COORD1", "COORD2"}:
            shape = self._shape(node.expressions[0]) if len(node.expressions) == 1 else None
            if not isinstance(shape, geo.Point):
                raise self._error(node, f"{name} takes a POINT")
            value = shape.ra if name == "COORD1" else shape.dec
            return Written(value.sql, "num", ColumnInfo(name.lower(), "double", unit="deg"), value.number)
        if name == "AREA":
            if len(node.expressions) != 1:
                raise self._error(node, "AREA takes one region")
            return Written(
                geo.area_of(self._shape(node.expressions[0])),
                "num",
                ColumnInfo("area", "double", unit="deg2"),
            )
        shape = self._construct(node, name)
        return Written(_shape_sql(shape), "shape", _shape_info(name, shape), shape=shape)

    def _construct(self, node: exp.Anonymous, name: str) -> geo.Shape:
        if name == "CENTROID":
            return (
                geo.centroid_of(self._shape(node.expressions[0]))
                if len(node.expressions) == 1
                else self._wrong(node, name)
            )
        given = list(node.expressions)
        if given and isinstance(given[0], exp.Literal) and given[0].is_string:
            if name == "REGION":
                return self._region_text(node, str(given[0].this))
            # ADQL 2.0's coordinate system; everything here is ICRS.
            system = str(given[0].this).strip().upper().split(" ")[0]
            if system not in {"", "ICRS", "FK5", "J2000", "UNKNOWNFRAME"}:
                raise self._error(node, f"coordinate system {system[:30]!r} is not served: use ICRS")
            given = given[1:]
        args = [self.write(arg) for arg in given]
        flat: list[Written] = []
        points = {id(arg): arg.shape for arg in args if isinstance(arg.shape, geo.Point)}
        for arg in args:
            point = points.get(id(arg))
            if point is not None:
                flat += [Written(v.sql, "num", number=v.number) for v in (point.ra, point.dec)]
            elif arg.kind not in {"num", "any"}:
                raise self._error(node, f"{name} takes numbers, not {name_kind(arg)}")
            else:
                flat.append(arg)
        sizes = {"POINT": 2, "CIRCLE": 3, "BOX": 4}
        if len(flat) != sizes.get(name, len(flat)) or (
            name == "POLYGON" and (len(flat) < 6 or len(flat) % 2)
        ):
            return self._wrong(node, name)
        if name == "POLYGON":
            return self._polygon(node, flat)
        center = self._point(node, flat[0], flat[1], next(iter(points.values()), None))
        if name == "POINT":
            return center
        if name == "BOX":
            return self._box(node, center, flat)
        radius = flat[2].value()
        if radius.number is not None and not 0 <= radius.number <= 180:
            raise self._error(node, f"the radius {radius.number:g} is not between 0 and 180 degrees")
        return geo.Circle(center, radius)

    def _wrong(self, node: exp.Anonymous, name: str) -> geo.Shape:
        wanted = {
            "POINT": "ra, dec",
            "CIRCLE": "ra, dec, radius or a POINT and a radius",
            "BOX": "ra, dec, width, height",
            "POLYGON": "at least three corners ra, dec",
            "CENTROID": "one region",
            "REGION": "a string",
        }
        raise self._error(node, f"{name} takes {wanted.get(name, 'other arguments')} (degrees)")

    def _point(self, node: exp.Anonymous, ra: Written, dec: Written, known: geo.Point | None) -> geo.Point:
        if ra.number is not None and dec.number is not None:
            try:
                geo.check_position(ra.number, dec.number)
            except QueryError as error:
                raise self._error(node, str(error)) from error
        key = known.index_key if known is not None else self._index_key(ra, dec)
        return geo.Point(ra.value(), dec.value(), key)

    def _index_key(self, ra: Written, dec: Written) -> str | None:
        for source in self.scope.sources:
            table = source.table
            if table is None or not table.has_index or not table.ra_column or not table.dec_column:
                continue
            if (ra.origin, dec.origin) == (
                f"{table.full_name}.{table.ra_column}",
                f"{table.full_name}.{table.dec_column}",
            ) and ra.sql.startswith(source.key + "."):
                return f"{source.key}.hp29"
        return None

    def _polygon(self, node: exp.Anonymous, flat: list[Written]) -> geo.Shape:
        numbers = [arg.number for arg in flat]
        if any(number is None for number in numbers):
            raise self._error(node, "the corners of a POLYGON must be numbers")
        values = [float(n) for n in numbers if n is not None]
        try:
            return geo.make_polygon(list(zip(values[::2], values[1::2], strict=True)))
        except QueryError as error:
            raise self._error(node, str(error)) from error

    def _box(self, node: exp.Anonymous, center: geo.Point, flat: list[Written]) -> geo.Shape:
        ra, dec, width, height = (arg.number for arg in flat)
        if ra is None or dec is None or width is None or height is None:
            return geo.Box(center)
        low, high = dec - height / 2, dec + height / 2
        if width <= 0 or height <= 0 or width >= 180 or low < -90 or high > 90:
            raise self._error(
                node, "a BOX must have a positive size, be narrower than 180 degrees and keep off the poles"
            )
        # ADQL 2.1: the corners lie at the centre plus and minus half the extents, without a cosine.
        corners = [
            (ra - width / 2, low),
            (ra + width / 2, low),
            (ra + width / 2, high),
            (ra - width / 2, high),
        ]
        try:
            return geo.make_polygon(corners)
        except QueryError as error:
            raise self._error(node, str(error)) from error

    def _region_text(self, node: exp.Anonymous, text: str) -> geo.Shape:
        try:
            region = parse_region(text)
        except QueryError as error:
            raise self._error(node, str(error)) from error
        if region.radius_deg is not None:
            ra, dec = region.corners[0]
            center = geo.Point(geo.Value(repr(ra), ra), geo.Value(repr(dec), dec))
            return geo.Circle(center, geo.Value(repr(region.radius_deg), region.radius_deg))
        return geo.make_polygon(list(region.corners))

    def _shape(self, node: exp.Expression) -> geo.Shape:
        written = self.write(node)
        if written.shape is not None:
            return written.shape
        if written.kind == "region":
            return geo.RegionColumn(written.sql)
        raise self._error(node, f"a region is needed here, not {name_kind(written)}")

    def _two_points(self, node: exp.Anonymous) -> tuple[geo.Point, geo.Point]:
        if len(node.expressions) == 4:
            v = [self._number(arg) for arg in node.expressions]
            return self._point(node, v[0], v[1], None), self._point(node, v[2], v[3], None)
        shapes = [self._shape(arg) for arg in node.expressions]
        if len(shapes) == 2 and isinstance(shapes[0], geo.Point) and isinstance(shapes[1], geo.Point):
            return shapes[0], shapes[1]
        raise self._error(node, "DISTANCE takes two POINTs or four numbers (degrees)")

    def _prefilter(self, point: geo.Point, region: geo.Shape) -> str:
        if self.joins and isinstance(region, geo.Circle):
            joined = self.scope.cells.join(self.scope.sources, point, region)
            if joined:
                return joined
        if point.index_key is None:
            return ""
        ranges = geo.index_ranges(region)
        return "" if ranges is None else geo.index_predicate(point.index_key, ranges)

    def _inside(self, node: exp.Anonymous) -> tuple[str, str]:
        name = str(node.this).upper()
        if len(node.expressions) != 2:
            raise self._error(node, f"{name} takes two regions")
        inner, outer = (self._shape(arg) for arg in node.expressions)
        if name == "INTERSECTS" and isinstance(outer, geo.Point):
            inner, outer = outer, inner
        try:
            if isinstance(inner, geo.Point):
                return geo.exact_predicate(inner, outer), self._prefilter(inner, outer)
            return geo.relation_sql(name, inner, outer), ""
        except QueryError as error:
            raise self._error(node, str(error)) from error


def find_geometry_call(node: exp.Expression) -> exp.Anonymous | None:
    """Return the geometrical function that an expression is, `None` if it is something else."""
    while isinstance(node, exp.Paren):
        node = node.this
    return node if isinstance(node, exp.Anonymous) and str(node.this).upper() in GEOMETRY else None


def _shape_sql(shape: geo.Shape) -> str:
    match shape:
        case geo.Point(ra, dec):
            return f"[CAST({ra.sql} AS DOUBLE), CAST({dec.sql} AS DOUBLE)]"
        case geo.Circle(center, radius):
            return f"[CAST({center.ra.sql} AS DOUBLE), CAST({center.dec.sql} AS DOUBLE), CAST({radius.sql} AS DOUBLE)]"
        case geo.Polygon(corners):
            return "[" + ", ".join(f"CAST({v!r} AS DOUBLE)" for corner in corners for v in corner) + "]"
        case _:
            return "NULL"


def _shape_info(name: str, shape: geo.Shape) -> ColumnInfo:
    sizes = {geo.Point: ("2", "point"), geo.Circle: ("3", "circle"), geo.Polygon: ("*", "polygon")}
    size, xtype = sizes.get(type(shape), ("*", ""))
    return ColumnInfo(name.lower(), "double", size, xtype=xtype, unit="deg")
