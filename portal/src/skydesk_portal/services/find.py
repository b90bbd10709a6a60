"""The search box: from what was typed to the pages that show it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from skydesk_portal.exceptions import PortalError, UpstreamError
from skydesk_portal.models.find import Meaning, Sense, parse_find
from skydesk_portal.models.identity import Identity
from skydesk_portal.models.sia import adql_text
from skydesk_portal.services.find_names import NameResolver

if TYPE_CHECKING:
    from skydesk_portal.models.tables import Catalog, TableInfo
    from skydesk_portal.pipeline.releases import ReleaseStore
    from skydesk_portal.services.tap import TapService

__all__ = ["FindService", "Findings", "Place"]

_KINDS = ("visit_image", "difference_image", "raw", "deep_coadd", "template_coadd")
_BANDS = "rigzyu"
_MOST_PLACES = 50
_IMAGE_COLUMNS = (
    "obs_collection, dataset_id, dataset_type, lsst_visit, lsst_detector, lsst_tract, lsst_patch, lsst_band"
)
_NAME_COLUMNS = ("designation", "mpcDesignation", "fullDesignation", "unpacked_primary_provisional_designation",
                 "packed_primary_provisional_designation", "unpackedPrimaryProvisionalDesignation",
                 "packedPrimaryProvisionalDesignation", "iau_name", "iauName", "name")  # fmt: skip


@dataclass(frozen=True)
class Place:
    """A page that shows what was looked for.

    Parameters
    ----------
    title
        What it is.
    detail
        Where it is, for a choice among several.
    page
        Name of the page, without slash.
    fields
        Fields of its address.
    """

    title: str
    detail: str
    page: str
    fields: tuple[tuple[str, str], ...]


@dataclass
class Findings:
    """What a search gave.

    Parameters
    ----------
    places
        The likeliest first.
    remarks
        Sentences about what could not be looked up or is not there.
    """

    places: list[Place] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def _kind_rank(kind: str) -> int:
    return _KINDS.index(kind) if kind in _KINDS else len(_KINDS)


def _at(ra_deg: float, dec_deg: float) -> str:
    return f"RA {ra_deg:.5f}°, Dec {dec_deg:.5f}°"


class FindService:
    """Looks up what people type into the search box.

    Parameters
    ----------
    releases
        The releases.
    queries
        Runs the look-ups as the caller.
    names
        Asks for names of objects; None looks no names up.
    """

    def __init__(self, releases: ReleaseStore, queries: TapService, names: NameResolver | None) -> None:
        self._releases = releases
        self._queries = queries
        self._names = names
        self._finders: dict[Sense, Callable[[_Search, Meaning], None]] = {
            Sense.POSITION: _Search.add_position,
            Sense.OBJECT: _Search.add_object,
            Sense.DIA_OBJECT: _Search.add_dia_object,
            Sense.SOURCE: _Search.add_source,
            Sense.DIA_SOURCE: _Search.add_dia_source,
            Sense.VISIT: _Search.add_visit,
            Sense.PATCH: _Search.add_patch,
            Sense.MOVER: _Search.add_mover,
            Sense.NAME: self._add_name,
        }

    def find(self, identity: Identity, text: str, release: str | None = None) -> Findings:
        """Look something up in every release that the caller sees.

        Parameters
        ----------
        identity
            The caller.
        text
            What was typed, see `parse_find`.
        release
            Name of a release whose places come first, and alone where it has some.

        Returns
        -------
        Findings
            Pages that show it, and remarks.

        Raises
        ------
        UsageError
            If the text is nothing that can be looked up.
        """
        meanings = parse_find(text)
        names = [r.name for r in self._releases.list_visible(identity)]
        search = _Search(self._queries, identity, names)
        for meaning in meanings:
            try:
                self._finders[meaning.sense](search, meaning)
            except UpstreamError as error:
                search.found.remarks.append(f"Names of objects cannot be looked up now: {error}.")
            except PortalError as error:
                # One table that cannot be read must not hide what others have.
                search.found.remarks.append(f"The search for a {meaning.sense} failed: {error}.")
        found = search.found
        preferred = [place for place in found.places if ("release", release) in place.fields]
        found.places = (preferred or found.places)[:_MOST_PLACES]
        if not found.places and not found.remarks:
            found.remarks.append(self._nothing(text.strip(), meanings, names))
        return found

    def _nothing(self, text: str, meanings: list[Meaning], names: list[str]) -> str:
        if not names:
            return "There is no release yet in which something could be found."
        where = f"release {names[0]}" if len(names) == 1 else f"any of {len(names)} releases"
        if meanings[-1].sense is Sense.NAME:
            return f"Neither the name service nor {where} knows {text!r}."
        kinds = ", ".join(dict.fromkeys(str(m.sense) for m in meanings))
        return f"Nothing in {where} has the identifier {text!r} (looked for: {kinds})."

    def _add_name(self, search: _Search, meaning: Meaning) -> None:
        if search.found.places:
            return
        if self._names is None:
            search.found.remarks.append(
                f"{meaning.text!r} is neither a position nor an identifier, and this platform looks up no names of "
                "objects: whoever runs it can set portal.name_resolver."
            )
            return
        found = self._names.find(meaning.text)
        if found is not None:
            position = (found.ra_deg, found.dec_deg)
            search.add_position(Meaning(Sense.POSITION, position=position, text=found.title))


class _Search:
    """One search of one person."""

    def __init__(self, queries: TapService, identity: Identity, releases: list[str]) -> None:
        self._queries, self._identity, self._releases = queries, identity, releases
        self._catalog: Catalog = queries.catalog_for(identity)
        self.found = Findings()

    def _rows(self, adql: str) -> list[dict[str, Any]]:
        return self._queries.run_query(self._identity, adql, maxrec=1000).table.to_pylist()

    def _tables(self, name: str, *columns: str) -> Iterator[tuple[str, TableInfo]]:
        """Go through the releases that have a table with some columns."""
        for release in self._releases:
            table = self._catalog.find_table(f"{release}.{name}")
            if table is not None and {c.name for c in table.columns}.issuperset(columns):
                yield release, table

    def _images(self, condition: str) -> list[dict[str, Any]]:
        if self._catalog.find_table("ivoa.ObsCore") is None:
            return []
        rows = self._rows(f"SELECT {_IMAGE_COLUMNS} FROM ivoa.ObsCore WHERE {condition}")
        mine = [row for row in rows if row["obs_collection"] in self._releases]
        return sorted(
            mine, key=lambda row: (_kind_rank(row["dataset_type"]), _BANDS.find(row["lsst_band"] or "?") % 7)
        )

    def _add(self, title: str, detail: str, page: str, **fields: object) -> None:
        chosen = tuple((name, str(value)) for name, value in fields.items() if value is not None)
        place = Place(title, detail, page, chosen)
        if place not in self.found.places:
            self.found.places.append(place)

    def add_position(self, meaning: Meaning) -> None:
        assert meaning.position is not None, "the meaning is a position"
        ra_deg, dec_deg = meaning.position
        point = f"POINT('ICRS', {ra_deg!r}, {dec_deg!r})"
        columns = "obs_collection, COUNT(*) AS images"
        rows = []
        if self._catalog.find_table("ivoa.ObsCore") is not None:
            rows = self._rows(
                f"SELECT {columns} FROM ivoa.ObsCore WHERE CONTAINS({point}, s_region) = 1 GROUP BY obs_collection"
            )
        count = {row["obs_collection"]: row["images"] for row in rows}
        name = f"{meaning.text}, " if meaning.text else ""
        for release in self._releases:
            if release in count:
                detail = f"release {release}: {count[release]} images cover it"
                self._add(
                    f"{name}{_at(ra_deg, dec_deg)}",
                    detail,
                    "images",
                    release=release,
                    ra=f"{ra_deg:.8f}",
                    dec=f"{dec_deg:.8f}",
                )
        if not count:
            where = f"{name}{_at(ra_deg, dec_deg)}"
            self.found.remarks.append(f"No image of a release covers {where}.")

    def _add_rows(self, name: str, key: str, number: int, title: str, key_of_page: str) -> None:
        for release, table in self._tables(name, key):
            columns = [c for c in (table.ra_column, table.dec_column) if c]
            query = f"SELECT {', '.join([key, *columns])} FROM {release}.{name} WHERE {key} = {number}"
            for row in self._rows(query)[:1]:
                placed = len(columns) == 2 and None not in row.values()
                where = f", {_at(row[columns[0]], row[columns[1]])}" if placed else ""
                fields = {"release": release, key_of_page: number}
                self._add(f"{title} {number}", f"release {release}{where}", "lightcurves", **fields)

    def add_object(self, meaning: Meaning) -> None:
        self._add_rows("Object", "objectId", meaning.numbers[0], "Object", "object")

    def add_dia_object(self, meaning: Meaning) -> None:
        self._add_rows("DiaObject", "diaObjectId", meaning.numbers[0], "DIA object", "diaobject")

    def add_source(self, meaning: Meaning) -> None:
        for release, table in self._tables("Source", "sourceId", "visit", "detector"):
            ra, dec = table.ra_column or "ra", table.dec_column or "dec"
            number = meaning.numbers[0]
            columns = f"visit, detector, {ra} AS lon, {dec} AS lat"
            for row in self._rows(f"SELECT {columns} FROM {release}.Source WHERE sourceId = {number}"):
                fields = {
                    "visit": row["visit"],
                    "detector": row["detector"],
                    "ra": row["lon"],
                    "dec": row["lat"],
                }
                where = f"release {release}, visit {row['visit']}, detector {row['detector']}"
                self._add(f"Source {number}", where, "images", release=release, **fields, src="Source")

    def add_dia_source(self, meaning: Meaning) -> None:
        for release, _table in self._tables("DiaSource", "diaSourceId", "visit", "detector"):
            number = meaning.numbers[0]
            for row in self._rows(
                f"SELECT visit, detector FROM {release}.DiaSource WHERE diaSourceId = {number}"
            ):
                where = f"release {release}, visit {row['visit']}, detector {row['detector']}"
                self._add(f"Alert and DIA source {number}", where, "alerts", release=release, id=number)

    def add_visit(self, meaning: Meaning) -> None:
        visit, *rest = meaning.numbers
        condition = f"lsst_visit = {visit}" + (f" AND lsst_detector = {rest[0]}" if rest else "")
        seen: set[str] = set()
        for row in self._images(condition):
            release = row["obs_collection"]
            if release in seen:
                continue
            seen.add(release)
            detector = rest[0] if rest else row["lsst_detector"]
            title = f"Visit {visit}" + (f", detector {detector}" if rest else "")
            self._add(
                title, f"release {release}, band {row['lsst_band']}", "images",
                release=release, visit=visit, detector=detector, kind=row["dataset_type"],
            )  # fmt: skip

    def add_patch(self, meaning: Meaning) -> None:
        tract, *rest = meaning.numbers
        condition = f"lsst_tract = {tract}" + (f" AND lsst_patch = {rest[0]}" if rest else "")
        seen: set[tuple[str, int]] = set()
        for row in self._images(condition):
            key = row["obs_collection"], row["lsst_patch"]
            if key in seen:
                continue
            seen.add(key)
            where = f"release {row['obs_collection']}, {row['dataset_type']} in {row['lsst_band']}"
            fields = {"release": row["obs_collection"], "id": row["dataset_id"]}
            self._add(f"Tract {tract}, patch {row['lsst_patch']}", where, "images", **fields)

    def add_mover(self, meaning: Meaning) -> None:
        seen: set[tuple[str, int]] = set()
        for name in ("SSObject", "MPCORB", "mpc_orbits"):
            for release, table in self._tables(name, "ssObjectId"):
                texts = [c.name for c in table.columns if c.name in _NAME_COLUMNS]
                conditions = [f"ssObjectId = {meaning.numbers[0]}"] if meaning.numbers else []
                if meaning.text:
                    word = adql_text(meaning.text.lower())
                    # The packed form of a designation has no spaces.
                    packed = adql_text(meaning.text.lower().replace(" ", ""))
                    conditions = [f"LOWER({c}) IN ({word}, {packed})" for c in texts]
                if not conditions:
                    continue
                known = "designation" if "designation" in texts else "ssObjectId"
                query = (
                    f"SELECT DISTINCT ssObjectId, {known} AS label FROM {release}.{name} "
                    f"WHERE {' OR '.join(conditions)}"
                )
                for row in self._rows(query):
                    if row["ssObjectId"] is None:
                        self._tell_unseen(release, meaning.text)
                        continue
                    key = release, int(row["ssObjectId"])
                    if key not in seen:
                        seen.add(key)
                        self._add_moving(*key, meaning.text or str(row["label"]))

    def _tell_unseen(self, release: str, name: str) -> None:
        self.found.remarks.append(f"The orbit of {name} is known, but release {release} has not observed it.")

    def _add_moving(self, release: str, number: int, name: str) -> None:
        title = f"Moving object {name or number}"
        for table in ("SSSource", "DiaSource"):
            info = self._catalog.find_table(f"{release}.{table}")
            names = {c.name for c in info.columns} if info is not None else set()
            if "ssObjectId" not in names:
                continue
            if table == "SSSource" and {"phaseAngle", "diaSourceId"} <= names:
                detail = f"release {release}, its light curve and phase curve"
                self._add(title, detail, "lightcurves", release=release, ssobject=number)
            query = f"SELECT * FROM {release}.{table} WHERE ssObjectId = {number}"
            self._add(title, f"release {release}, its detections in {table}", "catalogs", query=query)
            return
