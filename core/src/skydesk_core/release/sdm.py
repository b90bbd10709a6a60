"""Published tables against the Rubin Science Data Model: which columns, with which types, units and words.

A table is published under its SDM name. Columns keep the definition of DP1 (where DP1 has them) or of DP2,
those of SSObject and SSSource that of DP2 (where DP2 has them) or of DP1.
A camera whose band is not one of Rubin's six takes the definition of the r band with its own band's name.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from skydesk_core.errors import DataError
from skydesk_core.release.model import ColumnInfo, ForeignKeyInfo, TableInfo

__all__ = [
    "SDM_TABLES",
    "clear_absent_keys",
    "conform_table",
    "define_extra_table",
    "link_tables",
    "make_mpcorb",
]

SDM_TABLES = (
    "Object",
    "Source",
    "ForcedSource",
    "DiaObject",
    "DiaSource",
    "ForcedSourceOnDiaObject",
    "SSObject",
    "SSSource",
    "mpc_orbits",
    "MPCORB",
    "CoaddPatches",
    "Visit",
    "CcdVisit",
    "VisitDetector",
)
"""Tables that may be published under SDM names, in the order in which they are listed."""

_RUBIN_BANDS = ("u", "g", "r", "i", "z", "y")
_POSITIONS = (("coord_ra", "coord_dec"), ("ra", "dec"), ("s_ra", "s_dec"))
_ARROW: dict[str, Any] = {
    "boolean": pa.bool_(),
    "byte": pa.uint8(),
    "short": pa.int16(),
    "int": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "char": pa.string(),
    "string": pa.string(),
    "unicode": pa.string(),
    "text": pa.string(),
    "timestamp": pa.timestamp("us"),
}
_VOTABLE = {
    "byte": "unsignedByte",
    "string": "char",
    "text": "char",
    "unicode": "unicodeChar",
    "timestamp": "char",
}
_HP = (
    ColumnInfo(
        "hp29",
        "long",
        ucd="pos.healpix",
        description="NESTED HEALPix index of order 29 of the position; rows are stored in its order",
        indexed=True,
        sdm_datatype="long",
    ),
    ColumnInfo(
        "hp14",
        "long",
        ucd="pos.healpix",
        description="NESTED HEALPix index of order 14 of the position",
        sdm_datatype="long",
    ),
)


@functools.cache
def load_schema(resource: str) -> dict[str, Any]:
    """Return the tables of one of Rubin's schemas, by name."""
    from felis import Schema

    schema = Schema.from_uri(f"resource://lsst.sdm.schemas/{resource}.yaml", context={"id_generation": True})
    return {table.name: table for table in schema.tables}


def _strip(identifier: str) -> str:
    return identifier.rsplit(".", 1)[-1].lstrip("#")


def _names(value: str | Sequence[str] | None) -> tuple[str, ...]:
    items = [] if value is None else [value] if isinstance(value, str) else list(value)
    return tuple(_strip(i) for i in items)


def describe_column(column: Any) -> ColumnInfo:
    """Describe a column of Rubin's schema."""
    kind = column.datatype.value
    arraysize: str | None = None
    xtype = column.votable_xtype
    if kind in ("char", "string", "unicode"):
        length = column.length or 1
        arraysize = str(length) if kind == "char" and length == 1 else f"{length}*"
    elif kind == "text":
        arraysize = "*"
    elif kind == "timestamp":
        arraysize, xtype = "26*", "timestamp"
    return ColumnInfo(
        name=column.name,
        datatype=_VOTABLE.get(kind, kind),
        arraysize=arraysize,
        unit=column.ivoa_unit or column.fits_tunit,
        ucd=column.ivoa_ucd,
        utype=column.votable_utype,
        description=" ".join((column.description or "").split()),
        principal=bool(column.tap_principal),
        std=bool(column.tap_std),
        xtype=xtype,
        sdm_datatype=kind,
    )


