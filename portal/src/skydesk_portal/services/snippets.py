"""Python that reproduces what a page shows; every value goes in as a literal, never as code."""

from __future__ import annotations

__all__ = ["image_cells", "light_curve_cells", "query_cells"]

_HEAD = "from skydesk_lab import client\n\nplatform = client.Platform()"


def image_cells(release: str, dataset_id: str) -> tuple[str, ...]:
    """Return cells that read an image of a release and show it.

    Parameters
    ----------
    release
        Name of the release.
    dataset_id
        Butler identifier (UUID).
    """
    read = (
        "import uuid\n\nfrom lsst.daf.butler import Butler\n\n"
        f"butler = Butler.from_config({_literal(release)})\n"
        f"ref = butler.get_dataset(uuid.UUID({_literal(dataset_id)}))\n"
        "image = butler.get(ref)\nimage"
    )
    show = f"view = client.ImageView({_literal(release)}, {_literal(dataset_id)})\nview"
    return ("from skydesk_lab import client", read, show)


def query_cells(adql: str) -> tuple[str, ...]:
    """Return cells that run a query and show its rows.

    Parameters
    ----------
    adql
        The query.
    """
    return (
        _HEAD,
        f"adql = {_literal(adql)}\nrows = platform.query(adql)\nrows",
    )


def light_curve_cells(release: str, kind: str, object_id: int, flux_kind: str) -> tuple[str, ...]:
    """Return cells that read a light curve and plot it.

    Parameters
    ----------
    release
        Name of the release.
    kind
        ``Object`` or ``DiaObject``.
    object_id
        Its identifier.
    flux_kind
        ``direct`` or ``difference``.
    """
    flux, error = ("diff_njy", "diff_err_njy") if flux_kind == "difference" else ("flux_njy", "flux_err_njy")
    read = (
        f"curve = platform.light_curve({int(object_id)}, release={_literal(release)}, "
        f"difference={kind == 'DiaObject'})\ncurve"
    )
    plot = (
        "import matplotlib.pyplot as plt\n\n"
        "fig, ax = plt.subplots(figsize=(9, 4))\n"
        'good = curve[~curve["flag"].astype(bool)]\n'
        'for band in sorted(set(good["band"]), key="ugrizy".find):\n'
        '    rows = good[good["band"] == band]\n'
        f'    ax.errorbar(rows["mjd"], rows["{flux}"], rows["{error}"], fmt="o", label=band)\n'
        'ax.set_xlabel("MJD (TAI)")\nax.set_ylabel("Flux density (nJy)")\nax.legend()'
    )
    return (_HEAD, read, plot)


def _literal(text: str) -> str:
    """Return a text as a Python literal; one of several lines stays readable."""
    plain = text.replace("\r\n", "\n")
    readable = plain.replace("\n", "").isprintable() and "\\" not in plain and '"""' not in plain
    if "\n" in plain and readable and not plain.endswith('"'):
        return f'"""{plain}"""'
    return repr(text)
