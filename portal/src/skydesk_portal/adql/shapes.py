"""Writing the geometrical functions of a query."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

from sqlglot import exp

from skydesk_portal.adql import dialect
from skydesk_portal.adql import geometry as geo
from skydesk_portal.adql.coverage import parse_coverage
from skydesk_portal.adql.functions import GEOMETRY, REWRITTEN
from skydesk_portal.adql.scope import Scope
from skydesk_portal.adql.written import Written, name_kind
from skydesk_portal.exceptions import QueryError
from skydesk_portal.models.regions import box_corners, parse_region
from skydesk_portal.models.tables import ColumnInfo

__all__ = ["GeometryWriter", "expanded", "find_geometry_call"]


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
        try:
            return self._geometry_result(node, name)
        except QueryError as error:
            raise self._placed(node, error) from error

    def _placed(self, node: exp.Expression, error: QueryError) -> QueryError:
        return error if error.line is not None else self._error(node, str(error))

    def _geometry_result(self, node: exp.Anonymous, name: str) -> Written:
        if name in {"CONTAINS", "INTERSECTS"}:
            inside = self._inside(node)
            return Written(geo.chosen(inside.point, inside.exact), "num", ColumnInfo(name.lower(), "int"))
        if name == "DISTANCE":
            a, b = self._two_points(node)
            info = ColumnInfo("distance", "double", unit="deg", ucd="pos.angDistance")
            return Written(geo.distance_sql(a, b), "num", info)
        if name in {"COORDSYS", "COORD1", "COORD2", "AREA"}:
            return self._measure(node, name)
        shape = self._construct(node, name)
        return Written(_shape_sql(shape), "shape", _shape_info(name, shape), shape=shape)

    def _measure(self, node: exp.Anonymous, name: str) -> Written:
        if len(node.expressions) != 1:
            raise self._error(node, f"{name} takes one {'POINT' if name[:-1] == 'COORD' else 'region'}")
        shape = self._shape(node.expressions[0])
        if name == "COORDSYS":
            return Written("'ICRS'", "str", ColumnInfo("coordsys", "char", "*"))
        if name == "AREA":
            return Written(geo.area_of(shape), "num", ColumnInfo("area", "double", unit="deg2"))
        if not isinstance(shape, geo.Point):
            raise self._error(node, f"{name} takes a POINT")
        value, ucd = (shape.ra, "pos.eq.ra") if name == "COORD1" else (shape.dec, "pos.eq.dec")
        info = ColumnInfo(name.lower(), "double", unit="deg", ucd=ucd)
        sql = value.sql if value.number is None else dialect.double(value.number)
        return Written(sql, "num", info, value.number)

    def _construct(self, node: exp.Anonymous, name: str) -> geo.Shape:
        if name == "CENTROID":
            if len(node.expressions) != 1:
                return self._wrong(node, name)
            return geo.centroid_of(self._shape(node.expressions[0]))
        given = list(node.expressions)
        if name == "REGION":
            return self._region_text(node)
        if name == "MOC":
            return self._coverage(node)
        if given and isinstance(given[0], exp.Literal) and given[0].is_string:
            self._check_system(given[0])
            given = given[1:]
        flat, points = self._coordinates(node, name, given)
        if name == "POLYGON":
            return (
                self._polygon(node, flat) if len(flat) >= 6 and not len(flat) % 2 else self._wrong(node, name)
            )
        if len(flat) != _SIZES[name]:
            return self._wrong(node, name)
        values = [written.value() for written in flat]
        if name == "IVO_HEALPIX_CENTER":
            cell = f"CAST({flat[0].sql} AS INTEGER), CAST({flat[1].sql} AS BIGINT)"
            return geo.Point(
                geo.Value(f"skydesk_healpix_ra({cell})"), geo.Value(f"skydesk_healpix_dec({cell})")
            )
        if name == "IVO_EPOCH_PROP_POS":
            parts = ", ".join(written.sql for written in flat)
            return geo.Point(
                geo.Value(f"skydesk_moved_ra({parts})"), geo.Value(f"skydesk_moved_dec({parts})")
            )
        if name == "SKYDESK_ZONE":
            return geo.Zone(*values)
        center = self._point(node, flat[0], flat[1], points[0] if points else None)
        match name:
            case "POINT":
                return center
            case "BOX":
                return self._box(center, values)
            case "SKYDESK_ELLIPSE":
                return geo.Ellipse(center, values[2], values[3], values[4])
        radius = values[2]
        if radius.number is not None and not 0 <= radius.number <= 180:
            raise self._error(node, f"the radius {radius.number:g} is not between 0 and 180 degrees")
        return geo.Circle(center, radius)

    def _check_system(self, node: exp.Literal) -> None:
        # ADQL 2.0's coordinate system; everything here is ICRS.
        system = str(node.this).strip().upper().split(" ")[0]
        if system not in {"", "ICRS", "FK5", "J2000", "UNKNOWNFRAME"}:
            raise self._error(node, f"coordinate system {system[:30]!r} is not served: use ICRS")

    def _coordinates(
        self, node: exp.Anonymous, name: str, given: list[exp.Expression]
    ) -> tuple[list[Written], list[geo.Point]]:
        flat: list[Written] = []
        points: list[geo.Point] = []
        for part in given:
            arg = self.write(part)
            shape = arg.shape if arg.shape is not None else self._stored_shape(arg)
            if isinstance(shape, geo.Point):
                points.append(shape)
                flat += [Written(v.sql, "num", number=v.number) for v in (shape.ra, shape.dec)]
            elif arg.kind == "null":
                flat.append(Written(dialect.NULL_NUMBER, "num"))
            elif arg.kind != "num":
                raise self._error(node, f"{name} takes numbers, not {name_kind(arg)}")
            else:
                flat.append(arg)
        return flat, points

    def _wrong(self, node: exp.Anonymous, name: str) -> geo.Shape:
        wanted = {
            "POINT": "ra, dec",
            "CIRCLE": "ra, dec, radius or a POINT and a radius",
            "BOX": "ra, dec, width, height",
            "POLYGON": "at least three corners ra, dec",
            "CENTROID": "one region",
            "REGION": "a string such as 'CIRCLE ICRS 10 -5 0.5'",
            "MOC": "a string of cells such as '6/1-5 7/32'",
            "IVO_HEALPIX_CENTER": "an order and an index",
            "IVO_EPOCH_PROP_POS": "ra, dec, pmra, pmdec, refEpoch, outEpoch",
        }
        raise self._error(node, f"{name} takes {wanted.get(name, 'other arguments')}")

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
        values = [arg.value() for arg in flat]
        numbers = [value.number for value in values if value.number is not None]
        if len(numbers) < len(values):
            return geo.RegionColumn(geo.text_of("POLYGON", values))
        return geo.make_polygon(list(zip(numbers[::2], numbers[1::2], strict=True)))

    def _box(self, center: geo.Point, values: list[geo.Value]) -> geo.Shape:
        numbers = [value.number for value in values if value.number is not None]
        if len(numbers) < len(values):
            return geo.RegionColumn(geo.text_of("BOX", values), center)
        return geo.make_polygon(list(box_corners(*numbers)))

    def _region_text(self, node: exp.Anonymous) -> geo.Shape:
        if len(node.expressions) != 1:
            return self._wrong(node, "REGION")
        (given,) = node.expressions
        if not (isinstance(given, exp.Literal) and given.is_string):
            written = self.write(given)
            if written.kind not in {"str", "region", "null"}:
                return self._wrong(node, "REGION")
            return geo.RegionColumn(dialect.text(written.sql))
        return self._parsed(str(given.this))

    def _coverage(self, node: exp.Anonymous) -> geo.Shape:
        given = node.expressions[0] if len(node.expressions) == 1 else None
        if not (isinstance(given, exp.Literal) and given.is_string):
            return self._wrong(node, "MOC")
        return parse_coverage(str(given.this))

    def _parsed(self, text: str) -> geo.Shape:
        region = parse_region(text)
        if region.radius_deg is None:
            return geo.make_polygon(list(region.corners))
        ra, dec = region.corners[0]
        center = geo.Point(geo.Value(repr(ra), ra), geo.Value(repr(dec), dec))
        if text.split()[0].upper() == "POSITION":
            return center
        return geo.Circle(center, geo.Value(repr(region.radius_deg), region.radius_deg))

    def _shape(self, node: exp.Expression) -> geo.Shape:
        written = self.write(node)
        shape = written.shape if written.shape is not None else self._stored_shape(written)
        if shape is not None:
            return shape
        if written.kind in {"region", "null"}:
            return geo.RegionColumn(dialect.text(written.sql) if written.kind == "null" else written.sql)
        raise self._error(node, f"a region is needed here, not {name_kind(written)}")

    def _stored_shape(self, written: Written) -> geo.Shape | None:
        """Return what a column of numbers means whose xtype makes it a position or a region."""
        if written.info.datatype not in {"float", "double"} or not written.info.arraysize:
            return None
        values = [geo.Value(dialect.element(written.sql, i)) for i in (1, 2, 3)]
        match written.info.xtype.rpartition(":")[2].lower():
            case "point":
                return geo.Point(values[0], values[1])
            case "circle":
                return geo.Circle(geo.Point(values[0], values[1]), values[2])
            case "polygon":
                return geo.RegionColumn(f"('POLYGON ' || {dialect.joined(written.sql)})")
        return None

    def _cast_shape(self, node: exp.Cast, inner: Written, target: str) -> Written:
        """Write CAST to POINT, CIRCLE or POLYGON, from the numbers that DALI writes for them."""
        shape = inner.shape if inner.shape is not None else self._stored_shape(inner)
        if isinstance(node.this, exp.Literal) and node.this.is_string:
            text = str(node.this.this)
            try:
                shape = self._parsed(f"{'POSITION' if target == 'POINT' else target} {text}")
            except QueryError as error:
                raise self._error(node.this, f"CAST to {target}: {error}") from error
        elif inner.kind in {"str", "region", "null"}:
            if target == "POINT":
                raise self._error(node.this, "CAST to POINT takes a string in quotes: write POINT(ra, dec)")
            shape = geo.RegionColumn(f"('{target} ' || {dialect.text(inner.sql)})")
        wanted = {geo.Point: "POINT", geo.Circle: "CIRCLE", geo.Polygon: "POLYGON", geo.RegionColumn: target}
        if shape is None or wanted.get(type(shape)) != target:
            raise self._error(node.this, f"CAST to {target}: this is {name_kind(inner)}")
        return Written(_shape_sql(shape), "shape", _shape_info(target, shape), shape=shape)

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

    def _circles(self, name: str, inner: geo.Circle, outer: geo.Circle) -> _Inside:
        """Write the relation of two circles as one of their centres, which the index knows."""
        reach = geo.combined(outer.radius, inner.radius, "+" if name == "INTERSECTS" else "-")
        one, two = inner.center, outer.center
        exact = geo.within_sql(one, two, reach)
        if name == "CONTAINS":
            exact = geo.or_everywhere(exact, one, two, outer.radius)
        if geo.is_constant(one):
            one, two = two, one
        large = outer.radius.number is None or outer.radius.number >= 180
        prefilter = "" if large or reach.number is None else self._prefilter(one, geo.Circle(two, reach))
        return _Inside(exact, prefilter, one)

    def _sure(self, point: geo.Point, region: geo.Shape) -> str:
        """Write what holds only for positions that are sure to lie in a region, by their index; empty if nothing."""
        ranges = geo.inner_ranges(region) if point.index_key is not None else []
        return " OR ".join(f"{point.index_key} BETWEEN {low} AND {high}" for low, high in ranges)

    def _inside(self, node: exp.Anonymous) -> _Inside:
        name = str(node.this).upper()
        if len(node.expressions) != 2:
            raise self._error(node, f"{name} takes two regions")
        inner, outer = (self._shape(arg) for arg in node.expressions)
        if name == "INTERSECTS" and isinstance(outer, geo.Point):
            inner, outer = outer, inner
        try:
            if isinstance(inner, geo.Point):
                exact, prefilter = geo.exact_predicate(inner, outer), self._prefilter(inner, outer)
                return _Inside(exact, prefilter, inner, self._sure(inner, outer) if prefilter else "")
            if isinstance(inner, geo.Circle) and isinstance(outer, geo.Circle):
                return self._circles(name, inner, outer)
            return _Inside(geo.relation_sql(name, inner, outer))
        except QueryError as error:
            raise self._placed(node, error) from error


@dataclass(frozen=True)
class _Inside:
    """SQL of a relation between regions, and of what narrows it down by an index."""

    exact: str
    prefilter: str = ""
    point: geo.Point | None = None
    sure: str = ""

    @property
    def holds(self) -> str:
        exact = dialect.unless(self.sure, self.exact)
        return f"({self.prefilter} AND {exact})" if self.prefilter else exact

    @property
    def fails(self) -> str:
        return f"(NOT {self.exact})" if self.point is None else geo.negated(self.point, self.exact)


_SIZES = {
    "POINT": 2, "CIRCLE": 3, "BOX": 4, "IVO_HEALPIX_CENTER": 2, "IVO_EPOCH_PROP_POS": 6, "SKYDESK_ZONE": 4,
    "SKYDESK_ELLIPSE": 5,
}  # fmt: skip


def find_geometry_call(node: exp.Expression) -> exp.Anonymous | None:
    """Return the geometrical function that an expression is, `None` if it is something else."""
    while isinstance(node, exp.Paren):
        node = node.this
    if not isinstance(node, exp.Anonymous):
        return None
    node = expanded(node) or node
    return node if str(node.this).upper() in GEOMETRY else None


def expanded(node: exp.Anonymous) -> exp.Anonymous | None:
    """Return the CONTAINS that a function such as ``scisql_s2PtInCircle`` means, `None` if it is no such function."""
    found = REWRITTEN.get(str(node.this).upper())
    given = list(node.expressions)
    if found is None:
        return None
    shape, count = found
    if len(given) < 5 or (count and len(given) != count):
        raise QueryError(f"{node.this} takes {count or 'at least 8'} numbers, not {len(given)}")

    def make(name: str, arguments: list[exp.Expression]) -> exp.Anonymous:
        call = exp.Anonymous(this=name, expressions=[argument.copy() for argument in arguments])
        call.meta.update({**node.meta, "own": True})
        return call

    return make("CONTAINS", [make("POINT", given[:2]), make(shape, given[2:])])


def _shape_sql(shape: geo.Shape) -> str:
    match shape:
        case geo.Point(ra, dec):
            values = [ra, dec]
        case geo.Circle(center, radius):
            values = [center.ra, center.dec, radius]
        case geo.Polygon(corners):
            values = [geo.Value(repr(v), v) for corner in corners for v in corner]
        case geo.RegionColumn(sql):
            return f"skydesk_region_array({sql})"
        case _:
            return "NULL"
    return dialect.guarded(
        dialect.array([value.sql for value in values]), [v.sql for v in values if v.number is None]
    )


def _shape_info(name: str, shape: geo.Shape) -> ColumnInfo:
    sizes = {geo.Point: ("2", "point"), geo.Circle: ("3", "circle")}
    size, xtype = sizes.get(type(shape), ("*", "circle" if name == "CIRCLE" else "polygon"))
    return ColumnInfo(name.lower(), "double", size, xtype=xtype, unit="deg")
