import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { contains, healpix, parseMocFits, parseMocText, skyFraction } from "../src/moc.ts";

const data = process.env.SKYDESK_TEST_DATA ?? resolve(import.meta.dirname, "../../../../shared/data");
const folder = join(data, "moc");
const absent = existsSync(folder) ? false : "the folder with real data is absent";

test("HEALPix pixels are hpgeom's", () => {
  // hpgeom.angle_to_pixel(2**order, lon, lat, nest=True, lonlat=True)
  const cases: [number, number, number, number][] = [[0, 10.0, 5.0, 4], [3, 53.13, -28.1, 561], [10, 200.5, 71.3, 3069979], [24, 53.13, -28.1, 2469470618574562], [24, 300.123456, 89.9, 1125899471049456], [24, 12.5, -66.6, 2297583162692222], [12, 359.99, 0.01, 79691776], [20, 123.4, -88.8, 9896210487129], [24, 83.6, 22.0, 1662020495741189]];
  cases.forEach(([order, lon, lat, pixel]) => assert.equal(healpix(order, lon, lat), pixel, `${order} ${lon} ${lat}`));
});

test("text forms are read", () => {
  const ascii = parseMocText("1/0-3 5 2/100");
  const json = parseMocText('{"1": [0, 1, 2, 3, 5], "2": [100]}');
  assert.deepEqual(ascii, json);
  assert.ok(Math.abs(skyFraction(ascii) - (5 / 48 + 1 / 192)) < 1e-12);
  assert.throws(() => parseMocText("hello"), /does not belong/);
  assert.throws(() => parseMocText("1/99"), /no cell/);
});

function read(name: string): ReturnType<typeof parseMocFits> {
  const bytes = readFileSync(join(folder, name));
  return parseMocFits(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) as ArrayBuffer);
}

test("published maps cover their known share of the sky", { skip: absent }, () => {
  const sdss = read("P-SDSS9-r.fits");
  assert.ok(Math.abs(skyFraction(sdss) - 0.36244) < 1e-5);
  assert.ok(Math.abs(skyFraction(read("P-GALEXGR6-AIS-FUV.fits")) - 0.6821) < 1e-5);
  assert.ok(contains(sdss, 180, 30) && !contains(sdss, 83.8, -69));
});

test("a file that is no MOC is refused", () => assert.throws(() => parseMocFits(new ArrayBuffer(100)), /ends inside/));