def _reworded(info: ColumnInfo, name: str, old: str, new: str) -> ColumnInfo:
    text = re.sub(rf"\b{old}([- ]band)\b", rf"{new}\1", info.description)
    return ColumnInfo(**{**info.__dict__, "name": name, "description": text, "ucd": _band_ucd(info.ucd)})


def _band_ucd(ucd: str | None) -> str | None:
    """Drop the wavelength word of Rubin's r band, which is not true of another camera's filter."""
    if ucd is None:
        return None
    return ";".join(word for word in ucd.split(";") if not word.startswith("em.opt"))


def _find_definition(name: str, definitions: Mapping[str, Any], bands: Sequence[str]) -> ColumnInfo | None:
    if name in definitions:
        return describe_column(definitions[name])
    for band in bands:
        if name.startswith(f"{band}_") and band not in _RUBIN_BANDS:
            twin = "r_" + name[len(band) + 1 :]
            if twin in definitions:
                return _reworded(describe_column(definitions[twin]), name, "r", band)
    return None


@functools.cache
def _definitions(table: str) -> tuple[Any, dict[str, Any]]:
    """Return the felis table (DP1 before DP2) and its columns, DP1's first, then those only DP2 has.

    The tables of small bodies take DP2's first: DP1's are a draft that has few columns and no UCDs.
    """
    order = ("dp2", "dp1") if table in ("SSObject", "SSSource") else ("dp1", "dp2")
    found = [load_schema(resource)[table] for resource in order if table in load_schema(resource)]
    if not found:
        raise DataError(f"table {table} is not in the Rubin Science Data Model")
    columns: dict[str, Any] = {}
    for definition in found:
        for column in definition.columns:
            columns.setdefault(column.name, column)
    return found[0], columns


def conform_table(
    name: str, table: pa.Table, units: Mapping[str, str | None], bands: Sequence[str]
) -> tuple[TableInfo, pa.Table, tuple[str, ...]]:
    """Select the SDM columns of a table, check them and bring them to SDM order and types.

    Parameters
    ----------
    name
        SDM name of the table.
    table
        What the pipelines measured.
    units
        Unit that the pipelines declare for each column; None or absent for undeclared.
    bands
        Bands of the release.

    Returns
    -------
    TableInfo
        Description of what will be published (without the HEALPix columns).
    pyarrow.Table
        The selected columns, cast to the SDM types.
    tuple of str
        Columns that are not in the SDM and are therefore left out.

    Raises
    ------
    DataError
        If a column's type or unit contradicts the SDM; table and column are named.
    """
    definition, columns = _definitions(name)
    known = {c: info for c in table.column_names if (info := _find_definition(c, columns, bands)) is not None}
    left_out = tuple(c for c in table.column_names if c not in known and c not in ("hp29", "hp14"))
    if not known:
        raise DataError(f"table {name} has no column of the Rubin Science Data Model")
    order = {c: i for i, c in enumerate(columns)}
    chosen = sorted(known, key=lambda c: (order.get(c, len(order)), table.column_names.index(c)))
    infos, arrays = [], []
    for column in chosen:
        _check_unit(name, known[column], units.get(column))
        info, array = cast_column(name, known[column], table[column])
        infos.append(info)
        arrays.append(array)
    indexed = {c for index in _indexes(definition, chosen) for c in index}
    primary = tuple(c for c in _names(definition.primary_key) if c in known)
    if len(primary) != len(_names(definition.primary_key)):
        primary = ()
    infos = [ColumnInfo(**{**i.__dict__, "indexed": i.name in indexed or i.name in primary}) for i in infos]
    ra, dec = find_position(chosen)
    described = TableInfo(
        name=name,
        description=" ".join((definition.description or name).split()),
        columns=tuple(infos),
        primary_key=primary,
        foreign_keys=_foreign_keys(definition, chosen),
        indexes=tuple(_indexes(definition, chosen)),
        utype=definition.votable_utype,
        table_index=definition.tap_table_index or 0,
        ra_column=ra,
        dec_column=dec,
        bands=tuple(b for b in bands if any(c.startswith(f"{b}_") for c in chosen)),
    )
    return described, pa.table(arrays, names=chosen), left_out


