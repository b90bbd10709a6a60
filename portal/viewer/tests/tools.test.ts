import assert from "node:assert/strict";
import { test } from "node:test";
import { overlap } from "../src/aperture.ts";
import { makeGrid } from "../src/grid.ts";
import { chooseMix, mixColours } from "../src/lupton.ts";
import { formatDs9, holds, makeRegion, parseDs9, type Region } from "../src/regions.ts";
import { fromIcrs, positionAngle, separation, skyCoordCode, toIcrs } from "../src/skyframes.ts";
import { summarise } from "../src/statistics.ts";
import type { WcsFit } from "../src/wcs.ts";

const s = (0.2 / 3600) * 512;
const fit: WcsFit = { crval: [53.13, -28.1], centre: [511.5, 511.5], scale: 512, xi: [[0, 0], [-s, 0]], eta: [[0, s], [0, 0]], max_error_arcsec: 1e-6 };
const target = { fit, xy0: [0, 0] as [number, number] };

test("galactic and ecliptic positions are astropy's", () => {
  // astropy 7: SkyCoord(53.13, -28.1, unit="deg") in Galactic and BarycentricMeanEcliptic.
  const known = { galactic: [224.0724759938, -54.4681348776], ecliptic: [41.0010010198, -45.4678045678] } as const;
  for (const frame of ["galactic", "ecliptic"] as const) {
    const found = fromIcrs(frame, 53.13, -28.1);
    assert.ok(separation(found, known[frame]) * 3.6e6 < 0.1, `${frame} ${found}`);
    assert.ok(separation(toIcrs(frame, ...found), [53.13, -28.1]) * 3.6e6 < 1e-3);
  }
});

test("separations and position angles", () => {
  assert.ok(Math.abs(separation([10, 0], [10, 1e-6]) - 1e-6) < 1e-15);
  assert.equal(separation([0, 90], [180, -90]), 180);
  assert.ok(Math.abs(positionAngle([10, 0], [11, 0]) - 90) < 1e-9);
  assert.match(skyCoordCode(53.13, -28.1), /^SkyCoord\(53\.13000000, -28\.10000000, unit="deg", frame="icrs"\)$/);
});

test("circle and pixels overlap exactly: all shares add up to the area", () => {
  for (const [x, y, r] of [[0, 0, 3.3], [0.3, -0.4, 5], [0.5, 0.5, 0.2], [0.1, 0.2, 0.45]] as const) {
    let sum = 0;
    for (let j = -8; j <= 8; j++) for (let i = -8; i <= 8; i++) sum += overlap(i - x, j - y, r);
    assert.ok(Math.abs(sum - Math.PI * r * r) < 1e-9, `${x} ${y} ${r}: ${sum}`);
  }
});

test("statistics are numpy's", () => {
  const found = summarise(Float64Array.from([1, 2, 3, 10]), 2);
  assert.deepEqual([found.n, found.missing, found.mean, found.median, found.min, found.max, found.sum], [4, 2, 4, 2.5, 1, 10, 16]);
  assert.ok(Math.abs(found.std - 3.5355339) < 1e-6);
  // scipy.stats: skew([1, 2, 3, 10]), kurtosis([1, 2, 3, 10])
  assert.ok(Math.abs(found.skewness - 1.0182337649086284) < 1e-6 && Math.abs(found.kurtosis + 0.7696000000000001) < 1e-6);
});

test("regions hold the pixels whose middles lie inside", () => {
  const count = (region: Region): number => {
    let n = 0;
    for (let y = -20; y <= 20; y++) for (let x = -20; x <= 20; x++) if (holds(region, x, y)) n++;
    return n;
  };
  assert.equal(count(makeRegion("box", [[0, 0]], [4.2, 2.2])), 15);
  assert.equal(count(makeRegion("box", [[0, 0]], [4.2, 2.2], 90)), 15);
  assert.equal(count(makeRegion("circle", [[0, 0]], [1])), 5);
  assert.equal(count(makeRegion("ellipse", [[0, 0]], [2, 1])), 7);
  assert.equal(count(makeRegion("polygon", [[-0.5, -0.5], [2.5, -0.5], [2.5, 1.5], [-0.5, 1.5]])), 6);
});

