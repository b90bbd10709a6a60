"""What belongs to a dataset or a row: file, pictures, cut-outs, inputs, what was made of it (DataLink 1.1)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any
from urllib.parse import quote, urlencode

from skydesk_portal.exceptions import NotFoundError, PortalError, UsageError
from skydesk_portal.models.datalink import Link, RowId, ServiceUse, parse_link_id
from skydesk_portal.models.datasets import DatasetFacts, DatasetId
from skydesk_portal.models.identity import Identity
from skydesk_portal.models.sia import adql_text
from skydesk_portal.models.tables import Catalog
from skydesk_portal.services.alerts import AlertService
from skydesk_portal.services.pagelinks import link_pages
from skydesk_portal.services.rowlinks import RowLinks
from skydesk_portal.services.signing import LinkSigner
from skydesk_portal.services.soda import SodaService
from skydesk_portal.services.tap import TapService
from skydesk_portal.services.userimages import UserImage, UserImageService, owner_of_label

__all__ = ["DATALINK", "DatalinkService", "file_media_type"]

DATALINK = "application/x-votable+xml;content=datalink"
_VOTABLE = "application/x-votable+xml"
_FITS = "application/fits"
_MEDIA_TYPES = {
    ".fits": _FITS,
    ".fit": _FITS,
    ".fz": _FITS,
    ".parq": "application/vnd.apache.parquet",
    ".parquet": "application/vnd.apache.parquet",
    ".json": "application/json",
    ".yaml": "application/yaml",
    ".ecsv": "text/csv",
}
_IMAGES = frozenset({"RawImage", "MaskedImageV2", "VisitImage", "DifferenceImage", "CellCoadd"})
_WITH_PSF = frozenset({"VisitImage", "DifferenceImage", "CellCoadd"})
_CALIBRATION_TERMS = {"bias": "#bias", "dark": "#dark", "flat": "#flat"}
_TABLES_MADE_OF = {
    "visit_image": (("Source", "visit", "detector"), ("ForcedSource", "visit", "detector")),
    "difference_image": (
        ("DiaSource", "visit", "detector"),
        ("ForcedSourceOnDiaObject", "visit", "detector"),
    ),
    "deep_coadd": (("Object", "tract", "patch"),),
}
"""Tables that were measured on an image, with the columns that name it."""
_MOST_IDS = 500


def file_media_type(path: str) -> str:
    """Return the media type of a dataset's file."""
    return _MEDIA_TYPES.get(PurePath(path.removesuffix(".gz")).suffix.lower(), "application/octet-stream")


def _list(values: Iterable[str]) -> str:
    return ", ".join(adql_text(v) for v in values)


def _cutout_links(text: str, storage_class: str, row: Mapping[str, Any]) -> list[Link]:
    """Return the services that cut parts out of an image and draw its PSF."""
    values = _limits(text, row)
    links = [
        Link(
            text,
            "#cutout",
            words,
            service=ServiceUse(kind, values),
            content_type=_FITS,
            content_qualifier="#image",
            link_auth="true",
            link_authorized=True,
        )
        for kind, words in (("cutout-sync", "Cut-outs, waiting"), ("cutout-async", "Cut-outs, as a job"))
    ]
    if storage_class in _WITH_PSF:
        position = {"ID": text, "RA": repr(row["s_ra"]), "DEC": repr(row["s_dec"])}
        links.append(
            Link(
                text,
                "#proc",
                "The PSF at a position",
                service=ServiceUse("psf", position),
                content_type=_FITS,
                link_auth="true",
                link_authorized=True,
            )
        )
    return links