def find_position(columns: Sequence[str]) -> tuple[str | None, str | None]:
    """Find which two columns hold the position, in the SDM's order of preference."""
    for ra, dec in _POSITIONS:
        if ra in columns and dec in columns:
            return ra, dec
    return None, None


def _indexes(definition: Any, present: Sequence[str]) -> list[tuple[str, ...]]:
    found = [_names(index.columns) for index in definition.indexes]
    return [names for names in found if names and all(n in present for n in names)]


def _foreign_keys(definition: Any, present: Sequence[str]) -> tuple[ForeignKeyInfo, ...]:
    keys = []
    for constraint in definition.constraints:
        if getattr(constraint, "type", "") != "ForeignKey":
            continue
        columns, targets = _names(constraint.columns), _names(constraint.referenced_columns)
        target = constraint.referenced_columns[0].lstrip("#").split(".")[0]
        if all(c in present for c in columns):
            keys.append(
                ForeignKeyInfo(constraint.name, columns, target, targets, constraint.description or "")
            )
    return tuple(keys)


def _check_unit(table: str, info: ColumnInfo, unit: str | None) -> None:
    import astropy.units as u

    if not unit:
        return
    try:
        found = u.Unit(unit)
        wanted = u.Unit(info.unit) if info.unit else u.dimensionless_unscaled
    except ValueError as error:
        raise DataError(f"table {table}, column {info.name}: unit {unit!r} cannot be understood") from error
    # The SDM writes an area, which is a number of pixels, as pixel.
    area = info.unit == "pixel" and found == u.pixel**2 and info.name.lower().endswith(("area", "area_value"))
    if found != wanted and unit != info.unit and not area:
        raise DataError(
            f"table {table}, column {info.name}: unit is {unit!r}, the science data model says {info.unit or 'none'!r}"
        )


def cast_column(table: str, info: ColumnInfo, data: pa.ChunkedArray) -> tuple[ColumnInfo, pa.ChunkedArray]:
    """Bring one column to its SDM type without losing anything.

    Integers may widen, floats may change precision, strings may be longer than the SDM's (the description
    then says so); everything else is an error.

    Raises
    ------
    DataError
        If the type contradicts the SDM or a value does not fit.
    """
    target = _ARROW[info.sdm_datatype]
    source = data.type
    if pa.types.is_dictionary(source):
        data = data.cast(source.value_type)
        source = data.type
    if pa.types.is_binary(source):
        data = data.cast(pa.string())
        source = data.type
    if not _same_kind(source, target):
        raise DataError(
            f"table {table}, column {info.name}: type is {source}, the science data model says {info.sdm_datatype}"
        )
    try:
        out = data.cast(target, safe=not pa.types.is_floating(target))
    except pa.ArrowInvalid as error:
        raise DataError(
            f"table {table}, column {info.name}: does not fit {info.sdm_datatype}: {error}"
        ) from error
    if pa.types.is_string(target) and info.arraysize not in (None, "*"):
        info = _widened(info, out)
    return info, nan_to_null(out)


def nan_to_null(data: pa.ChunkedArray) -> pa.ChunkedArray:
    """Turn NaN into NULL, which is what a query language understands: for an engine NaN may exceed every number."""
    import pyarrow.compute as pc

    if not pa.types.is_floating(data.type):
        return data
    return pc.if_else(pc.is_nan(data), pa.scalar(None, data.type), data)


def _same_kind(source: Any, target: Any) -> bool:
    t = pa.types
    if t.is_null(source):
        return True
    if t.is_boolean(target):
        return t.is_boolean(source)
    if t.is_integer(target):
        return t.is_integer(source)
    if t.is_floating(target):
        return t.is_floating(source) or t.is_integer(source)
    if t.is_timestamp(target):
        return t.is_timestamp(source)
    return t.is_string(source) or t.is_large_string(source)


