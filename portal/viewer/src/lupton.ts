/** Colour pictures of three bands after Lupton et al. (2004, PASP 116, 133): the hue does not depend on brightness. */

/** How three bands become a picture. */
export interface ColourMix {
  /** Value that becomes black, for all bands. */
  minimum: number;
  /** Range over which the picture is about linear, and how fast it turns logarithmic beyond. */
  stretch: number;
  q: number;
}

/** Share of the stretch at which the slope is taken. */
export const SLOPE_AT = 0.1;

/** Red, green and blue of three values, 0..255, as astropy's `make_lupton_rgb` computes them. */
export function mixColours(red: number, green: number, blue: number, mix: ColourMix): [number, number, number] {
  const bands = [red - mix.minimum, green - mix.minimum, blue - mix.minimum];
  const mean = ((bands[0] ?? 0) + (bands[1] ?? 0) + (bands[2] ?? 0)) / 3;
  const slope = (SLOPE_AT * 255) / Math.asinh(SLOPE_AT * mix.q);
  const factor = mean > 0 ? (Math.asinh((mean * mix.q) / mix.stretch) * slope) / mean : 0;
  const scaled = bands.map((band) => Math.max(band * factor, 0));
  const top = Math.max(...scaled);
  const shrink = top >= 255 ? 255 / top : 1;
  return scaled.map((v) => Math.floor(v * shrink)) as [number, number, number];
}

/** A mix that suits images with this noise: black at the sky, about linear up to thirty times the noise. */
export function chooseMix(median: number, sigma: number): ColourMix {
  return { minimum: median - sigma, stretch: Math.max(30 * sigma, Number.MIN_VALUE), q: 8 };
}