test("DS9's regions go out and come back in every system", () => {
  const regions = [makeRegion("circle", [[100, 200]], [15]), makeRegion("box", [[300.25, 40]], [30, 10], 20), makeRegion("ellipse", [[5, 6]], [8, 4], -10),
    makeRegion("polygon", [[1, 1], [50, 2], [30, 40]]), makeRegion("point", [[9, 9]]), makeRegion("line", [[1, 2], [3, 4]])];
  for (const place of [target, { fit: null, xy0: [0, 0] as [number, number] }]) {
    const { regions: back, problems } = parseDs9(formatDs9(regions, place), place);
    assert.deepEqual(problems, []);
    regions.forEach((region, n) => {
      region.points.forEach((p, k) => assert.ok(Math.hypot(p[0] - (back[n]?.points[k]?.[0] ?? NaN), p[1] - (back[n]?.points[k]?.[1] ?? NaN)) < 2e-3));
      region.size.forEach((v, k) => assert.ok(Math.abs(v - (back[n]?.size[k] ?? NaN)) < 2e-3));
      assert.ok(Math.abs(region.angle - (back[n]?.angle ?? NaN)) < 0.01);
    });
  }
});

test("DS9's notations are read and what is not understood is named", () => {
  const text = `# Region file format: DS9\nglobal color=red width=1\nfk5\ncircle(3:32:31.2,-28:06:00,2") # text={a star} color=cyan\n-box(53.13,-28.1,10",0.1',0)
image\npoint(512.5,512.5)\nannulus(1,2,3,4)\ngalactic\ncircle(10,80,1d)`;
  const { regions, problems } = parseDs9(text, target);
  assert.equal(regions.length, 3);
  const [star, box, point] = regions;
  assert.ok(star && Math.hypot((star.points[0]?.[0] ?? 0) - 511.5, (star.points[0]?.[1] ?? 0) - 511.5) < 1e-4);
  assert.deepEqual([star.text, star.colour], ["a star", "#4fe3e3"]);
  assert.ok(Math.abs((star.size[0] ?? 0) - 10) < 1e-3);
  assert.ok(box?.exclude && box.colour === "#ff5d5d" && Math.abs((box.size[1] ?? 0) - 30) < 1e-2);
  assert.deepEqual(point?.points, [[511.5, 511.5]]);
  assert.equal(problems.length, 2);
  assert.match(problems.join(), /annulus/);
});

test("grid lines cross the image at round coordinates", () => {
  const lines = makeGrid(fit, "ICRS", [0, 0, 1023, 1023]);
  assert.ok(lines.length >= 4 && lines.length < 20);
  assert.ok(lines.some((line) => line.meridian) && lines.some((line) => !line.meridian));
  assert.ok(lines.every((line) => line.points.length > 20));
  assert.ok(makeGrid(fit, "galactic", [0, 0, 1023, 1023]).length >= 4);
});

test("colours are mixed as astropy mixes them", () => {
  // astropy 7: make_lupton_rgb([[…]], minimum=0, stretch=5, Q=8)
  const mix = { minimum: 0, stretch: 5, q: 8 };
  const cases: [number, number, number, [number, number, number]][] = [[1, 2, 3, [32, 65, 98]], [10, 0.5, 4, [197, 9, 79]], [100, 120, 90, [195, 234, 175]], [5000, 4000, 10, [255, 204, 0]], [0.01, 0.02, 0.005, [0, 1, 0]], [3, -1, 2, [117, 0, 78]]];
  cases.forEach(([r, g, b, expected]) => assert.deepEqual(mixColours(r, g, b, mix), expected));
  assert.deepEqual(mixColours(-1, -2, -3, mix), [0, 0, 0]);
  assert.ok(chooseMix(5, 1).minimum === 4);
});
