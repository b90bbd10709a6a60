/** Regions on an image: their shapes in array pixels, which pixels they hold, and DS9's text form of them. */

import { formatPosition, toIcrs } from "./skyframes.ts";
import { localFrame, pixelToSky, skyToPixel, type WcsFit } from "./wcs.ts";

export const SHAPES = ["point", "circle", "ellipse", "box", "polygon", "line"] as const;
export type Shape = (typeof SHAPES)[number];

/**
 * A region; positions are 0-based array pixels, `size` holds radius, semi-axes or full sides in pixels, the angle is
 * counter-clockwise from the x axis in degrees.
 */
export interface Region {
  shape: Shape;
  points: [number, number][];
  size: number[];
  angle: number;
  text: string;
  colour: string;
  /** Whether the region takes its pixels away from others. */
  exclude?: boolean;
  /** From 0 to 1; without it the region is opaque. */
  opacity?: number;
}

export const COLOUR = "#3ddc84";

/** A region without words. */
export function makeRegion(shape: Shape, points: [number, number][], size: number[] = [], angle = 0): Region {
  return { shape, points, size, angle, text: "", colour: COLOUR };
}

function turned(region: Region, x: number, y: number): [number, number] {
  const [cx, cy] = region.points[0] ?? [0, 0];
  const a = (region.angle * Math.PI) / 180;
  const [dx, dy] = [x - cx, y - cy];
  return [dx * Math.cos(a) + dy * Math.sin(a), dy * Math.cos(a) - dx * Math.sin(a)];
}

/** Whether the middle of a pixel lies inside. */
export function holds(region: Region, x: number, y: number): boolean {
  const [u, v] = turned(region, x, y);
  const [a = 0, b = a] = region.size;
  switch (region.shape) {
    case "circle": return u * u + v * v <= a * a;
    case "ellipse": return (u / a) ** 2 + (v / b) ** 2 <= 1;
    case "box": return Math.abs(u) <= a / 2 && Math.abs(v) <= b / 2;
    case "polygon": {
      let inside = false;
      region.points.forEach(([x1, y1], n) => {
        const [x2, y2] = region.points[(n + 1) % region.points.length] ?? [x1, y1];
        if (y1 > y !== y2 > y && x < ((x2 - x1) * (y - y1)) / (y2 - y1) + x1) inside = !inside;
      });
      return inside;
    }
    default: return false;
  }
}

/** The region on whose rim, or else inside which, a pixel lies, the one drawn last first; null without one. */
export function regionAt(regions: readonly Region[], x: number, y: number, margin: number): Region | null {
  const last = [...regions].reverse();
  const onRim = (region: Region): boolean => {
    const rim = outline(region);
    const closed = region.shape === "line" || region.shape === "point" ? rim : [...rim, rim[0] ?? [NaN, NaN] as [number, number]];
    return closed.some(([x2, y2], n) => {
      const [x1, y1] = closed[n - 1] ?? [x2, y2];
      const [dx, dy] = [x2 - x1, y2 - y1];
      const along = Math.min(Math.max(((x - x1) * dx + (y - y1) * dy) / (dx * dx + dy * dy || 1), 0), 1);
      return Math.hypot(x - x1 - along * dx, y - y1 - along * dy) <= margin;
    });
  };
  return last.find(onRim) ?? last.find((region) => holds(region, x, y)) ?? null;
}

/** Points along the rim, in array pixels. */
export function outline(region: Region): [number, number][] {
  const [cx, cy] = region.points[0] ?? [0, 0];
  const [a = 0, b = a] = region.size;
  const angle = (region.angle * Math.PI) / 180;
  const place = (u: number, v: number): [number, number] => [cx + u * Math.cos(angle) - v * Math.sin(angle), cy + u * Math.sin(angle) + v * Math.cos(angle)];
  if (region.shape === "box") return [place(-a / 2, -b / 2), place(a / 2, -b / 2), place(a / 2, b / 2), place(-a / 2, b / 2)];
  if (region.shape === "circle" || region.shape === "ellipse") {
    return Array.from({ length: 72 }, (_, n) => place(a * Math.cos((n * Math.PI) / 36), (region.shape === "circle" ? a : b) * Math.sin((n * Math.PI) / 36)));
  }
  return region.points;
}

