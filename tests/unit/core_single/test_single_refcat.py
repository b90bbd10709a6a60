"""Reference catalogs: reading files, errors that name the column, shards in a Butler."""

import numpy as np
import pytest
from astropy.table import Table, vstack

from skydesk_core.errors import DataError, UsageError
from skydesk_core.refcat import load_reference_table, read_reference_file
from skydesk_core.repo import create_repo, open_repo
from skydesk_core.tasks.references import join_reference_shards


def write(path, text):
    path.write_text(text)
    return path


def test_reads_positions_and_magnitudes(tmp_path):
    table = read_reference_file(write(tmp_path / "stars.csv", "ra,dec,mag\n10.5,-3.25,11.4\n359.9,5,12.0\n"))
    assert table.colnames == ["id", "coord_ra", "coord_dec", "epoch", "vt_flux"]
    assert table["vt_flux"][0] == pytest.approx(10 ** (0.4 * 20.0))
    assert str(table["vt_flux"].unit) == "nJy"


def test_reads_fluxes_and_motions(tmp_path):
    text = (
        "id,coord_ra,coord_dec,epoch,pm_ra,pm_dec,g_flux,g_fluxErr,r_mag\n7,1,2,51544.5,100,-50,1000,3,20\n"
    )
    table = read_reference_file(write(tmp_path / "stars.csv", text))
    assert table["id"][0] == 7
    assert {"pm_ra", "g_flux", "g_fluxErr", "r_flux"} <= set(table.colnames)
    stars = join_reference_shards([table], "g_flux", 51544.5 + 365.25 * 10)
    assert stars.dec_deg[0] == pytest.approx(2 - 0.5 / 3600, abs=1e-9)
    assert stars.ra_deg[0] == pytest.approx(1 + 1.0 / 3600 / np.cos(np.radians(2)), abs=1e-9)
    with pytest.raises(DataError, match="no column i_flux; it has g_flux, r_flux"):
        join_reference_shards([table], "i_flux", 51544.5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ra,mag\n1,2\n", "column dec is missing"),
        ("dec,mag\n1,2\n", "column ra is missing"),
        ("ra,dec,colour\n1,2,3\n", "column mag is missing"),
        ("ra,dec,mag\nx,2,3\n", "column ra is not numeric"),
        ("ra,dec,mag\n1,95,3\n", "column dec has values"),
        ("ra,dec,mag\n1,2,\n3,4,5\n", "column mag has 1 empty"),
        ("ra,dec,mag\n", "holds no stars"),
    ],
)
def test_bad_columns_are_named(tmp_path, text, message):
    path = write(tmp_path / "bad.csv", text)
    with pytest.raises(DataError, match=message) as caught:
        read_reference_file(path)
    assert "bad.csv" in str(caught.value)


def test_files_that_are_no_tables_are_named(tmp_path):
    (tmp_path / "x.fits").write_bytes(b"not FITS at all")
    with pytest.raises(DataError, match=r"x\.fits: cannot be read as a table"):
        read_reference_file(tmp_path / "x.fits")
    with pytest.raises(DataError, match="no such file"):
        read_reference_file(tmp_path / "absent.csv")


def test_shards_round_trip_and_replace(tmp_path):
    create_repo(tmp_path / "repo")
    rng = np.random.default_rng(1)
    table = Table(
        {"id": np.arange(50), "coord_ra": rng.uniform(50, 52, 50), "coord_dec": rng.uniform(-29, -27, 50)}
    )
    table["epoch"], table["r_flux"] = 60000.0, 1000.0
    with open_repo(tmp_path / "repo", writeable=True) as butler:
        first = load_reference_table(butler, "my_stars", table)
        assert load_reference_table(butler, "my_stars", table[:20]) <= first
        refs = butler.query_datasets("my_stars", collections="refcats", limit=None)
        back = vstack([butler.get(r) for r in refs])
        assert sorted(back["id"]) == list(range(20))
        with pytest.raises(UsageError, match="catalog name"):
            load_reference_table(butler, "my stars", table)
        with pytest.raises(UsageError, match="another kind"):
            load_reference_table(butler, "raw", table)
