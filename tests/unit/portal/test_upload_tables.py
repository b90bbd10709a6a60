"""Reading tables that people send: every format, and everything that is none or asks for too much."""

from __future__ import annotations

import io
import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io.votable import from_table
from astropy.table import MaskedColumn, Table

from skydesk_portal.exceptions import PortalError, TooLargeError, UsageError
from skydesk_portal.vo.uploads import read_table

LIMIT = 32_000_000
PLAIN = Table(
    {
        "id": np.array([1, 2, 3], np.int64),
        "ra": [10.0, 20.5, 359.9],
        "name": ["a", "b c", "ä"],
        "good": [True, False, True],
    }
)
PLAIN["ra"].unit = "deg"
ROWS = [
    {"id": 1, "ra": 10.0, "name": "a", "good": True},
    {"id": 2, "ra": 20.5, "name": "b c", "good": False},
    {"id": 3, "ra": 359.9, "name": "ä", "good": True},
]
DOCUMENT = (
    b'<?xml version="1.0"?><VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE>'
    b"<TABLE%s>%s<DATA><TABLEDATA>%s</TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>"
)
INT = b'<FIELD name="c" datatype="int"/>'
ROW = b"<TR><TD>1</TD></TR>"


def _written(form: str, **more: str) -> bytes:
    out = io.BytesIO()
    if form.startswith("ascii") or form == "csv":
        text = io.StringIO()
        PLAIN.write(text, format=form, **more)
        return text.getvalue().encode()
    table = PLAIN.copy()
    if form == "fits":
        table["name"] = ["a", "b c", "e"]
    table.write(out, format=form, **more)
    return out.getvalue()


def _parquet(**columns: object) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


@pytest.mark.parametrize(
    ("form", "more"),
    [("votable", {"tabledata_format": f}) for f in ("tabledata", "binary", "binary2")]
    + [("csv", {}), ("ascii.tab", {}), ("ascii.ecsv", {"delimiter": ","}), ("fits", {})],
)
def test_a_table_is_read_in_every_format(form: str, more: dict[str, str]) -> None:
    columns, table = read_table("t", _written(form, **more), LIMIT)
    wanted = [dict(row) for row in ROWS]
    if form == "fits":
        wanted[2]["name"] = "e"
    assert table.to_pylist() == wanted
    assert [c.datatype for c in columns] == ["long", "double", "char", "boolean"]
    assert columns[1].unit == ("deg" if form in {"votable", "fits"} else "")


def test_parquet_keeps_types_units_and_nulls() -> None:
    field = pa.field("ra", pa.float64(), metadata={"unit": "deg", "ucd": "pos.eq.ra"})
    table = pa.table(
        [[1.0, None], pa.array([1, 2], pa.timestamp("us")), [[1.0], None], pa.array(["x", "x"]).dictionary_encode()],
        schema=pa.schema(
            [field, ("t", pa.timestamp("us")), ("l", pa.list_(pa.float64())), ("s", pa.dictionary(pa.int32(), pa.string()))]
        ),
    )  # fmt: skip
    out = io.BytesIO()
    pq.write_table(table, out)
    columns, read = read_table("t", out.getvalue(), LIMIT)
    assert (columns[0].unit, columns[0].ucd) == ("deg", "pos.eq.ra")
    assert [(c.datatype, c.arraysize, c.xtype) for c in columns[1:]] == [
        ("char", "*", "timestamp"),
        ("double", "*", ""),
        ("char", "*", ""),
    ]
    assert read.to_pylist()[1] == {"ra": None, "t": "1970-01-01T00:00:00.000002", "l": None, "s": "x"}


def test_binary_rows_are_what_astropy_reads() -> None:
    table = Table(
        {
            "u": np.array([0, 200, 255], np.uint8),
            "s": np.array([-3, 0, 7], np.int16),
            "i": MaskedColumn(np.array([5, 6, 7], np.int32), mask=[False, True, False]),
            "f": np.array([1.5, np.nan, np.inf], np.float32),
            "t": MaskedColumn(["ab", "", "xyz"], mask=[False, False, True]),
            "b": MaskedColumn([True, False, True], mask=[False, True, False]),
            "d": [1.0, 2.0, 3.0],
        }
    )
    for form in ("binary", "binary2", "tabledata"):
        document = from_table(table)
        fields = document.get_first_table().fields
        fields[4].arraysize = "*"  # after it the rows differ in length
        fields[2].values.null = -99
        out = io.BytesIO()
        document.to_xml(out, tabledata_format=form)
        columns, read = read_table("t", out.getvalue(), LIMIT)
        assert [c.datatype for c in columns] == [
            "short",
            "short",
            "int",
            "float",
            "char",
            "boolean",
            "double",
        ]
        rows = read.to_pydict()
        assert (rows["u"], rows["s"], rows["d"]) == ([0, 200, 255], [-3, 0, 7], [1.0, 2.0, 3.0])
        assert rows["i"] == [5, None, 7]
        assert rows["f"][::2] == [1.5, np.inf]
        assert rows["t"][0] == "ab"
        assert rows["b"][::2] == [True, True]
    content = out.getvalue().replace(b"TABLEDATA", b"BINARY2")
    with pytest.raises(UsageError):
        read_table("t", content, LIMIT)


