import { strict as assert } from "node:assert";
import { test } from "node:test";
import { blockText } from "../src/cellblock.ts";
import { moveColumn, nextSort } from "../src/pagetable.ts";

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

test("a column is put where another one is, and the others keep their order", () => {
  assert.deepEqual(moveColumn(["a", "b", "c", "d"], "c", 0), ["c", "a", "b", "d"]);
  assert.deepEqual(moveColumn(["a", "b", "c", "d"], "a", 2), ["b", "c", "a", "d"]);
  assert.deepEqual(moveColumn(["a", "b"], "a", 9), ["b", "a"]);
});

test("a block of cells is copied as spreadsheets take it, in whatever direction it was marked", () => {
  const rows = [["1", "2", "3"], ["4", null, "6"], ["7", "8", "9"]];
  assert.equal(blockText(rows, { row0: 0, column0: 0, row1: 1, column1: 1 }), "1\t2\n4\t");
  assert.equal(blockText(rows, { row0: 2, column0: 2, row1: 1, column1: 1 }), "\t6\n8\t9");
});
