"""What objects show of themselves in a notebook.

Examples
--------
>>> print(facts("Store", {"stars": "8,914"}))
<table><caption style="text-align:left"><b>Store</b></caption><tr><th \
style="text-align:left">stars</th><td style="text-align:left">8,914</td></tr></table>
"""

from collections.abc import Mapping, Sequence
from html import escape

_LEFT = 'style="text-align:left"'


def facts(title: str, values: Mapping[str, str]) -> str:
    """Return an HTML table of names and values."""
    rows = (
        f"<tr><th {_LEFT}>{escape(name)}</th><td {_LEFT}>{escape(value)}</td></tr>"
        for name, value in values.items()
    )
    return f"<table>{_caption(title)}{''.join(rows)}</table>"


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return an HTML table with a header, of which the first column names the rows."""
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(value)}</td>" for value in row) + "</tr>" for row in rows
    )
    return f"<table>{_caption(title)}<tr>{head}</tr>{body}</table>"


def _caption(title: str) -> str:
    return f"<caption {_LEFT}><b>{escape(title)}</b></caption>"