def _widened(info: ColumnInfo, data: pa.ChunkedArray) -> ColumnInfo:
    import pyarrow.compute as pc

    longest = pc.max(pc.binary_length(data)).as_py() or 0
    assert info.arraysize is not None
    if longest <= int(info.arraysize.rstrip("*")):
        return info
    return ColumnInfo(**{**info.__dict__, "arraysize": f"{longest}*"})


def healpix_columns(table: TableInfo) -> TableInfo:
    """Return the table's description with the two HEALPix columns at its end."""
    return TableInfo(**{**table.__dict__, "columns": (*table.columns, *_HP)})


def define_extra_table(
    name: str, description: str, table: pa.Table, units: Mapping[str, str | None], words: Mapping[str, str]
) -> TableInfo:
    """Describe a table that the SDM does not have (a truth table, for instance).

    Parameters
    ----------
    name, description
        Published name and a sentence for people.
    table
        Its rows.
    units, words
        Unit and description of its columns.

    Raises
    ------
    DataError
        If a column's type cannot be published.
    """
    columns = []
    for field in table.schema:
        kind = _felis_kind(field.type)
        if kind is None:
            raise DataError(f"table {name}, column {field.name}: type {field.type} cannot be published")
        text = (
            words.get(field.name)
            or _EXTRA_WORDS.get(field.name)
            or f"{field.name} as given by the simulation"
        )
        string = kind in ("string", "timestamp")
        columns.append(
            ColumnInfo(
                field.name,
                _VOTABLE.get(kind, kind),
                arraysize="*" if string else None,
                unit=units.get(field.name),
                ucd=_EXTRA_UCDS.get(field.name),
                description=text,
                principal=True,
                xtype="timestamp" if kind == "timestamp" else None,
                sdm_datatype="text" if kind == "string" else kind,
            )
        )
    ra, dec = find_position(table.column_names)
    return TableInfo(name, description, tuple(columns), table_index=200, ra_column=ra, dec_column=dec)


_EXTRA_WORDS = {
    "ra": "True right ascension, ICRS",
    "dec": "True declination, ICRS",
    "coord_ra": "True right ascension, ICRS",
    "coord_dec": "True declination, ICRS",
    "period_day": "True period of the variability",
    "amplitude_mag": "Half the peak-to-peak range of the true light curve",
    "visit": "Id of the visit",
    "detector": "Number of the detector",
    "band": "Band of the visit",
}
_EXTRA_UCDS = {
    "ra": "pos.eq.ra",
    "dec": "pos.eq.dec",
    "coord_ra": "pos.eq.ra",
    "coord_dec": "pos.eq.dec",
    "period_day": "time.period",
    "amplitude_mag": "src.var.amplitude",
    "band": "meta.id;instr.bandpass",
}


def _felis_kind(kind: Any) -> str | None:
    for name in ("boolean", "short", "int", "long", "float", "double", "timestamp", "string"):
        if kind == _ARROW[name]:
            return name
    if pa.types.is_large_string(kind):
        return "string"
    if pa.types.is_timestamp(kind):
        return "timestamp"
    return None


def normalise_extra(table: pa.Table) -> pa.Table:
    """Bring unusual Arrow types (unsigned, half, dictionary, large string) to publishable ones."""
    fields = []
    for field in table.schema:
        kind = field.type
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        if pa.types.is_large_string(kind) or pa.types.is_binary(kind):
            kind = pa.string()
        elif pa.types.is_unsigned_integer(kind) or kind == pa.int8():
            kind = pa.int16() if kind in (pa.int8(), pa.uint8()) else pa.int64()
        elif kind == pa.float16():
            kind = pa.float32()
        elif pa.types.is_timestamp(kind):
            kind = pa.timestamp("us")
        fields.append(pa.field(field.name, kind))
    whole = table.cast(pa.schema(fields))
    return pa.table([nan_to_null(column) for column in whole.columns], names=whole.column_names)


