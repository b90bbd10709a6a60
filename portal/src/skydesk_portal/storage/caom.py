"""The Common Archive Observation Model as views over the image list: observations, planes, artifacts (CAOM 2.4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from skydesk_portal.models.tables import ColumnInfo, ForeignKey, SchemaInfo, TableInfo

__all__ = ["provide_caom"]

_LIGHT_M_S = 299792458


class _Engine(Protocol):
    """What keeps views."""

    def provide_view(self, schema: str, name: str, sql: str) -> None:
        """Keep a view."""
        ...


_OBSERVATION_URI = "'caom:' || o.obs_collection || '/' || o.obs_id"
_PLANE_URI = f"{_OBSERVATION_URI} || '/' || o.dataset_type"
_OBSERVATION_ID = f"CAST(CAST(md5({_OBSERVATION_URI}) AS UUID) AS VARCHAR)"
_CALIBRATION = "o.dataset_type IN ('bias', 'dark', 'flat')"
_NULLS = {"char": "VARCHAR", "double": "DOUBLE", "int": "INTEGER", "long": "BIGINT"}

# Name, datatype, unit, xtype, what it is, and the SQL of its value ('' where nothing is known).
type _Row = tuple[str, str, str, str, str, str]

_OBSERVATION: tuple[_Row, ...] = (
    ("observationURI", "char", "", "uri", "unique URI of the observation", f"min({_OBSERVATION_URI})"),
    ("obsID", "char", "", "uuid", "unique identifier of the observation", f"min({_OBSERVATION_ID})"),
    ("collection", "char", "", "", "collection (release) of the observation", "o.obs_collection"),
    ("observationID", "char", "", "", "identifier within the collection", "o.obs_id"),
    (
        "algorithm_name",
        "char",
        "",
        "",
        "exposure for one exposure, coadd or combination for several",
        "CASE WHEN bool_or(o.lsst_visit IS NOT NULL) THEN 'exposure' "
        "WHEN bool_or(o.lsst_tract IS NOT NULL) THEN 'coadd' ELSE 'combination' END",
    ),
    (
        "type",
        "char",
        "",
        "",
        "kind of frame",
        f"CASE WHEN bool_or({_CALIBRATION}) THEN upper(min(o.dataset_type)) ELSE 'OBJECT' END",
    ),
    (
        "intent",
        "char",
        "",
        "",
        "science or calibration",
        f"CASE WHEN bool_or({_CALIBRATION}) THEN 'calibration' ELSE 'science' END",
    ),
    ("sequenceNumber", "int", "", "", "sequence number that the observatory gave", ""),
    ("metaRelease", "char", "", "timestamp", "when the metadata were released, UTC", "min(o.obs_release_date)"),
    ("proposal_id", "char", "", "", "observing programme", "min(o.proposal_id)"),
    ("proposal_pi", "char", "", "", "principal investigator", ""),
    ("proposal_project", "char", "", "", "project", ""),
    ("proposal_title", "char", "", "", "title of the programme", ""),
    ("proposal_keywords", "char", "", "", "keywords of the programme", ""),
    ("target_name", "char", "", "", "name of the target", "min(o.target_name)"),
    ("target_type", "char", "", "", "kind of target", ""),
    ("target_standard", "int", "", "", "whether the target is a standard", ""),
    ("target_redshift", "double", "", "", "redshift of the target", ""),
    ("target_moving", "int", "", "", "whether the target moves", ""),
    ("target_keywords", "char", "", "", "keywords of the target", ""),
    ("telescope_name", "char", "", "", "name of the telescope", "min(o.facility_name)"),
    ("telescope_geoLocationX", "double", "m", "", "x of the telescope, geocentric", ""),
    ("telescope_geoLocationY", "double", "m", "", "y of the telescope, geocentric", ""),
    ("telescope_geoLocationZ", "double", "m", "", "z of the telescope, geocentric", ""),
    ("telescope_keywords", "char", "", "", "keywords of the telescope", ""),
    ("requirements_flag", "char", "", "", "fail if the programme's requirements were not met", ""),
    ("instrument_name", "char", "", "", "name of the instrument", "min(o.instrument_name)"),
    ("instrument_keywords", "char", "", "", "keywords of the instrument", ""),
    (
        "environment_seeing",
        "double",
        "arcsec",
        "",
        "width of the PSF of an exposure",
        "min(CASE WHEN o.lsst_visit IS NOT NULL THEN o.s_resolution END)",
    ),
    ("environment_humidity", "double", "", "", "humidity", ""),
    ("environment_elevation", "double", "deg", "", "elevation above the horizon", ""),
    ("environment_tau", "double", "", "", "optical depth at the zenith", ""),
    ("environment_wavelengthTau", "double", "m", "", "wavelength of that depth", ""),
    ("environment_ambientTemp", "double", "deg_C", "", "temperature", ""),
    ("environment_photometric", "int", "", "", "whether the night was photometric", ""),
    (
        "members",
        "char",
        "",
        "",
        "URIs of the observations that a combined one was made of, separated by blanks",
        "string_agg(DISTINCT m.members, ' ') FILTER (WHERE o.lsst_visit IS NULL)",
    ),
    ("lastModified", "char", "", "timestamp", "when the row changed last, UTC", "max(o.obs_release_date)"),
    ("maxLastModified", "char", "", "timestamp", "when the observation changed last, UTC", "max(o.obs_release_date)"),
    ("metaChecksum", "char", "", "uri", "checksum of the row", ""),
    ("accMetaChecksum", "char", "", "uri", "checksum of the row and its planes", ""),
)  # fmt: skip

_PLANE: tuple[_Row, ...] = (
    ("planeURI", "char", "", "uri", "unique URI of the product", _PLANE_URI),
    ("publisherID", "char", "", "uri", "identifier by which DataLink and SODA know it", "o.obs_publisher_did"),
    ("obsID", "char", "", "uuid", "its observation", _OBSERVATION_ID),
    ("planeID", "char", "", "uuid", "unique identifier: that of the Butler dataset", "o.dataset_id"),
    ("productID", "char", "", "", "name of the product: its Butler dataset type", "o.dataset_type"),
    ("metaRelease", "char", "", "timestamp", "when the metadata were released, UTC", "o.obs_release_date"),
    ("dataRelease", "char", "", "timestamp", "when the data were released, UTC", "o.obs_release_date"),
    ("dataProductType", "char", "", "", "type of data product (ObsCore)", "o.dataproduct_type"),
    ("calibrationLevel", "int", "", "", "calibration level (ObsCore)", "o.calib_level"),
    (
        "provenance_name",
        "char",
        "",
        "",
        "what made it",
        "CASE WHEN o.dataset_type = 'raw' THEN NULL ELSE 'skydesk' END",
    ),
    ("provenance_version", "char", "", "", "version of what made it", ""),
    ("provenance_reference", "char", "", "", "reference to what made it", ""),
    ("provenance_producer", "char", "", "", "who made it", ""),
    ("provenance_project", "char", "", "", "project that made it", ""),
    ("provenance_runID", "char", "", "", "run that made it", ""),
    ("provenance_lastExecuted", "char", "", "timestamp", "when it was made", ""),
    ("provenance_keywords", "char", "", "", "keywords", ""),
    ("provenance_inputs", "char", "", "", "URIs of the planes it was made of, separated by blanks", "m.inputs"),
    ("metrics_sourceNumberDensity", "double", "deg-2", "", "density of sources", ""),
    ("metrics_background", "double", "", "", "background", ""),
    ("metrics_backgroundStddev", "double", "", "", "scatter of the background", ""),
    ("metrics_fluxDensityLimit", "double", "Jy", "", "flux density of S/N 5", ""),
    ("metrics_magLimit", "double", "mag", "", "magnitude of S/N 5", ""),
    ("quality_flag", "char", "", "", "junk if it is", ""),
    ("position_bounds", "char", "", "adql:REGION", "outline on the sky", "o.s_region"),
    ("position_bounds_size", "double", "deg", "", "diameter of the circle around it", "o.s_fov"),
    ("position_resolution", "double", "arcsec", "", "width of the PSF", "o.s_resolution"),
    ("position_sampleSize", "double", "arcsec", "", "size of a pixel", "o.s_pixel_scale"),
    ("position_dimension_naxis1", "long", "", "", "pixels along x", "o.s_xel1"),
    ("position_dimension_naxis2", "long", "", "", "pixels along y", "o.s_xel2"),
    ("position_timeDependent", "int", "", "", "1 if the position depends on time", "0"),
    (
        "energy_emBand",
        "char",
        "",
        "",
        "part of the spectrum",
        "CASE WHEN o.em_min IS NULL THEN NULL WHEN o.em_max <= 3e-7 THEN 'UV' WHEN o.em_min >= 1e-6 THEN 'Infrared' "
        "ELSE 'Optical' END",
    ),
    ("energy_bounds_lower", "double", "m", "", "shortest wavelength", "o.em_min"),
    ("energy_bounds_upper", "double", "m", "", "longest wavelength", "o.em_max"),
    ("energy_bounds_width", "double", "m", "", "width of the band", "o.em_max - o.em_min"),
    ("energy_bounds_integrated", "double", "m", "", "width without gaps", "o.em_max - o.em_min"),
    ("energy_dimension", "long", "", "", "bins along the spectrum", "o.em_xel"),
    ("energy_resolvingPower", "double", "", "", "resolving power", "o.em_res_power"),
    ("energy_sampleSize", "double", "m", "", "width of a bin", "o.em_max - o.em_min"),
    ("energy_bandpassName", "char", "", "", "name of the filter", "coalesce(o.lsst_filter, o.lsst_band)"),
    ("energy_transition_species", "char", "", "", "atom or molecule", ""),
    ("energy_transition_transition", "char", "", "", "transition", ""),
    (
        "energy_freqWidth",
        "double",
        "Hz",
        "",
        "width of the band in frequency",
        f"{_LIGHT_M_S} / o.em_min - {_LIGHT_M_S} / o.em_max",
    ),
    (
        "energy_freqSampleSize",
        "double",
        "Hz",
        "",
        "width of a bin in frequency",
        f"{_LIGHT_M_S} / o.em_min - {_LIGHT_M_S} / o.em_max",
    ),
    ("energy_restwav", "double", "m", "", "rest wavelength of the feature", ""),
    ("time_bounds_lower", "double", "d", "", "begin, MJD", "o.t_min"),
    ("time_bounds_upper", "double", "d", "", "end, MJD", "o.t_max"),
    ("time_bounds_width", "double", "d", "", "time from begin to end", "o.t_max - o.t_min"),
    ("time_bounds_integrated", "double", "d", "", "time without gaps", "o.t_exptime / 86400"),
    ("time_dimension", "long", "", "", "bins in time", "o.t_xel"),
    ("time_resolution", "double", "d", "", "resolution in time", "o.t_resolution / 86400"),
    ("time_sampleSize", "double", "d", "", "width of a bin", "o.t_max - o.t_min"),
    ("time_exposure", "double", "s", "", "exposure time of a pixel (median)", "o.t_exptime"),
    ("polarization_states", "char", "", "", "polarisation states", "o.pol_states"),
    ("polarization_dimension", "long", "", "", "number of them", "o.pol_xel"),
    ("lastModified", "char", "", "timestamp", "when the row changed last, UTC", "o.obs_release_date"),
    ("metaChecksum", "char", "", "uri", "checksum of the row", ""),
    ("accMetaChecksum", "char", "", "uri", "checksum of the row and its artifacts", ""),
)  # fmt: skip

_ARTIFACT: tuple[_Row, ...] = (
    ("planeID", "char", "", "uuid", "its plane", "o.dataset_id"),
    (
        "artifactID",
        "char",
        "",
        "uuid",
        "unique identifier of the file",
        "CAST(CAST(md5('file ' || o.dataset_id) AS UUID) AS VARCHAR)",
    ),
    ("uri", "char", "", "uri", "name that the Butler has for it", "'butler://' || o.obs_collection || '/' || o.dataset_id"),
    (
        "productType",
        "char",
        "",
        "",
        "science or calibration",
        f"CASE WHEN {_CALIBRATION} THEN 'calibration' ELSE 'science' END",
    ),
    ("releaseType", "char", "", "", "data or meta", "'data'"),
    ("contentType", "char", "", "", "media type of the file", "'application/fits'"),
    ("contentLength", "long", "byte", "", "estimated size of the file", "o.access_estsize * 1024"),
    ("contentChecksum", "char", "", "uri", "checksum of the file", ""),
    ("accessURL", "char", "", "", "address of its links (DataLink)", "o.access_url"),
    ("lastModified", "char", "", "timestamp", "when the row changed last, UTC", "o.obs_release_date"),
    ("metaChecksum", "char", "", "uri", "checksum of the row", ""),
    ("accMetaChecksum", "char", "", "uri", "checksum of the row and its parts", ""),
)  # fmt: skip

_LATER = {"obs_release_date": "TIMESTAMP", "s_pixel_scale": "DOUBLE", "proposal_id": "VARCHAR"}
"""Columns that image lists of releases made by earlier versions lack."""
_NO_UTYPE = frozenset({"accessURL"})
_UTYPES = {
    "observationURI": "uri",
    "obsID": "id",
    "planeURI": "uri",
    "planeID": "id",
    "artifactID": "id",
}
_PRINCIPAL = frozenset(
    {
        "observationURI", "collection", "observationID", "type", "target_name", "telescope_name", "instrument_name",
        "planeURI", "publisherID", "productID", "dataProductType", "calibrationLevel", "uri", "productType",
        "contentType", "contentLength", "lastModified",
    }
)  # fmt: skip
_KINDS: dict[str, tuple[str, tuple[_Row, ...], str]] = {
    "Observation": ("Observations: exposures, and what was combined of several", _OBSERVATION, ""),
    "Plane": ("Data products of observations", _PLANE, "obsID"),
    "Artifact": ("Files of data products", _ARTIFACT, "planeID"),
}
_TARGETS = {"obsID": "caom2.Observation", "planeID": "caom2.Plane"}


def _column(table: str, row: _Row, parent: str) -> ColumnInfo:
    name, datatype, unit, xtype, description, _ = row
    utype = (
        ""
        if name == parent or name in _NO_UTYPE
        else f"caom2:{table}.{_UTYPES.get(name, name.replace('_', '.'))}"
    )
    return ColumnInfo(
        name,
        datatype,
        "*" if datatype == "char" else None,
        xtype,
        unit,
        "",
        utype,
        description[0].upper() + description[1:],
        principal=name in _PRINCIPAL,
        std=True,
    )


def _value(row: _Row) -> str:
    name, datatype, _, xtype, _, sql = row
    kind = "TIMESTAMP" if xtype == "timestamp" else _NULLS[datatype]
    return f'CAST({sql or "NULL"} AS {kind}) AS "{name}"'


def provide_caom(
    engine: _Engine, obscore: TableInfo, provenances: Sequence[Sequence[str]], key: str
) -> SchemaInfo:
    """Keep the views of CAOM over an image list.

    Parameters
    ----------
    engine
        Keeps them.
    obscore
        The image list of all releases.
    provenances
        Names of the releases' tables of what images were made of.
    key
        Tells apart the views of different callers.

    Returns
    -------
    SchemaInfo
        The schema ``caom2``. Columns for which nothing is known are there and
        NULL, so that queries written for other archives run; columns that are
        arrays of samples are left out.
    """

    def quoted(names: Sequence[str]) -> str:
        return ".".join('"' + name.replace('"', '""') + '"' for name in names)

    have = {column.name for column in obscore.columns}
    lacking = "".join(
        f", CAST(NULL AS {kind}) AS {name}" for name, kind in _LATER.items() if name not in have
    )
    images = f"(SELECT *{lacking} FROM {quoted(obscore.source)})"
    pairs = " UNION ALL ".join(f"SELECT dataset_id, input_id FROM {quoted(p)}" for p in provenances)
    made_of = (
        f"SELECT p.dataset_id, string_agg({_PLANE_URI}, ' ' ORDER BY o.obs_id, o.dataset_type) AS inputs, "
        f"string_agg(DISTINCT {_OBSERVATION_URI}, ' ') AS members "
        f"FROM ({pairs}) AS p JOIN {images} AS o ON o.dataset_id = p.input_id GROUP BY p.dataset_id"
        if provenances
        else "SELECT CAST(NULL AS VARCHAR) AS dataset_id, CAST(NULL AS VARCHAR) AS inputs, CAST(NULL AS VARCHAR) AS members"
    )
    joined = f"{images} AS o LEFT JOIN ({made_of}) AS m ON m.dataset_id = o.dataset_id"
    schema = f"caom_{key}"
    tables = []
    for name, (description, rows, parent) in _KINDS.items():
        source = images + " AS o" if name == "Artifact" else joined
        grouped = " GROUP BY o.obs_collection, o.obs_id" if name == "Observation" else ""
        engine.provide_view(schema, name, f"SELECT {', '.join(map(_value, rows))} FROM {source}{grouped}")
        keys = (ForeignKey(_TARGETS[parent], ((parent, parent),)),) if parent else ()
        tables.append(
            TableInfo(
                "caom2",
                name,
                tuple(_column(name, row, parent) for row in rows),
                ("memory", schema, name),
                kind="view",
                description=description,
                utype=f"caom2:{name}",
                foreign_keys=keys,
            )
        )
    return SchemaInfo(
        "caom2", "Common Archive Observation Model 2.4: views over ivoa.ObsCore", "caom2", tuple(tables)
    )
