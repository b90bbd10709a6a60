"""Links of rows: light curves of objects, images on which something was measured, rows that belong together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlencode

from skydesk_portal.exceptions import NotFoundError, UsageError
from skydesk_portal.models.datalink import Link, RowId, ServiceUse
from skydesk_portal.models.identity import Identity
from skydesk_portal.models.sia import adql_text
from skydesk_portal.models.tables import Catalog, TableInfo
from skydesk_portal.services.alerts import AlertService
from skydesk_portal.services.pagelinks import link_pages
from skydesk_portal.services.tap import TapService

__all__ = ["RowLinks"]

_VOTABLE = "application/x-votable+xml"
_DATALINK = "application/x-votable+xml;content=datalink"
_LIGHT_CURVES = {"Object": "ForcedSource", "DiaObject": "ForcedSourceOnDiaObject"}
"""Tables of objects and those that hold their light curves."""
_IMAGE_OF = {
    "Object": ("deep_coadd", (("tract", "lsst_tract"), ("patch", "lsst_patch"))),
    "Source": ("visit_image", (("visit", "lsst_visit"), ("detector", "lsst_detector"))),
    "DiaSource": ("difference_image", (("visit", "lsst_visit"), ("detector", "lsst_detector"))),
    "Visit": ("visit_image", (("visit", "lsst_visit"),)),
}
"""Dataset type on which rows of a table were measured, and the columns that name it here and in ObsCore."""
_ROWS_OF = {
    "Object": (("ForcedSource", "objectId", "#derivation"),),
    "DiaObject": (
        ("DiaSource", "diaObjectId", "#progenitor"),
        ("ForcedSourceOnDiaObject", "diaObjectId", "#derivation"),
    ),
    "Visit": (("Source", "visit", "#derivation"), ("DiaSource", "visit", "#derivation")),
}
"""Tables with rows that belong to a row, the column that names it, and what they are to it."""
_FLUXES = ("psfFlux", "psfFluxErr", "psfDiffFlux", "psfDiffFluxErr", "psfFlux_flag", "psfDiffFlux_flag")
_STAMP_DEG = 10 / 3600
_MOST_IMAGES = 1000


class RowLinks:
    """Finds the links of rows.

    Parameters
    ----------
    tap
        Answers for tables.
    url
        Public base address.
    alerts
        Alerts of DIA sources.
    """

    def __init__(self, tap: TapService, url: str, alerts: AlertService) -> None:
        self._alerts = alerts
        self._tap = tap
        self._url = url

    def _find_table(self, identity: Identity, wanted: RowId) -> TableInfo:
        table = self._tap.catalog_for(identity).find_table(f"{wanted.release}.{wanted.table}")
        if table is None:
            raise NotFoundError(f"there is no table {wanted.release[:40]}.{wanted.table}")
        return table

    def list_links(self, identity: Identity, text: str, wanted: RowId) -> list[Link]:
        """Return the links of a row.

        Parameters
        ----------
        identity
            The caller.
        text
            Its identifier as given.
        wanted
            The row.

        Returns
        -------
        list of Link
            What belongs to it.

        Raises
        ------
        NotFoundError
            If the caller has no such row.
        """
        table = self._find_table(identity, wanted)
        own = f"SELECT * FROM {table.full_name} WHERE {wanted.key_column} = {wanted.key}"
        found = self._tap.run_query(identity, own, 1).table.to_pylist()
        if not found:
            raise NotFoundError(f"{table.full_name} has no row {wanted.key}")
        row = found[0]
        authorized = "read:tap" in identity.scopes
        links = [
            Link(
                text,
                "#this",
                f"The row of {table.full_name}",
                access_url=self._query_url(own),
                content_type=_VOTABLE,
                content_qualifier="#measurements",
                local_semantics=wanted.table,
                link_auth="true",
                link_authorized=authorized,
            )
        ]
        catalog = self._tap.catalog_for(identity)
        links += self._light_curve_links(text, wanted, catalog, authorized=authorized)
        links += self._row_links(text, wanted, row, catalog, authorized=authorized)
        links += self._image_links(identity, text, wanted, row, table)
        if wanted.table == "DiaSource":
            links += self._alerts.find_links(identity, text, wanted.key, wanted.release)
        links += self._page_links(text, wanted, row)
        return links

    def _query_url(self, query: str) -> str:
        return f"{self._url}/api/tap/sync?{urlencode({'LANG': 'ADQL', 'QUERY': query})}"

    def _light_curve_links(
        self, text: str, wanted: RowId, catalog: Catalog, *, authorized: bool
    ) -> list[Link]:
        name = _LIGHT_CURVES.get(wanted.table)
        if name is None or catalog.find_table(f"{wanted.release}.{name}") is None:
            return []
        about = {
            "content_type": _VOTABLE,
            "content_qualifier": "#timeseries",
            "local_semantics": name,
            "link_auth": "true",
            "link_authorized": authorized,
        }
        address = f"{self._url}/api/datalink/timeseries?ID={quote(wanted.text, safe='')}"
        formats = ("votable", "csv", "parquet")
        use = ServiceUse("timeseries", {"ID": wanted.text}, {"RESPONSEFORMAT": formats})
        return [
            Link(text, "#derivation", "Light curve by forced photometry", access_url=address, **about),  # type: ignore[arg-type]
            Link(text, "#proc", "Light curve in chosen bands", service=use, **about),  # type: ignore[arg-type]
        ]

    def _row_links(
        self, text: str, wanted: RowId, row: dict[str, Any], catalog: Catalog, *, authorized: bool
    ) -> list[Link]:
        related = [(t, c, s, wanted.key) for t, c, s in _ROWS_OF.get(wanted.table, ())]
        if wanted.table in ("Source", "DiaSource") and row.get("visit") is not None:
            related.append(("Visit", "visit", "#progenitor", row["visit"]))
        if wanted.table == "DiaSource" and row.get("diaObjectId"):
            related.append(("DiaObject", "diaObjectId", "#derivation", row["diaObjectId"]))
        links = []
        for name, column, semantics, value in related:
            table = catalog.find_table(f"{wanted.release}.{name}")
            if table is None or column not in {c.name for c in table.columns}:
                continue
            links.append(
                Link(
                    text,
                    semantics,
                    f"Rows of {table.full_name} with the same {column}",
                    access_url=self._query_url(f"SELECT * FROM {table.full_name} WHERE {column} = {value}"),
                    content_type=_VOTABLE,
                    content_qualifier="#measurements",
                    local_semantics=name,
                    link_auth="true",
                    link_authorized=authorized,
                )
            )
        return links

    def _image_links(
        self, identity: Identity, text: str, wanted: RowId, row: dict[str, Any], table: TableInfo
    ) -> list[Link]:
        kind, columns = _IMAGE_OF.get(wanted.table, ("", ()))
        values = [(there, row.get(here)) for here, there in columns]
        if not values or any(value is None for _, value in values):
            return []
        query = (
            f"SELECT obs_publisher_did, obs_title FROM ivoa.ObsCore WHERE obs_collection = {adql_text(wanted.release)} "
            f"AND dataset_type = {adql_text(kind)} AND "
            + " AND ".join(f"{name} = {value}" for name, value in values)
            + " ORDER BY obs_title"
        )
        position = self._position(row, table)
        links = []
        for image in self._tap.run_query(identity, query, _MOST_IMAGES).table.to_pylist():
            did, title = image["obs_publisher_did"], image["obs_title"]
            semantics = "#derivation" if wanted.table == "Visit" else "#progenitor"
            words = "Image of the visit" if wanted.table == "Visit" else "Measured on"
            links.append(
                Link(
                    text,
                    semantics,
                    f"{words}: {title}",
                    access_url=f"{self._url}/api/datalink/links?ID={quote(did, safe='')}",
                    content_type=_DATALINK,
                    local_semantics=kind,
                    link_auth="true",
                    link_authorized=True,
                )
            )
            if position is not None:
                parameters = urlencode({"ID": did, "CIRCLE": f"{position} {_STAMP_DEG:.6f}"})
                links.append(
                    Link(
                        text,
                        "#cutout",
                        f"Its surroundings, 10 arcsec, on {title}",
                        access_url=f"{self._url}/api/cutout/sync?{parameters}",
                        content_type="application/fits",
                        content_qualifier="#image",
                        local_semantics=kind,
                        link_auth="true",
                        link_authorized=True,
                    )
                )
        return links

    @staticmethod
    def _position(row: dict[str, Any], table: TableInfo) -> str | None:
        if table.name == "Visit" or table.ra_column is None or table.dec_column is None:
            return None
        ra, dec = row.get(table.ra_column), row.get(table.dec_column)
        return None if ra is None or dec is None else f"{ra!r} {dec!r}"

    def _page_links(self, text: str, wanted: RowId, row: dict[str, Any]) -> list[Link]:
        key = {"Object": "object", "DiaObject": "diaobject"}.get(wanted.table)
        number = wanted.key
        if wanted.table == "DiaSource" and row.get("diaObjectId"):
            key, number = "diaobject", int(row["diaObjectId"])
        page = None
        if key is not None:
            page = f"/portal/app/lightcurves?release={quote(wanted.release)}&{key}={number}"
        return link_pages(text, self._url, page, "The light curve in the portal")

    def make_timeseries_query(self, identity: Identity, wanted: RowId, bands: Sequence[str]) -> str:
        """Return the ADQL query for a light curve, see `DatalinkService.make_timeseries_query`."""
        name = _LIGHT_CURVES.get(wanted.table)
        if name is None:
            raise UsageError(
                f"rows of {wanted.table} have no light curve; those of {', '.join(_LIGHT_CURVES)} have"
            )
        self._find_table(identity, wanted)
        catalog = self._tap.catalog_for(identity)
        forced = catalog.find_table(f"{wanted.release}.{name}")
        visits = catalog.find_table(f"{wanted.release}.Visit")
        if forced is None or visits is None:
            raise NotFoundError(f"release {wanted.release} has no light curves")
        have = {c.name for c in forced.columns}
        columns = [
            "v.expMidptMJD",
            "f.band",
            *(f"f.{c}" for c in _FLUXES if c in have),
            "f.visit",
            "f.detector",
        ]
        chosen = f" AND f.band IN ({', '.join(map(adql_text, bands))})" if bands else ""
        return (
            f"SELECT {', '.join(columns)} FROM {forced.full_name} AS f JOIN {visits.full_name} AS v "
            f"ON v.visit = f.visit WHERE f.{wanted.key_column} = {wanted.key}{chosen} ORDER BY v.expMidptMJD"
        )