class DatalinkService:
    """Finds the links of datasets and rows.

    Parameters
    ----------
    soda
        Knows the datasets and makes cut-outs.
    tap
        Knows what images were made of, and answers for tables.
    images
        Images of people's own.
    alerts
        Alerts of DIA sources.
    signer
        Signs links to files.
    url
        Public base address.
    link_seconds
        How long a link to a file works.
    """

    def __init__(
        self,
        soda: SodaService,
        tap: TapService,
        images: UserImageService,
        alerts: AlertService,
        signer: LinkSigner,
        url: str,
        link_seconds: int,
    ) -> None:
        self._images = images
        self._soda = soda
        self._tap = tap
        self._signer = signer
        self._url = url
        self._seconds = link_seconds
        self._rows = RowLinks(tap, url, alerts)

    def list_links(
        self, identity: Identity, ids: Sequence[str], table: str | None = None
    ) -> tuple[list[Link], bool]:
        """Return the links of some datasets and rows.

        Parameters
        ----------
        identity
            The caller.
        ids
            Identifiers as given; a wrong one gets a row with the error.
        table
            ``RELEASE.TABLE``, if the identifiers are numbers of its rows.

        Returns
        -------
        list of Link
            Rows in the order of the identifiers.
        bool
            Whether identifiers were left out because there were too many.
        """
        answers: dict[str, list[Link]] = {}
        facts: dict[str, DatasetFacts] = {}
        asked = list(dict.fromkeys(ids))
        for text in asked[:_MOST_IDS]:
            try:
                wanted = parse_link_id(text, table)
                if isinstance(wanted, RowId):
                    answers[text] = self._rows.list_links(identity, text, wanted)
                elif owner_of_label(wanted.release) is not None:
                    answers[text] = self._own_links(text, self._images.get(identity.name, wanted))
                else:
                    facts[text] = self._soda.get_facts(identity, wanted)
                    answers[text] = []
            except NotFoundError as error:
                answers[text] = [Link(text, "#this", error_message=f"NotFoundFault: {error}")]
            except UsageError as error:
                answers[text] = [Link(text, "#this", error_message=f"UsageFault: {error}")]
            except PortalError as error:
                answers[text] = [Link(text, "#this", error_message=f"DefaultFault: {error}")]
        self._add_datasets(identity, facts, answers)
        return [link for links in answers.values() for link in links], len(asked) > _MOST_IDS

    def _add_datasets(
        self, identity: Identity, facts: dict[str, DatasetFacts], answers: dict[str, list[Link]]
    ) -> None:
        by_release: dict[str, dict[str, DatasetFacts]] = defaultdict(dict)
        for text, found in facts.items():
            by_release[found.id.release][text] = found
        for release, group in by_release.items():
            described = self._describe(identity, release, group.values())
            related = self._find_related(identity, release, group.values())
            for text, found in group.items():
                uuid = str(found.id.uuid)
                answers[text] += self._file_links(text, found, described.get(uuid))
                answers[text] += [self._related_link(text, release, *r) for r in related.get(uuid, ())]
                answers[text] += self._table_links(text, identity, found)
                answers[text] += self._page_links(text, found, described.get(uuid))

    def _describe(
        self, identity: Identity, release: str, facts: Iterable[DatasetFacts]
    ) -> dict[str, dict[str, Any]]:
        """Return what ObsCore says about datasets, by identifier."""
        query = (
            "SELECT dataset_id, s_ra, s_dec, s_fov, s_region, em_min, em_max, t_min, t_max FROM ivoa.ObsCore "
            f"WHERE obs_collection = {adql_text(release)} AND dataset_id IN ({_list(str(f.id.uuid) for f in facts)})"
        )
        rows = self._tap.run_query(identity, query, _MOST_IDS).table.to_pylist()
        return {row["dataset_id"]: row for row in rows}

    def _find_related(
        self, identity: Identity, release: str, facts: Iterable[DatasetFacts]
    ) -> dict[str, list[tuple[str, str, str, str]]]:
        """Return semantics, description, type and identifier of inputs and of what was made of each dataset."""
        if self._tap.catalog_for(identity).find_table(f"{release}.Provenance") is None:
            return {}
        names = _list(str(f.id.uuid) for f in facts)
        found: dict[str, list[tuple[str, str, str, str]]] = defaultdict(list)
        for own, other, kind in (
            ("dataset_id", "input_id", "input_type"),
            ("input_id", "dataset_id", "dataset_type"),
        ):
            query = (
                f"SELECT p.{own} AS own, p.{other} AS other, p.{kind} AS kind, p.role, o.obs_title "
                f"FROM {release}.Provenance AS p LEFT OUTER JOIN ivoa.ObsCore AS o ON o.dataset_id = p.{other} "
                f"AND o.obs_collection = {adql_text(release)} "
                f"WHERE p.{own} IN ({names}) ORDER BY p.{kind}, o.obs_title"
            )
            for row in self._tap.run_query(identity, query, 100_000).table.to_pylist():
                title = row["obs_title"] or row["kind"]
                if own == "input_id":
                    semantics, text = "#derivation", f"Made of this: {title}"
                elif row["role"] == "calibration":
                    semantics = _CALIBRATION_TERMS.get(row["kind"], "#calibration")
                    text = f"Calibration that was applied: {title}"
                else:
                    semantics, text = "#progenitor", f"Input ({row['role']}): {title}"
                found[row["own"]].append((semantics, text, row["kind"], row["other"]))
        return found

    def _own_links(self, text: str, image: UserImage) -> list[Link]:
        """Return the links of an image that the caller's own run made."""
        this = Link(
            text,
            "#this",
            f"The whole {image.dataset_type}",
            access_url=self._signed(f"/api/datalink/file/{quote(image.id.release)}/{image.id.uuid}"),
            content_type=file_media_type(image.path),
            content_qualifier="#image",
            local_semantics=image.dataset_type,
            link_auth="false",
            link_authorized=True,
        )
        links = [this]
        storage_class = image.row.get("storage_class") or ""
        if storage_class in _IMAGES - {"RawImage"} and image.row["s_region"] is not None:
            links += _cutout_links(text, storage_class, image.row)
        for did, kind, role in image.inputs:
            term = _CALIBRATION_TERMS.get(kind, "#calibration") if role == "calibration" else "#progenitor"
            links.append(
                Link(
                    text,
                    term,
                    f"Input ({role}): {kind}",
                    access_url=f"{self._url}/api/datalink/links?ID={quote(did, safe='')}",
                    content_type=DATALINK,
                    local_semantics=kind,
                    link_auth="true",
                    link_authorized=True,
                )
            )
        return links

    def _related_link(
        self, text: str, release: str, semantics: str, description: str, kind: str, other: str
    ) -> Link:
        did = f"ivo://skydesk/{release}?repo={release}&id={other}"
        return Link(
            text,
            semantics,
            description,
            access_url=f"{self._url}/api/datalink/links?ID={quote(did, safe='')}",
            content_type=DATALINK,
            local_semantics=kind,
            link_auth="true",
            link_authorized=True,
        )

    def _file_links(self, text: str, facts: DatasetFacts, row: dict[str, Any] | None) -> list[Link]:
        image = facts.storage_class in _IMAGES
        media_type = file_media_type(facts.path)
        links = [
            Link(
                text,
                "#this",
                f"The whole {facts.dataset_type}",
                access_url=self._signed(f"/api/datalink/file/{quote(facts.id.release)}/{facts.id.uuid}"),
                content_type=media_type,
                content_length=facts.size,
                content_qualifier="#image" if image else None,
                local_semantics=facts.dataset_type,
                link_auth="false",
                link_authorized=True,
            )
        ]
        if facts.storage_class not in _IMAGES - {"RawImage"} or row is None or row["s_region"] is None:
            return links
        links.append(
            Link(
                text,
                "#preview-image",
                "A small picture",
                access_url=self._signed(f"/api/cutout/preview/{quote(facts.id.release)}/{facts.id.uuid}"),
                content_type="image/png",
                content_qualifier="#image",
                link_auth="false",
                link_authorized=True,
            )
        )
        links += _cutout_links(text, facts.storage_class, row)
        return links

    def _table_links(self, text: str, identity: Identity, facts: DatasetFacts) -> list[Link]:
        """Return links to the rows that were measured on an image."""
        catalog: Catalog = self._tap.catalog_for(identity)
        links = []
        for name, *columns in _TABLES_MADE_OF.get(facts.dataset_type, ()):
            table = catalog.find_table(f"{facts.id.release}.{name}")
            have = {c.name for c in table.columns} if table is not None else set()
            if table is None or not set(columns) <= have or not set(columns) <= set(facts.data_id):
                continue
            terms = [f"{c} = {facts.data_id[c]}" for c in columns]
            if "band" in have and facts.dataset_type == "deep_coadd":
                terms.append(f"band = {adql_text(str(facts.data_id['band']))}")
            query = f"SELECT * FROM {table.full_name} WHERE {' AND '.join(terms)}"
            links.append(
                Link(
                    text,
                    "#derivation",
                    f"Rows of {table.full_name} that were measured on it",
                    access_url=f"{self._url}/api/tap/sync?{urlencode({'LANG': 'ADQL', 'QUERY': query})}",
                    content_type=_VOTABLE,
                    content_qualifier="#measurements",
                    local_semantics=name,
                    link_auth="true",
                    link_authorized="read:tap" in identity.scopes,
                )
            )
        return links

    def _page_links(self, text: str, facts: DatasetFacts, row: dict[str, Any] | None) -> list[Link]:
        page = None
        if row is not None:
            page = f"/portal/app/images?release={quote(facts.id.release)}&id={facts.id.uuid}"
        return link_pages(text, self._url, page, "The image in the portal")

    def make_timeseries_query(
        self, identity: Identity, text: str, bands: Sequence[str], table: str | None = None
    ) -> str:
        """Return the ADQL query for the light curve of an object.

        Parameters
        ----------
        identity
            The caller.
        text
            Identifier of a row of Object or DiaObject.
        bands
            Bands wanted; all if there are none.
        table
            ``RELEASE.TABLE``, if the identifier is a number of its rows.

        Returns
        -------
        str
            The query.

        Raises
        ------
        NotFoundError
            If the caller has no such table.
        UsageError
            If the identifier names nothing that has a light curve.
        """
        wanted = parse_link_id(text, table)
        if isinstance(wanted, DatasetId):
            raise UsageError(f"ID {text[:100]!r} names an image; objects have light curves")
        return self._rows.make_timeseries_query(identity, wanted, bands)

    def _signed(self, path: str) -> str:
        return f"{self._url}{path}?{self._signer.sign(path, self._seconds)}"

    def check_link(self, path: str, expires: int, signature: str) -> bool:
        """Tell whether a signed link is good."""
        return self._signer.check(path, expires, signature)


def _limits(text: str, row: Mapping[str, Any]) -> dict[str, str]:
    """Return the largest values that make sense for the parameters of a cut-out."""
    values = {
        "ID": text,
        "CIRCLE": f"{row['s_ra']!r} {row['s_dec']!r} {row['s_fov'] / 2!r}",
        "POLYGON": " ".join(w for w in row["s_region"].split() if w[0] in "+-.0123456789"),
    }
    for name, low, high in (("BAND", "em_min", "em_max"), ("TIME", "t_min", "t_max")):
        if row[low] is not None and row[high] is not None:
            values[name] = f"{row[low]!r} {row[high]!r}"
    return values
