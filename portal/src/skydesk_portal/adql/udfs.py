"""The user-defined functions as ``capabilities`` declares them: signature and meaning."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

__all__ = ["UDFS", "declared_arguments"]

_D = "DOUBLE PRECISION"


def _declare(name: str, arguments: str, meaning: str, gives: str = _D) -> tuple[str, tuple[str, str]]:
    # Arguments are numbers unless their type is given behind a colon.
    parts = [part.partition(":") for part in arguments.split()]
    words = ", ".join(f"{part} {kind or _D}" for part, _, kind in parts)
    return name, (f"{name}({words}) -> {gives}", meaning)


UDFS: Mapping[str, tuple[str, str]] = dict(
    [
        _declare(
            "scisql_nanojanskyToAbMag",
            "flux",
            "AB magnitude of a flux in nJy; null unless the flux is positive.",
        ),
        _declare(
            "scisql_nanojanskyToAbMagSigma", "flux fluxErr", "Error of the AB magnitude of a flux in nJy."
        ),
        _declare("scisql_abMagToNanojansky", "mag", "Flux in nJy of an AB magnitude."),
        _declare(
            "scisql_abMagToNanojanskySigma", "mag magErr", "Error in nJy of the flux of an AB magnitude."
        ),
        _declare("scisql_fluxToAbMag", "flux", "AB magnitude of a flux in erg/cm2/s/Hz."),
        _declare(
            "scisql_fluxToAbMagSigma", "flux fluxErr", "Error of the AB magnitude of a flux in erg/cm2/s/Hz."
        ),
        _declare("scisql_abMagToFlux", "mag", "Flux in erg/cm2/s/Hz of an AB magnitude."),
        _declare(
            "scisql_abMagToFluxSigma", "mag magErr", "Error in erg/cm2/s/Hz of the flux of an AB magnitude."
        ),
        _declare(
            "scisql_dnToAbMag",
            "dn fluxMag0",
            "AB magnitude of counts, given the counts of a source of magnitude 0.",
        ),
        _declare(
            "scisql_dnToAbMagSigma", "dn dnErr fluxMag0 fluxMag0Err", "Error of the AB magnitude of counts."
        ),
        _declare("scisql_dnToFlux", "dn fluxMag0", "Flux in erg/cm2/s/Hz of counts."),
        _declare(
            "scisql_dnToFluxSigma",
            "dn dnErr fluxMag0 fluxMag0Err",
            "Error in erg/cm2/s/Hz of the flux of counts.",
        ),
        _declare("scisql_fluxToDn", "flux fluxMag0", "Counts of a flux in erg/cm2/s/Hz."),
        _declare(
            "scisql_fluxToDnSigma",
            "flux fluxErr fluxMag0 fluxMag0Err",
            "Error of the counts of a flux in erg/cm2/s/Hz.",
        ),
        _declare("scisql_abMagToDn", "mag fluxMag0", "Counts of an AB magnitude."),
        _declare(
            "scisql_abMagToDnSigma",
            "mag magErr fluxMag0 fluxMag0Err",
            "Error of the counts of an AB magnitude.",
        ),
        _declare(
            "scisql_angSep",
            "ra1 dec1 ra2 dec2",
            "Angle between two positions, in degrees; with six arguments between two vectors x, y, z.",
        ),
        _declare(
            "scisql_s2PtInCircle",
            "ra dec centerRa centerDec radius",
            "1 if a position lies in a circle; all in degrees. The spatial index is used.",
            "INTEGER",
        ),
        _declare(
            "scisql_s2PtInBox",
            "ra dec raMin decMin raMax decMax",
            "1 if a position lies between two meridians and two parallels; all in degrees.",
            "INTEGER",
        ),
        _declare(
            "scisql_s2PtInCPoly",
            "ra dec ra1 dec1 ra2 dec2 ra3 dec3",
            "1 if a position lies in a polygon of any number of corners; all in degrees.",
            "INTEGER",
        ),
        _declare(
            "scisql_s2PtInEllipse",
            "ra dec centerRa centerDec semiMajorAxis semiMinorAxis positionAngle",
            "1 if a position lies in an ellipse; axes in arcseconds, angle in degrees from north through east.",
            "INTEGER",
        ),
        _declare("scisql_median", "value", "Median of a group."),
        _declare(
            "scisql_percentile",
            "value percent",
            "Percentile of a group, interpolated; percent from 0 to 100.",
        ),
        _declare(
            "ivo_healpix_index",
            "hpxOrder:INTEGER ra dec",
            "Index of the HEALPix cell (NESTED) of a position at an order; a POINT may stand for ra, dec.",
            "BIGINT",
        ),
        _declare(
            "ivo_healpix_center",
            "hpxOrder:INTEGER hpxIndex:BIGINT",
            "Centre of a HEALPix cell (NESTED).",
            "POINT",
        ),
        _declare(
            "ivo_epoch_prop_pos",
            "ra dec pmra pmdec refEpoch outEpoch",
            "Position at another epoch (years), moved along a great circle; proper motions in mas/yr, pmra with cos(dec).",
            "POINT",
        ),
        _declare(
            "MOC",
            "cells:VARCHAR",
            "Region of the HEALPix cells (NESTED, ICRS) of a coverage map in the ASCII form of MOC 2.0, such as '6/1-5 7/32'.",
            "REGION",
        ),
        _declare("ivo_to_jd", "time:TIMESTAMP", "Julian date of a time."),
        _declare("ivo_to_mjd", "time:TIMESTAMP", "Modified Julian date of a time."),
        _declare(
            "ivo_hasword",
            "haystack:VARCHAR needle:VARCHAR",
            "1 if all words of the needle occur in the text, compared without case.",
            "INTEGER",
        ),
        _declare(
            "ivo_hashlist_has",
            "hashlist:VARCHAR item:VARCHAR",
            "1 if a list joined by # contains the item, compared without case.",
            "INTEGER",
        ),
        _declare(
            "ivo_nocasematch",
            "value:VARCHAR pattern:VARCHAR",
            "1 if the value matches the LIKE pattern, compared without case.",
            "INTEGER",
        ),
        _declare(
            "ivo_interval_overlaps",
            "low1 high1 low2 high2",
            "1 if two intervals overlap or touch.",
            "INTEGER",
        ),
        _declare(
            "ivo_string_agg",
            "expression:VARCHAR delimiter:VARCHAR",
            "The values of a group joined by the delimiter.",
            "VARCHAR",
        ),
        _declare("ivo_normal_random", "mu sigma", "A random number of a normal distribution."),
    ]
)
"""User-defined functions: signature and meaning by name."""

_LETTERS = {"VARCHAR": "s", "TIMESTAMP": "t", "INTEGER": "i", "BIGINT": "i"}


def declared_arguments() -> Iterator[tuple[str, str, str]]:
    """Go through the declared functions.

    Yields
    ------
    tuple of str
        Name in upper case, a letter for each argument (``n`` number, ``i`` integer,
        ``s`` string, ``t`` time), and the type of the result.
    """
    for name, (form, _) in UDFS.items():
        arguments, gives = re.fullmatch(r"\w+\((.*)\) -> (.+)", form).groups()  # type: ignore[union-attr]
        kinds = (argument.split(" ", 1)[1] for argument in arguments.split(", "))
        yield name.upper(), "".join(_LETTERS.get(kind, "n") for kind in kinds), gives