/** First and last column and row that a region may touch. */
export function bounds(region: Region): [number, number, number, number] {
  const rim = outline(region);
  const xs = rim.map((p) => p[0]);
  const ys = rim.map((p) => p[1]);
  return [Math.floor(Math.min(...xs)), Math.floor(Math.min(...ys)), Math.ceil(Math.max(...xs)), Math.ceil(Math.max(...ys))];
}

const NAMED: Record<string, string> = { green: COLOUR, red: "#ff5d5d", blue: "#6fa8ff", cyan: "#4fe3e3", magenta: "#ff7be5", yellow: "#ffe14d", white: "#ffffff", black: "#000000", orange: "#ffa94d" };

/** What was read of a text, and the lines that were not understood, with the reason. */
export interface ParsedRegions {
  regions: Region[];
  problems: string[];
}

function angleDeg(text: string, hours: boolean): number {
  const parts = text.trim().replace(/[hmd°'"″′]|s$/gi, (c) => (/[hmd°'′]/i.test(c) && text.includes("s") ? ":" : "")).split(":").filter((p) => p !== "");
  if (parts.length === 1) return Number(parts[0]);
  const [d, m, s] = parts.map((p) => Math.abs(Number(p)));
  const value = (d ?? 0) + (m ?? 0) / 60 + (s ?? 0) / 3600;
  return (text.trim().startsWith("-") ? -value : value) * (hours ? 15 : 1);
}

/** Degrees of a length on the sky, or the number with NaN degrees when it is in pixels. */
function lengthOf(text: string): { degrees: number; pixels: number } {
  const found = /^([-+.\deE]+)\s*(["'dpir]?)$/.exec(text.trim());
  const value = found ? Number(found[1]) : NaN;
  const factor = { '"': 1 / 3600, "'": 1 / 60, "d": 1, "r": 180 / Math.PI }[found?.[2] ?? ""];
  return { degrees: factor === undefined ? NaN : value * factor, pixels: value };
}

const COUNTS: Record<string, Shape> = { point: "point", circle: "circle", ellipse: "ellipse", box: "box", polygon: "polygon", line: "line" };

interface Target {
  fit: WcsFit | null;
  /** Array pixel of the first pixel in the image's own frame. */
  xy0: [number, number];
}

/** Read DS9's text: image, physical, FK5, ICRS and galactic coordinates. */
export function parseDs9(text: string, target: Target): ParsedRegions {
  const out: ParsedRegions = { regions: [], problems: [] };
  let system = "physical";
  let globalColour = COLOUR;
  for (const raw of text.split(/[\n;]/)) {
    let line = raw.trim();
    if (line === "" || line.startsWith("#")) continue;
    const comment = line.indexOf("#");
    const options = comment >= 0 ? line.slice(comment + 1) : "";
    if (comment >= 0) line = line.slice(0, comment).trim();
    if (line.startsWith("global")) {
      globalColour = colourOf(line) ?? globalColour;
      continue;
    }
    if (/^(image|physical|fk5|icrs|j2000|galactic|ecliptic|fk4|linear|detector|amplifier|wcs)$/i.test(line)) {
      system = line.toLowerCase();
      continue;
    }
    const found = /^([+-]?)\s*(\w+)\s*[( ]([^)]*)\)?$/.exec(line);
    const shape = COUNTS[found?.[2]?.toLowerCase() ?? ""];
    if (!found || !shape) {
      out.problems.push(`“${line.slice(0, 60)}” is not a shape that can be drawn`);
      continue;
    }
    const words = (found[3] ?? "").split(/[,\s]+/).filter((w) => w !== "");
    try {
      const region = placeRegion(shape, words, system, target);
      region.colour = colourOf(options) ?? globalColour;
      region.text = /text\s*=\s*(?:\{([^}]*)\}|"([^"]*)"|'([^']*)')/.exec(options)?.slice(1).find((t) => t !== undefined) ?? "";
      if (found[1] === "-") region.exclude = true;
      const opacity = /alpha\s*=\s*(0?\.\d+)/.exec(options)?.[1];
      if (opacity !== undefined) region.opacity = Number(opacity);
      out.regions.push(region);
    } catch (error) {
      out.problems.push(`“${line.slice(0, 60)}”: ${(error as Error).message}`);
    }
  }
  return out;
}

