"""The functions ``skydesk_*`` of the engine: what ADQL needs and SQL cannot say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from skydesk_portal.exceptions import QueryError
from skydesk_portal.models.region_arrays import contain_positions, lie_within, meet
from skydesk_portal.models.regions import Region, parse_region, region_area_deg2

__all__ = ["register_functions"]


def _find_region(text: str | None) -> Region | None:
    if text is None:
        return None
    try:
        return parse_region(text)
    except QueryError:
        # Stored text that is no region matches nothing; it must not stop a scan.
        return None


def _floats(values: pa.Array) -> np.ndarray:
    return np.asarray(values.to_numpy(zero_copy_only=False), dtype=np.float64)


def _whole(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


def _region_has(regions: pa.Array, ra_deg: pa.Array, dec_deg: pa.Array) -> pa.Array:
    found, known = contain_positions(_whole(regions), _floats(ra_deg), _floats(dec_deg))
    return pa.array(found, mask=~known)


def _regions_meet(first: pa.Array, second: pa.Array) -> pa.Array:
    found, known = meet(_whole(first), _whole(second))
    return pa.array(found, mask=~known)


def _region_within(inner: pa.Array, outer: pa.Array) -> pa.Array:
    found, known = lie_within(_whole(inner), _whole(outer))
    return pa.array(found, mask=~known)


def _region_area(text: str) -> float | None:
    region = _find_region(text)
    return None if region is None else region_area_deg2(region)


def _region_ra(text: str) -> float | None:
    region = _find_region(text)
    return None if region is None else region.center[0]


def _region_dec(text: str) -> float | None:
    region = _find_region(text)
    return None if region is None else region.center[1]


def _region_array(text: str) -> list[float] | None:
    region = _find_region(text)
    if region is None:
        return None
    numbers = [float(v) for corner in region.corners for v in corner]
    return numbers if region.radius_deg is None else [*numbers, region.radius_deg]


def _per_order(
    order: pa.Array, good: np.ndarray, compute: Callable[[int, np.ndarray], Any], out: np.ndarray
) -> None:
    orders = _floats(order)
    for value in np.unique(orders[good]):
        rows = np.flatnonzero(good & (orders == value))
        out[rows] = compute(int(value), rows)


def _healpix(order: pa.Array, ra_deg: pa.Array, dec_deg: pa.Array) -> pa.Array:
    import hpgeom

    ra, dec, orders = _floats(ra_deg), _floats(dec_deg), _floats(order)
    good = np.isfinite(ra) & np.isfinite(dec) & (np.abs(dec) <= 90) & (orders >= 0) & (orders <= 29)
    out = np.zeros(len(ra), np.int64)
    _per_order(
        order,
        good,
        lambda n, rows: hpgeom.angle_to_pixel(1 << n, ra[rows] % 360.0, dec[rows], nest=True),
        out,
    )
    return pa.array(out, mask=~good)


def _healpix_center(axis: int) -> Callable[[pa.Array, pa.Array], pa.Array]:
    def center(order: pa.Array, index: pa.Array) -> pa.Array:
        import hpgeom

        orders = _floats(order)
        pixels = np.asarray(index.fill_null(-1), dtype=np.int64)
        sane = np.clip(np.nan_to_num(orders, nan=0), 0, 29).astype(np.int64)
        good = (orders >= 0) & (orders <= 29) & (pixels >= 0) & (pixels < 12 * (1 << (2 * sane)))
        out = np.zeros(len(pixels))
        _per_order(
            order, good, lambda n, rows: hpgeom.pixel_to_angle(1 << n, pixels[rows], nest=True)[axis], out
        )
        return pa.array(out, mask=~good)

    return center


def _moved(axis: int) -> Callable[..., pa.Array]:
    def position(
        ra_deg: pa.Array, dec_deg: pa.Array, pm_ra: pa.Array, pm_dec: pa.Array, begin: pa.Array, end: pa.Array
    ) -> pa.Array:
        with np.errstate(invalid="ignore"):
            r, d = np.radians(_floats(ra_deg)), np.radians(_floats(dec_deg))
            # Proper motions are in mas/yr, epochs in years.
            scale = np.radians((_floats(end) - _floats(begin)) / 3_600_000.0)
            center = np.stack([np.cos(d) * np.cos(r), np.cos(d) * np.sin(r), np.sin(d)])
            east = np.stack([-np.sin(r), np.cos(r), np.zeros_like(r)])
            north = np.stack([-np.sin(d) * np.cos(r), -np.sin(d) * np.sin(r), np.cos(d)])
            x, y, z = center + scale * (_floats(pm_ra) * east + _floats(pm_dec) * north)
            out = (
                np.degrees(np.arctan2(y, x)) % 360 if axis == 0 else np.degrees(np.arctan2(z, np.hypot(x, y)))
            )
        return pa.array(out, mask=~np.isfinite(out))

    return position


def register_functions(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the functions known to a connection, before it is locked.

    Parameters
    ----------
    connection
        A connection whose cursors will need them.
    """
    for name, call, types, gives, kind in (
        ("skydesk_region_has", _region_has, ["VARCHAR", "DOUBLE", "DOUBLE"], "BOOLEAN", "arrow"),
        ("skydesk_regions_meet", _regions_meet, ["VARCHAR", "VARCHAR"], "BOOLEAN", "arrow"),
        ("skydesk_region_within", _region_within, ["VARCHAR", "VARCHAR"], "BOOLEAN", "arrow"),
        ("skydesk_region_area", _region_area, ["VARCHAR"], "DOUBLE", "native"),
        ("skydesk_region_ra", _region_ra, ["VARCHAR"], "DOUBLE", "native"),
        ("skydesk_region_dec", _region_dec, ["VARCHAR"], "DOUBLE", "native"),
        ("skydesk_region_array", _region_array, ["VARCHAR"], "DOUBLE[]", "native"),
        ("skydesk_healpix", _healpix, ["INTEGER", "DOUBLE", "DOUBLE"], "BIGINT", "arrow"),
        ("skydesk_healpix_ra", _healpix_center(0), ["INTEGER", "BIGINT"], "DOUBLE", "arrow"),
        ("skydesk_healpix_dec", _healpix_center(1), ["INTEGER", "BIGINT"], "DOUBLE", "arrow"),
        ("skydesk_moved_ra", _moved(0), ["DOUBLE"] * 6, "DOUBLE", "arrow"),
        ("skydesk_moved_dec", _moved(1), ["DOUBLE"] * 6, "DOUBLE", "arrow"),
    ):
        connection.create_function(
            name, call, types, gives, type=kind, null_handling="special", exception_handling="default"
        )  # type: ignore[call-overload]
