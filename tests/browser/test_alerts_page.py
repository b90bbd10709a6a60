"""The Alerts page: the stream with filters, and an alert as it was raised."""

import io
import re

import duckdb
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from skydesk_portal.services.alerts import AlertFormat
from tests.support.pages import ANNA, Pages


@pytest.fixture(scope="module")
def sources(products_home):
    with duckdb.connect(str(products_home / "releases/maps/catalogs.duckdb"), read_only=True) as catalog:
        return (
            catalog.sql('SELECT * FROM "DiaSource" ORDER BY midpointMjdTai DESC').to_arrow_table().to_pylist()
        )


@pytest.fixture(scope="module")
def pictured(pages, sources):
    """An alert with cut-outs and a history."""
    for row in sources:
        packet = pages.factory.create_alert_service().get_packet(ANNA, row["diaSourceId"])[1]
        if packet.record["cutoutScience"] and packet.record["prvDiaForcedSources"]:
            return packet
    raise AssertionError("no alert has cut-outs")


@pytest.mark.requirement("DMS-PRTL-REQ-0033")
def test_the_stream_is_filtered_and_filters_are_kept(calm_page, pages: Pages, sources):
    pages.factory.create_preference_service().change(ANNA, alert_filters={})
    page = calm_page
    page.goto(f"{pages.url}/alerts")
    expect(page.get_by_text(re.compile(rf"of {len(sources):,}$"))).to_be_visible()
    bright = sum(row["snr"] is not None and row["snr"] >= 20 for row in sources)
    page.get_by_label("Filter", exact=True).select_option("bright: Signal to noise of at least 20")
    expect(page.get_by_text(f"{bright:,} alerts")).to_be_visible()
    condition = page.get_by_label("Condition (ADQL on DiaSource)")
    for text, words in (
        ("nothing > 3", "nothing"),
        ("1 = 1) OR (2 = 2", "parentheses"),
        ("snr >", "filter cannot be applied"),
    ):
        condition.fill(text)
        page.get_by_role("button", name="Apply").click()
        expect(page.get_by_role("alert").filter(has_text=words)).to_be_visible()
    condition.fill("band = 'r' AND snr > 8")
    page.get_by_role("button", name="Apply").click()
    mine = sum(row["band"] == "r" and row["snr"] is not None and row["snr"] > 8 for row in sources)
    expect(page.get_by_text(f"{mine:,} alerts")).to_be_visible()
    page.get_by_label("Name", exact=True).fill("red <ones>")
    page.get_by_role("button", name="Save filter").click()
    expect(page.get_by_text("The filter red <ones> is saved.")).to_be_visible()
    page.goto(f"{pages.url}/alerts?filter=own:+red")
    expect(page.get_by_text(f"{mine:,} alerts")).to_be_visible()
    expect(condition).to_have_value("band = 'r' AND snr > 8")
    assert dict(pages.factory.create_preference_service().find(ANNA).alert_filters) == {
        "red <ones>": "band = 'r' AND snr > 8"
    }
    page.locator("tbody tr").first.click()
    page.get_by_role("link", name=re.compile("Open alert")).click()
    expect(page.get_by_role("heading", name=re.compile(r"^Alert \d+"))).to_be_visible()


@pytest.mark.requirement("DMS-PRTL-REQ-0034")
@pytest.mark.requirement("DMS-PRTL-REQ-0048")
def test_an_alert_shows_its_fields_stamps_and_light_curve(calm_page, pages: Pages, pictured):
    page, source = calm_page, pictured.source
    page.goto(f"{pages.url}/alerts?release=maps&id={pictured.alert_id}")
    expect(page.get_by_role("heading", name=f"Alert {pictured.alert_id}")).to_be_visible()
    expect(page.locator(".stamps img")).to_have_count(2)
    expect(page.locator(".stamps")).to_contain_text("north up, east left")
    for image in page.locator(".stamps img").all():
        picture = np.asarray(Image.open(io.BytesIO(image.screenshot())).convert("L"), float)
        assert picture.std() > 2
    row = page.get_by_role("row", name=re.compile("^psfFlux "))
    expect(row.first).to_contain_text("nJy")
    assert float(row.first.locator("td").first.inner_text()) == pytest.approx(source["psfFlux"], rel=1e-6)
    expect(page.locator(".bk-Canvas canvas").first).to_be_visible()
    page.get_by_text(re.compile("epochs as a table")).click()
    rows = len(pictured.record["prvDiaForcedSources"]) + len(pictured.record["prvDiaSources"] or []) + 1
    expect(page.get_by_text(f"The {rows} epochs as a table")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name="Packet as Avro").click()
    assert download.value.path().read_bytes()[:3] == b"Obj"
    page.get_by_role("link", name="Light curve of its DIA object").click()
    expect(page.get_by_role("heading", name=f"DiaObject {source['diaObjectId']}")).to_be_visible()


