import assert from "node:assert/strict";
import { test } from "node:test";
import { formatStep } from "../src/range.ts";

test("a value has the decimals of its step and no minus before zero", () => {
  assert.deepEqual([0.005, -0.0001, -2.5, 3].map((v) => formatStep(v, 0.005)), ["0.005", "0.000", "-2.500", "3.000"]);
  assert.deepEqual([7, -7].map((v) => formatStep(v, 1)), ["7", "-7"]);
  assert.deepEqual([0.1, 0.25].map((v) => formatStep(v, 0.01)), ["0.10", "0.25"]);
});