@pytest.mark.parametrize(
    "data",
    [b'<BINARY2><STREAM href="file:///etc/passwd"/></BINARY2>', b'<BINARY><STREAM encoding="gzip">AAAA</STREAM></BINARY>',
     b'<FITS><STREAM href="http://127.0.0.1:1/"/></FITS>', b'<PARQUET type="VOTable"><STREAM href="file:///etc/passwd"/></PARQUET>',
     b"<BINARY2><STREAM>AAAA", b"<BINARY2><STREAM>%%%%</STREAM></BINARY2>", b"<BINARY2><STREAM>AAAA</STREAM></BINARY2>",
     b"<BINARY2><STREAM>A<b/>A</STREAM></BINARY2>"],
)  # fmt: skip
def test_rows_elsewhere_or_broken_are_not_taken(data: bytes) -> None:
    content = DOCUMENT.replace(b"<TABLEDATA>%s</TABLEDATA>", b"%s") % (b"", INT, data)
    with pytest.raises(UsageError, match=r"not taken|base64|end|tag"):
        read_table("t", content, LIMIT)


def test_addresses_after_the_rows_are_not_even_looked_at() -> None:
    second = b'<TABLE><FIELD name="a" datatype="int"/><DATA><BINARY><STREAM href="http://127.0.0.1:1/"/></BINARY></DATA></TABLE>'
    content = (DOCUMENT % (b"", INT, ROW)).replace(b"</RESOURCE>", second + b"</RESOURCE>")
    _, table = read_table("t", content, LIMIT)
    assert table.to_pydict() == {"c": [1]}


def _fields(n: int, datatype: bytes = b"double") -> bytes:
    return b"".join(b'<FIELD name="c%d" datatype="%s"/>' % (i, datatype) for i in range(n))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (DOCUMENT % (b"", _fields(400_000), b""), "2000 columns"),
        (DOCUMENT % (b' nrows="99000000000"', INT, ROW), "nrows"),
        (DOCUMENT % (b"", b'<FIELD name="c" datatype="double" arraysize="100000000000"/>', ROW), "array"),
        (DOCUMENT % (b"", b'<FIELD name="c" datatype="char" arraysize="999999"/>', ROW * 500), "memory"),
        (DOCUMENT % (b"", _fields(1900), b"<TR/>" * 500_000), "memory"),
        (DOCUMENT % (b"", INT, b"<TR><TD>abc</TD></TR>"), "abc"),
        (DOCUMENT % (b"", b'<FIELD name="c" datatype="blob"/>', ROW), "blob"),
        (DOCUMENT % (b"", b'<FIELD name="c" datatype="int"/><FIELD name="C" datatype="int"/>', b""), "called C"),
        (DOCUMENT % (b"", b'<FIELD name=" " datatype="int"/>', ROW), "no name"),
        (DOCUMENT % (b"", b'<FIELD name="a&#10;b" datatype="int"/>', ROW), "name|white"),
        (DOCUMENT % (b"", b'<FIELD name="a&quot;b" datatype="int"/>', ROW), "name"),
        (DOCUMENT % (b"", b'<FIELD name="c" datatype="int"><VALUES>' + b'<OPTION value="1"/>' * 100_000, b""), "elements"),
        (b'<!DOCTYPE l [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><VOTABLE>&b;</VOTABLE>', "DOCTYPE"),
        ('<?xml version="1.0" encoding="UTF-16"?><VOTABLE/>'.encode("utf-16-le"), "UTF-8|neither"),
        (b"<html><body/></html>", "not a VOTable"),
        (b",".join(b"c%d" % i for i in range(1_000_000)) + b"\n1\n", "2000 columns"),
        (b"a,a\n1,2\n", "called a"),
        (b"a,b\n1,2\n3\n", "not CSV"),
        (b"a,\n1,2\n", "no name"),
        (bytes(range(256)) * 50, "neither"),
        (_parquet(s=pa.array(["x" * 100_000] * 4000)), "unpacked"),
        (_parquet(s=pa.nulls(20_000_000, pa.int64())), "unpacked"),
        (_parquet(s=[{"a": 1}]), "struct"),
        (_parquet(s=[b"a"]), "binary"),
        (_parquet(s=[1])[:-30], "parquet"),
        (_written("fits")[:5760], "FITS"),
        (b"SIMPLE  =" + b"x" * 5000, "FITS"),
        (b"", "empty"),
    ],
)  # fmt: skip
def test_what_is_no_table_or_asks_for_too_much_is_refused(content: bytes, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        read_table("UPLOAD t", content, 8_000_000 if content.startswith(b"PAR1") else LIMIT)
    assert str(caught.value).startswith("UPLOAD t: ")
    assert len(str(caught.value)) < 300


def test_a_table_over_the_limit_is_not_read_at_all() -> None:
    with pytest.raises(TooLargeError, match="1000"):
        read_table("t", b"a,b\n" + b"1,2\n" * 1000, 1000)


def test_mutated_documents_give_a_table_or_a_clear_error() -> None:
    rng = random.Random(7)  # seeded, nothing secret
    seeds = [_written("votable"), _written("csv"), _written("fits"), _parquet(a=[1, 2], b=["x", "y"])]
    for number in range(240):
        content = bytearray(seeds[number % len(seeds)])
        for _ in range(rng.randint(1, 6)):
            place = rng.randrange(len(content))
            change = rng.randrange(3)
            if change == 0:
                content[place] = rng.randrange(256)
            elif change == 1:
                del content[place : place + rng.randint(1, 40)]
            else:
                content[place:place] = content[: rng.randint(1, 60)]
        try:
            columns, table = read_table("t", bytes(content), LIMIT)
        except PortalError:
            continue
        assert len(columns) == table.num_columns