function colourOf(options: string): string | null {
  const found = /color\s*=\s*(#[0-9a-f]{6}|\w+)/i.exec(options)?.[1]?.toLowerCase();
  return found ? (found.startsWith("#") ? found : NAMED[found] ?? null) : null;
}

function placeRegion(shape: Shape, words: string[], system: string, target: Target): Region {
  const sky = !["image", "physical"].includes(system);
  if (sky && !["fk5", "icrs", "j2000", "galactic", "ecliptic"].includes(system)) throw new Error(`the system ${system} is not known`);
  if (sky && !target.fit) throw new Error("the image has no sky coordinates");
  const place = (n: number): [number, number] => {
    const [a, b] = [words[n], words[n + 1]];
    if (a === undefined || b === undefined) throw new Error("a coordinate is missing");
    let at: [number, number] | null;
    if (!sky) {
      const [x, y] = [Number(a), Number(b)];
      // DS9 counts the first pixel as 1; physical pixels are those of the image's own frame.
      at = system === "image" ? [x - 1, y - 1] : [x - target.xy0[0], y - target.xy0[1]];
    } else {
      const frame = system === "galactic" || system === "ecliptic" ? system : "ICRS";
      const lon = angleDeg(a, frame === "ICRS");
      at = target.fit ? skyToPixel(target.fit, ...toIcrs(frame, lon, angleDeg(b, false))) : null;
    }
    if (!at || !Number.isFinite(at[0] + at[1])) throw new Error("the position does not lie on this image's plane");
    return at;
  };
  if (shape === "polygon" || shape === "line") {
    const count = shape === "line" ? 2 : Math.floor(words.length / 2);
    if (count < (shape === "line" ? 2 : 3)) throw new Error("a polygon has at least three corners");
    return makeRegion(shape, Array.from({ length: count }, (_, n) => place(2 * n)));
  }
  const at = place(0);
  const frame = target.fit ? localFrame(target.fit, ...at) : null;
  const lengths = { point: 0, circle: 1, ellipse: 2, box: 2 }[shape];
  const size = words.slice(2, 2 + lengths).map((word) => {
    const { degrees, pixels } = lengthOf(word);
    const value = Number.isNaN(degrees) && !sky ? pixels : frame ? ((Number.isNaN(degrees) ? pixels : degrees) * 3600) / frame.arcsec : NaN;
    if (!(value > 0)) throw new Error(`“${word}” is not a size`);
    return value;
  });
  if (size.length < lengths) throw new Error("a size is missing");
  let angle = Number(words[2 + lengths] ?? 0);
  // On the sky the angle is counted from west (towards north), which is where the x axis points when north is up.
  if (sky && frame && lengths === 2) angle += (Math.atan2(frame.north[1], frame.north[0]) * 180) / Math.PI - 90;
  return makeRegion(shape, [at], size, angle);
}

/** DS9's text of regions, in ICRS where the image has sky coordinates; opacities are ours and not for DS9. */
export function formatDs9(regions: readonly Region[], target: Target, opacities = false): string {
  const { fit } = target;
  const lines = ["# Region file format: DS9 version 4.1", fit ? "icrs" : "image"];
  for (const region of regions) {
    const place = ([x, y]: [number, number]): string => (fit ? pixelToSky(fit, x, y).map((v) => v.toFixed(8)).join(",") : `${(x + 1).toFixed(3)},${(y + 1).toFixed(3)}`);
    const frame = fit && region.points[0] ? localFrame(fit, ...region.points[0]) : null;
    const sizes = region.size.map((s) => (frame ? `${(s * frame.arcsec).toFixed(4)}"` : s.toFixed(3)));
    const turn = frame ? region.angle - (Math.atan2(frame.north[1], frame.north[0]) * 180) / Math.PI + 90 : region.angle;
    const parts = [...region.points.map(place), ...sizes];
    if (region.shape === "box" || region.shape === "ellipse") parts.push(turn.toFixed(3));
    const name = region.text ? ` text={${region.text}}` : "";
    lines.push(`${region.exclude ? "-" : ""}${region.shape}(${parts.join(",")}) # color=${region.colour}${name}${opacities && region.opacity !== undefined ? ` alpha=${region.opacity}` : ""}`);
  }
  return `${lines.join("\n")}\n`;
}

/** A region in words, for lists. */
export function describe(region: Region, fit: WcsFit | null): string {
  const at = region.points[0];
  const where = at && fit ? formatPosition("ICRS", ...pixelToSky(fit, ...at)) : at ? `x ${at[0].toFixed(1)}, y ${at[1].toFixed(1)}` : "";
  return `${region.text || region.shape} at ${where}`;
}

