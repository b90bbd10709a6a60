"""The columns of ``ivoa.ObsCore`` as releases hold them."""

from __future__ import annotations

import functools

from skydesk_core.release.model import ColumnInfo, TableInfo
from skydesk_core.release.sdm import describe_column, load_schema

__all__ = ["load_obscore"]

# Rubin's schema leaves out two columns that ObsCore 1.1 makes mandatory and some optional ones that are known here;
# each list follows the named column.
_MORE: dict[str, tuple[ColumnInfo, ...]] = {
    "obs_publisher_did": (
        ColumnInfo(
            "obs_release_date",
            "char",
            "26*",
            ucd="time.release",
            utype="Curation.releaseDate",
            description="When the data were released, UTC",
            std=True,
            xtype="timestamp",
            sdm_datatype="timestamp",
        ),
    ),
    "access_format": (
        ColumnInfo(
            "access_estsize",
            "long",
            unit="kbyte",
            ucd="phys.size;meta.file",
            utype="obscore:access.size",
            description="Estimated size of the dataset",
            principal=True,
            std=True,
            sdm_datatype="long",
        ),
    ),
    "s_xel2": (
        ColumnInfo(
            "s_pixel_scale",
            "double",
            unit="arcsec",
            ucd="phys.angSize;instr.pixel",
            utype="Char.SpatialAxis.Sampling.RefVal.SamplingPeriod",
            description="Size of a pixel on the sky at the middle of the image",
            std=True,
            sdm_datatype="double",
        ),
    ),
    "pol_xel": (
        ColumnInfo(
            "pol_states",
            "char",
            "32*",
            ucd="meta.code;phys.polarization",
            utype="obscore:char.polarizationaxis.stateList",
            description="List of polarization states",
            principal=True,
            std=True,
            sdm_datatype="string",
        ),
    ),
    "instrument_name": (
        ColumnInfo(
            "proposal_id",
            "char",
            "64*",
            ucd="meta.id;obs.proposal",
            utype="Provenance.Proposal.identifier",
            description="Observing programme",
            std=True,
            sdm_datatype="string",
        ),
    ),
}
_BUTLER = (
    ColumnInfo(
        "dataset_id",
        "char",
        "36",
        ucd="meta.id",
        description="Butler dataset identifier (UUID)",
        indexed=True,
        sdm_datatype="string",
    ),
    ColumnInfo(
        "dataset_type",
        "char",
        "64*",
        ucd="meta.code",
        description="Butler dataset type",
        sdm_datatype="string",
    ),
)


@functools.cache
def load_obscore() -> TableInfo:
    """Describe ``ivoa.ObsCore`` with the two columns that point into the Butler.

    Returns
    -------
    TableInfo
        ObsCore 1.1 with Rubin's ``lsst_*`` extension, plus ``dataset_id`` and ``dataset_type``.
    """
    definition = load_schema("ivoa_obscore")["ObsCore"]
    columns: list[ColumnInfo] = []
    for column in map(describe_column, definition.columns):
        if column.name == "s_region":
            column = ColumnInfo(**{**column.__dict__, "xtype": "adql:REGION"})
        columns += (column, *_MORE.get(column.name, ()))
    return TableInfo(
        "ObsCore",
        " ".join((definition.description or "Observation metadata in the IVOA ObsCore 1.1 model").split()),
        (*columns, *_BUTLER),
        utype=definition.votable_utype,
        table_index=190,
        ra_column="s_ra",
        dec_column="s_dec",
    )
