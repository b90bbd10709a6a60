import assert from "node:assert/strict";
import { test } from "node:test";
import { insertWord, nextIndex } from "../src/query.ts";

test("the arrow keys go around at both ends", () => {
  assert.equal(nextIndex(0, -1, 3), 2);
  assert.equal(nextIndex(2, 1, 3), 0);
  assert.equal(nextIndex(0, 1, 0), -1);
});

test("a suggestion replaces the word before the cursor and nothing else", () => {
  assert.deepEqual(insertWord("SELECT co FROM x", 9, 7, "coord_ra"), ["SELECT coord_ra FROM x", 15]);
});
