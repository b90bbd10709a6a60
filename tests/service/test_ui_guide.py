"""Each page of the Portal leads to its own section of the guide."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

GUIDE = Path(__file__).resolve().parents[2] / "docs/how-to/portal.md"
PAGES = ("", "images", "skymap", "imagesearch", "catalogs", "lightcurves", "alerts", "jobs", "files", "account", "find?q=12,3")  # fmt: skip


@pytest.mark.requirement("DMS-PRTL-REQ-0123")
def test_each_page_leads_to_its_section_of_the_guide(pages_client):
    titles = re.findall(r"^## (.+)$", GUIDE.read_text(encoding="utf-8"), re.MULTILINE)
    sections = {title.lower().replace(" ", "-") for title in titles}
    found = set()
    for name in PAGES:
        page = pages_client.get(f"/portal/app/{name}").text
        linked = re.search(r'href="/docs/how-to/portal.html#([\w-]+)"', page)
        assert linked, name
        found.add(linked[1])
        shown = re.search(r'<nav class="sd-nav".*?</nav>', page, re.DOTALL)
        assert shown
    listed = re.findall(r'href="/portal/app/(\w*)"', shown[0])
    assert set(listed) <= {name.partition("?")[0] for name in PAGES}
    assert found == sections
