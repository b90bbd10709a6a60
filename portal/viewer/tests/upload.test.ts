import assert from "node:assert/strict";
import { test } from "node:test";
import { addressOf, formatBytes, formatRest } from "../src/upload.ts";

test("sizes have three digits", () => {
  assert.deepEqual([0, 999, 1500, 2e9, 1.234e12].map(formatBytes), ["0 bytes", "999 bytes", "1.5 kB", "2 GB", "1.23 TB"]);
});

test("the rest is told once a rate is known", () => {
  assert.equal(formatRest(0, 0, 0), "100 % of 0 bytes");
  assert.equal(formatRest(25, 100, 1), "25 % of 100 bytes");
  assert.equal(formatRest(25e6, 100e6, 10), "25 % of 100 MB, 30 s left");
  assert.equal(formatRest(1e6, 100e6, 10), "1 % of 100 MB, 17 min left");
});

test("names are escaped in addresses", () => {
  assert.equal(addressOf("/p", "/a b/c", "100%?#.txt"), "/p/files/content/a%20b/c/100%25%3F%23.txt");
});