def arrow_schema(table: TableInfo) -> pa.Schema:
    """Return the Arrow schema that the description stands for."""
    return pa.schema([pa.field(c.name, _ARROW[c.sdm_datatype]) for c in table.columns])


def link_tables(tables: Sequence[TableInfo]) -> tuple[TableInfo, ...]:
    """Keep only relations whose target is published too, and order the tables for listing."""
    present = {t.name: set(t.column_names) for t in tables}
    out = []
    for table in tables:
        keys = tuple(
            k
            for k in table.foreign_keys
            if k.target_table in present and set(k.target_columns) <= present[k.target_table]
        )
        out.append(TableInfo(**{**table.__dict__, "foreign_keys": keys}))
    rank = {name: i for i, name in enumerate(SDM_TABLES)}
    return tuple(sorted(out, key=lambda t: (rank.get(t.name, 99 if t.name != "ObsCore" else 98), t.name)))


def table_units(table: pa.Table) -> tuple[dict[str, str | None], dict[str, str]]:
    """Read the units and descriptions that a table's Arrow fields carry (the Butler writes astropy's there).

    Returns
    -------
    tuple of dict
        Unit and description of each column that has one.
    """
    units: dict[str, str | None] = {}
    words: dict[str, str] = {}
    for field in table.schema:
        meta = field.metadata or {}
        if b"unit" in meta:
            units[field.name] = meta[b"unit"].decode()
        if b"description" in meta:
            words[field.name] = meta[b"description"].decode()
    return units, words


def from_numpy(columns: Mapping[str, Any], units: Mapping[str, str] | None = None) -> pa.Table:
    """Make an Arrow table of arrays with units in the fields' metadata."""
    arrays = [pa.array(np.asarray(v) if not isinstance(v, list) else v) for v in columns.values()]
    fields = [
        pa.field(n, a.type, metadata={b"unit": units[n].encode()} if units and n in units else None)
        for n, a in zip(columns, arrays, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


_MPCORB = {
    "mpcDesignation": "packed_primary_provisional_designation",
    "ssObjectId": "ssObjectId",
    "q": "q",
    "e": "e",
    "incl": "i",
    "node": "node",
    "peri": "argperi",
    "t_p": "peri_time",
    "epoch": "epoch_mjd",
    "mpcH": "h",
}


def make_mpcorb(orbits: pa.Table, observed: Iterable[int]) -> pa.Table:
    """Make DP1's table MPCORB of a catalog with the columns of DP2's ``mpc_orbits`` and ``ssObjectId``.

    Parameters
    ----------
    orbits
        The catalog.
    observed
        The ``ssObjectId`` of what the release has observed; the others get NULL, as the SDM says.
    """
    import pyarrow.compute as pc

    chosen = {new: old for new, old in _MPCORB.items() if old in orbits.column_names}
    table = orbits.select(list(chosen.values())).rename_columns(list(chosen))
    place = table.column_names.index("ssObjectId")
    ids = table["ssObjectId"]
    seen = pc.is_in(ids, value_set=pa.array(sorted(observed), ids.type))
    return table.set_column(
        place, table.schema.field(place), pc.if_else(seen, ids, pa.scalar(None, ids.type))
    )


def clear_absent_keys(sources: pa.Table) -> pa.Table:
    """Turn the ``diaObjectId`` 0 of DIASources that belong to no DIAObject into NULL."""
    import pyarrow.compute as pc

    if "diaObjectId" not in sources.column_names:
        return sources
    place = sources.column_names.index("diaObjectId")
    found = sources["diaObjectId"]
    found = pc.if_else(pc.equal(found, 0), pa.scalar(None, found.type), found)
    return sources.set_column(place, sources.schema.field(place), found)