def test_an_own_avro_file_shows_the_same_sheet(calm_page, pages: Pages, pictured):
    home = pages.home / "users/anna/home"
    content = pages.factory.create_alert_service().get_alert(ANNA, pictured.alert_id, AlertFormat.AVRO)
    (home / "mine.avro").write_bytes(content)
    (home / "broken.avro").write_bytes(content[:300])
    calm_page.goto(f"{pages.url}/files")
    calm_page.locator("tbody tr").filter(has_text="mine.avro").click()
    calm_page.get_by_role("link", name="Open as alerts").click()
    expect(calm_page.get_by_role("heading", name=f"Alert {pictured.alert_id}")).to_be_visible()
    expect(calm_page.locator(".stamps img")).to_have_count(2)
    calm_page.goto(f"{pages.url}/alerts?file=broken.avro")
    expect(calm_page.get_by_role("alert").filter(has_text="no Avro file that can be read")).to_be_visible()
    calm_page.goto(f"{pages.url}/alerts?id=nonsense")
    expect(calm_page.get_by_role("alert").filter(has_text="Not the identifier of an alert")).to_be_visible()


def test_a_subscription_is_made_watched_paused_and_ended(calm_page, pages: Pages, sources):
    service = pages.factory.create_alert_subscription_service()
    for old in service.list_subscriptions(ANNA):
        service.remove(ANNA, old.id)
    page = calm_page
    page.goto(f"{pages.url}/alerts")
    page.get_by_role("link", name="Subscriptions").click()
    page.get_by_label("Alerts of").select_option("maps")
    page.get_by_label("Filter", exact=True).select_option("a condition of my own")
    page.get_by_label("Name of the subscription").fill("good <i>ones</i>")
    condition = page.get_by_label("Condition (ADQL on DiaSource)")
    condition.fill("snr > nothing")
    page.get_by_role("button", name="Subscribe").click()
    expect(page.get_by_role("alert").filter(has_text="The filter cannot be applied")).to_be_visible()
    condition.fill("snr > 12")
    page.get_by_label("Deliver to").select_option("also as Avro files into alerts/ of my files")
    page.get_by_role("button", name="Subscribe").click()
    expect(page.get_by_role("heading", name="good <i>ones</i>")).to_be_visible()
    page.get_by_role("button", name="Send them again").click()
    expect(page.get_by_text("100 alerts pass by")).to_be_visible()
    delivery = pages.factory.create_alert_delivery()
    while delivery.work():
        pass
    newest = sorted(sources, key=lambda r: (r["midpointMjdTai"], r["diaSourceId"]))[-100:]
    good = [row["diaSourceId"] for row in newest if row["snr"] is not None and row["snr"] > 12]
    expect(page.get_by_text(f"100 seen, {len(good)} sent, 0 failed")).to_be_visible()
    expect(page.get_by_role("button", name="Notices: 1 unread")).to_be_visible()
    delivered = page.get_by_role("table").filter(has_text="Delivered to good").locator("tbody tr")
    expect(delivered.first).to_contain_text(str(good[-1]))
    log = page.get_by_role("table").filter(has_text="Delivery log of good").locator("tbody tr")
    expect(log).to_have_count(1)
    expect(log.first).to_contain_text("alerts/good-i-ones-i")
    delivered.first.click()
    expect(page.get_by_role("link", name=f"Open alert {good[-1]}")).to_be_visible()
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("button", name="Go on")).to_be_visible()
    page.get_by_role("button", name="End it…").click()
    page.get_by_role("button", name="End it", exact=True).click()
    expect(page.get_by_text("You have no subscriptions yet")).to_be_visible()
    assert service.list_subscriptions(ANNA) == []
