import assert from "node:assert/strict";
import { test } from "node:test";
import { formatDec, formatRa, localFrame, pixelToSky, skyToPixel, type WcsFit } from "../src/wcs.ts";

// 0.2 arcsec pixels, north up, east left, with a quadratic term of about half a pixel at the corner.
const s = (0.2 / 3600) * 512;
const fit: WcsFit = {
  crval: [53.13, -28.1], centre: [511.5, 511.5], scale: 512,
  xi: [[0, 0, 0], [-s, 0, 0], [5e-4 * s, 0, 0]], eta: [[0, s, 0], [0, 0, 0], [0, 0, 0]], max_error_arcsec: 1e-6,
};

test("the reference pixel lies at the reference position", () => {
  const [ra, dec] = pixelToSky(fit, 511.5, 511.5);
  assert.ok(Math.abs(ra - 53.13) < 1e-12 && Math.abs(dec + 28.1) < 1e-12);
});

test("pixel to sky and back agrees to a millionth of a pixel", () => {
  for (const [x, y] of [[0, 0], [1023, 0], [3.25, 900.5], [1023, 1023]] as const) {
    const back = skyToPixel(fit, ...pixelToSky(fit, x, y));
    assert.ok(back && Math.hypot(back[0] - x, back[1] - y) < 1e-6);
  }
});

test("east is left and north is up, with the right scale", () => {
  const frame = localFrame(fit, 511.5, 511.5);
  assert.ok(frame);
  assert.ok(Math.abs(frame.arcsec - 0.2) < 1e-4);
  assert.ok(frame.north[1] > 0.999 && frame.east[0] < -0.999);
});

test("the far hemisphere has no pixel", () => assert.equal(skyToPixel(fit, 233.13, 28.1), null));

test("sexagesimal rounds without a sixtieth second", () => {
  assert.equal(formatRa(359.9999999999), "00:00:00.000");
  assert.equal(formatRa(53.13), "03:32:31.200");
  assert.equal(formatDec(-28.1), "−28:06:00.00");
  assert.equal(formatDec(-0.0166666666), "−00:01:00.00");
});
