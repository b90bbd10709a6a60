import { strict as assert } from "node:assert";
import { test } from "node:test";
import { nextSort } from "../src/pagetable.ts";

test("a heading sorts upwards, then downwards, then not at all", () => {
  assert.deepEqual(nextSort([], "a"), [["a", false]]);
  assert.deepEqual(nextSort([["a", false]], "a"), [["a", true]]);
  assert.deepEqual(nextSort([["a", true]], "a"), []);
});

test("another heading takes over, and with more it becomes a further key", () => {
  assert.deepEqual(nextSort([["a", true]], "b"), [["b", false]]);
  assert.deepEqual(nextSort([["a", true]], "b", true), [["a", true], ["b", false]]);
  assert.deepEqual(nextSort([["a", false], ["b", false]], "a", true), [["a", true], ["b", false]]);
  assert.deepEqual(nextSort([["a", true], ["b", false]], "a", true), [["b", false]]);
});
