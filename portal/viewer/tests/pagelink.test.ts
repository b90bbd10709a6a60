import assert from "node:assert/strict";
import { test } from "node:test";
import { addressOf, changeState, wantedName, windowName } from "../src/pagelink.ts";

test("a page and its state make an address, and only pages of the Portal do", () => {
  assert.equal(addressOf("/portal/app", "images", { release: "demo", ra: "1.5" }), "/portal/app/images?release=demo&ra=1.5");
  assert.equal(addressOf("/portal/app", "home", {}), "/portal/app/");
  assert.equal(addressOf("/portal/app", "catalogs", { query: "SELECT 'a&b'" }), "/portal/app/catalogs?query=SELECT+%27a%26b%27");
  assert.equal(addressOf("/portal/app", "//evil.example", {}), null);
});

test("a change of the state keeps the rest of the address", () => {
  assert.equal(changeState("/a", "?x=1&y=2&z=3", { y: null, z: "4", w: "5" }), "/a?x=1&z=4&w=5");
  assert.equal(changeState("/a", "?x=1", { x: null }), "/a");
});

test("a tab keeps its name; a name that is none is not taken", () => {
  assert.equal(wantedName(windowName("images-1"), "?view=other"), "images-1");
  assert.equal(wantedName("something", "?view=cell-0a"), "cell-0a");
  assert.equal(wantedName("", "?view=../x"), "");
  assert.equal(wantedName("skydesk-view:A B", ""), "");
});
