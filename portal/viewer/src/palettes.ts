/** Colour maps as 256 RGBA entries each, one after another in one lookup table for the GPU. */

export const COLOUR_MAPS = ["grey", "inverted grey", "viridis", "cividis", "magma", "blue–red"] as const;
export type ColourMap = (typeof COLOUR_MAPS)[number];

/** Anchors at equal distances, interpolated in between. */
const ANCHORS: Record<ColourMap, string> = {
  "grey": "000000 ffffff",
  "inverted grey": "ffffff 000000",
  "viridis": "440154 482475 414487 355f8d 2a788e 21918c 22a884 44bf70 7ad151 bddf26 fde725",
  "cividis": "00224e 123570 3b496c 575d6d 707173 8a8678 a59c74 c3b369 e1cc55 fee838",
  "magma": "000004 140e36 3b0f70 641a80 8c2981 b73779 de4968 f7705c fe9f6d fecf92 fcfdbf",
  "blue–red": "123a82 3f74b8 8fb9dd d9e6f2 f7f7f7 f6dcd2 eaa588 c95f52 8c1530",
};

/** Lookup table of all colour maps: 256 texels for each, RGBA. */
export function paletteTable(): Uint8Array {
  const table = new Uint8Array(COLOUR_MAPS.length * 256 * 4);
  COLOUR_MAPS.forEach((name, n) => {
    const stops = ANCHORS[name].split(" ").map((t) => [0, 2, 4].map((k) => parseInt(t.slice(k, k + 2), 16)));
    for (let i = 0; i < 256; i++) {
      const at = (i / 255) * (stops.length - 1);
      const low = Math.min(Math.floor(at), stops.length - 2);
      for (let c = 0; c < 3; c++) {
        const a = stops[low]?.[c] ?? 0;
        const b = stops[low + 1]?.[c] ?? 0;
        table[(n * 256 + i) * 4 + c] = Math.round(a + (b - a) * (at - low));
      }
      table[(n * 256 + i) * 4 + 3] = 255;
    }
  });
  return table;
}

/** Width of the lookup texture of the float shader: room for eight maps; its second row holds the equalisation. */
export const LOOKUP_WIDTH = 2048;

/** The lookup texture of the float shader: colour maps in the first row, the cumulative distribution in the second. */
export function displayTable(equal: Float32Array | null): Uint8Array {
  const table = new Uint8Array(LOOKUP_WIDTH * 2 * 4);
  table.set(paletteTable());
  const row = LOOKUP_WIDTH * 4;
  equal?.forEach((share, n) => {
    const value = Math.round(share * 65535);
    table[row + n * 4] = value >> 8;
    table[row + n * 4 + 1] = value & 255;
    table[row + n * 4 + 3] = 255;
  });
  return table;
}

/** CSS gradient of one colour map, for the colour bar. */
export function paletteGradient(name: ColourMap, invert = false): string {
  return `linear-gradient(to ${invert ? "left" : "right"}, ${ANCHORS[name].split(" ").map((t) => `#${t}`).join(", ")})`;
}

/** Colours of mask planes: first the well known ones, others by their bit from the same set. */
const MASK_COLOURS: Record<string, string> = {
  BAD: "#ff4d4d", SAT: "#3ddc5b", INTRP: "#c9e265", CR: "#ff66ff", EDGE: "#ffd400", DETECTED: "#4da3ff",
  DETECTED_NEGATIVE: "#28e0e0", NO_DATA: "#ff9a3d", SUSPECT: "#f5f06b", INEXACT_PSF: "#b08cff", CLIPPED: "#ff8fb3",
};
const OTHER_COLOURS = ["#7bdcb5", "#f0a6ca", "#9ad0f5", "#e0c068", "#c4a7e7", "#8fd14f"];

/** Colour of a mask plane. */
export function maskColour(name: string, bit: number): string {
  return MASK_COLOURS[name] ?? OTHER_COLOURS[bit % OTHER_COLOURS.length] ?? "#ffffff";
}

/**
 * Lookup table of the mask overlay: for each of the four bytes of a 32-bit mask and each value of that byte the
 * colour of its lowest shown bit.
 */
export function maskTable(shown: Map<number, string>, opacity: number): Uint8Array {
  const table = new Uint8Array(256 * 4 * 4);
  for (let byte = 0; byte < 4; byte++) {
    for (let value = 0; value < 256; value++) {
      for (let bit = 0; bit < 8; bit++) {
        const colour = shown.get(byte * 8 + bit);
        if (!(value & (1 << bit)) || !colour) continue;
        const at = (byte * 256 + value) * 4;
        for (let c = 0; c < 3; c++) table[at + c] = parseInt(colour.slice(1 + 2 * c, 3 + 2 * c), 16);
        table[at + 3] = Math.round(opacity * 255);
        break;
      }
    }
  }
  return table;
}
