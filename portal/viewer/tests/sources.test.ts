import assert from "node:assert/strict";
import { test } from "node:test";

// The layer's base class only needs these names to exist.
Object.assign(globalThis, { document: { createElement: () => ({ style: {} }) } });
const { magnitudeRange, nearest, parseSources, symbolRadius } = await import("../src/sources.ts");

function pack(ids: bigint[], floats: number[]): ArrayBuffer {
  const buffer = new ArrayBuffer(8 + ids.length * 20);
  new BigUint64Array(buffer, 0, 1)[0] = BigInt(ids.length);
  new BigInt64Array(buffer, 8, ids.length).set(ids);
  new Float32Array(buffer, 8 + ids.length * 8).set(floats);
  return buffer;
}

test("identifiers keep all 64 bits", () => {
  const list = parseSources(pack([9007199254740993n, 5n], [1, 2, 3, 4, 20, NaN]));
  assert.equal(String(list.ids[0]), "9007199254740993");
  assert.deepEqual([...list.x, ...list.y], [1, 2, 3, 4]);
});

test("a list of the wrong length is refused", () => assert.throws(() => parseSources(pack([1n], [1, 2, 3]).slice(0, 20)), /bytes/));

test("the nearest source within the radius is found", () => {
  const list = parseSources(pack([1n, 2n], [10, 14, 10, 10, 20, 21]));
  assert.equal(nearest(list, 13, 10, 5), 1);
  assert.equal(nearest(list, 100, 10, 5), -1);
});

test("brighter sources have larger rings, whatever the depth", () => {
  for (const zero of [8, 17]) {
    const range = magnitudeRange(Float32Array.from({ length: 101 }, (_, n) => (n === 50 ? NaN : zero + n / 20)));
    assert.ok(symbolRadius(zero, range) > 10 && symbolRadius(zero + 5, range) < 5);
    assert.ok(symbolRadius(zero + 1, range) > symbolRadius(zero + 3, range));
    assert.equal(symbolRadius(NaN, range), 4);
  }
});
