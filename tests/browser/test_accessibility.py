"""No page has a serious fault for people who use keyboards, screen readers, large text or the dark theme."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page

from skydesk_portal.models.alert_subscriptions import SubscriptionWish
from skydesk_portal.models.jobs import JobKind
from tests.support.pages import ANNA, Pages

AXE = Path(__file__).resolve().parents[2] / "node_modules/axe-core/axe.min.js"
PAGES = {
    "home": "/",
    "images": "/images?release=maps",
    "image search": "/imagesearch?release=maps&run=1",
    "catalogs": "/catalogs?query=SELECT+TOP+60+objectId,coord_ra,coord_dec+FROM+maps.Object",
    "sky map": "/skymap?release=maps&cells=3/561&cov=this+map",
    "light curves": "/lightcurves?release=maps&object=1",
    "alerts": "/alerts?release=maps",
    "alert": "/alerts?release=maps&id={alert}",
    "subscriptions": "/alerts?view=subscriptions&subscription={subscription}",
    "jobs": "/jobs?job={job}",
    "past queries": "/jobs?view=queries",
    "files": "/files",
    "tables": "/files?view=tables",
    "sharing": "/files?view=sharing",
    "account": "/account",
    "find": "/find?q=object+987654321987",
    "choices": "/find?q=12,3",
}
RUN = """async () => { const found = await axe.run(document, { resultTypes: ["violations"] });
  return found.violations.filter((v) => v.impact === "serious" || v.impact === "critical").map((v) =>
    ({ rule: v.id, impact: v.impact, help: v.help,
       nodes: v.nodes.map((n) => JSON.stringify(n.target) + " " + n.html.slice(0, 160) + " | " + n.failureSummary.replaceAll("\\n", " ").slice(0, 300)) })); }"""


@pytest.fixture(scope="module")
def addresses(pages: Pages) -> dict[str, str]:
    tap, jobs = pages.factory.create_tap_service(), pages.factory.create_job_service()
    alert = tap.run_query(ANNA, "SELECT TOP 1 diaSourceId FROM maps.DiaSource").table.to_pylist()[0][
        "diaSourceId"
    ]
    job = jobs.create_job(ANNA, kind=JobKind.TAP, parameters=[("QUERY", "SELECT 1")]).id
    (pages.home / "users/anna/home/note.txt").write_text("a note")
    service = pages.factory.create_alert_subscription_service()
    mine = [s.id for s in service.list_subscriptions(ANNA)]
    subscription = mine[0] if mine else service.create(ANNA, SubscriptionWish("a look")).id
    pages.factory.create_notice_service().add("anna", "a look", "Something is new", link="/portal/app/jobs")
    return {
        name: path.format(alert=alert, job=job, subscription=subscription) for name, path in PAGES.items()
    }


def settle(page: Page) -> None:
    page.wait_for_selector("main [data-root-id] > *", state="attached")
    page.wait_for_load_state("networkidle")


@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing_serious_in_light_and_dark(calm_page: Page, pages: Pages, addresses, name):
    calm_page.context.add_cookies([{"name": "skydesk-theme", "value": "light", "url": pages.url}])
    calm_page.goto(pages.url + addresses[name])
    settle(calm_page)
    calm_page.add_script_tag(path=AXE)
    for theme in ("light", "dark"):
        calm_page.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)
        assert calm_page.evaluate(RUN) == [], theme


@pytest.mark.parametrize("name", ["home", "jobs", "files", "alert", "account", "image search"])
def test_large_text_stays_inside_the_page(calm_page: Page, pages: Pages, addresses, name):
    """At 200 % a window of 1400 x 900 has 700 x 450: nothing is cut off sideways, no control lies on another."""
    preferences = pages.factory.create_preference_service()
    calm_page.set_viewport_size({"width": 700, "height": 450})
    preferences.change(ANNA, text_percent=100)
    calm_page.goto(pages.url + addresses[name])
    settle(calm_page)
    check_layout(calm_page)
    calm_page.set_viewport_size({"width": 1400, "height": 900})
    calm_page.evaluate("document.documentElement.style.setProperty('--sd-scale', '2')")
    check_layout(calm_page)


def check_layout(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth + 1")
    overlaps = page.evaluate(
        """() => { const found = [];
        const walk = (root) => { for (const e of root.querySelectorAll("*")) { if (e.matches("button, input:not([type=hidden]), select, a.open")) found.push(e);
          if (e.shadowRoot) walk(e.shadowRoot); } };
        walk(document);
        const boxes = found.map((e) => [e, e.getBoundingClientRect()]).filter(([e, b]) => b.width > 1 && b.height > 1 && getComputedStyle(e).visibility !== "hidden" && !e.closest(".scroll"));
        const out = [];
        for (let i = 0; i < boxes.length; i++) for (let j = i + 1; j < boxes.length; j++) {
          const [a, p] = boxes[i], [b, q] = boxes[j];
          if (a.contains(b) || b.contains(a)) continue;
          const w = Math.min(p.right, q.right) - Math.max(p.left, q.left), h = Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top);
          if (w > 2 && h > 2) out.push(a.outerHTML.slice(0, 90) + " lies on " + b.outerHTML.slice(0, 90));
        } return out; }"""
    )
    assert overlaps == []


def focused(page: Page) -> dict[str, str]:
    return page.evaluate(
        """() => { let e = document.activeElement; while (e && e.shadowRoot && e.shadowRoot.activeElement) e = e.shadowRoot.activeElement;
        const s = getComputedStyle(e); return { tag: e.tagName, text: (e.innerText || e.getAttribute("aria-label") || e.value || "").trim(), outline: s.outlineStyle, shadow: s.boxShadow }; }"""
    )


def test_the_keyboard_reaches_everything_and_shows_where_it_is(calm_page: Page, pages: Pages, addresses):
    calm_page.goto(pages.url + addresses["files"])
    settle(calm_page)
    calm_page.keyboard.press("Tab")
    assert focused(calm_page)["text"] == "Skip to the content"
    box = calm_page.locator(".sd-skip").bounding_box()
    assert box["x"] >= 0
    calm_page.keyboard.press("Enter")
    seen = []
    for _ in range(60):
        calm_page.keyboard.press("Tab")
        at = focused(calm_page)
        if at["tag"] == "BODY":
            break
        assert at["outline"] != "none" or at["shadow"] != "none", at
        seen.append(f"{at['tag']} {at['text']}")
    text = "\n".join(seen)
    assert "Home" not in text.split("\n")[0], "the skip link leads past the navigation"
    for wanted in ("Files to upload", "Make folder", "note.txt"):
        assert wanted in text, text
