/** Tile layers with our own shaders: float planes stretched on the GPU and 32-bit masks by a lookup table. */

import WebGLTileLayer from "ol/layer/WebGLTile.js";
import type OlMap from "ol/Map.js";
import { getIntersection, isEmpty } from "ol/extent.js";
import Projection from "ol/proj/Projection.js";
import DataTile from "ol/source/DataTile.js";
import type WebGLTileLayerRenderer from "ol/renderer/webgl/TileLayer.js";
import TileGrid from "ol/tilegrid/TileGrid.js";
import { SLOPE_AT, type ColourMix } from "./lupton.ts";
import { LOOKUP_WIDTH, displayTable, maskTable } from "./palettes.ts";
import { EQUAL_BINS, SOFTENING, STRETCHES, type Display } from "./stretch.ts";
import { paddedSize, type ImageMeta, type TileStore } from "./tiles.ts";

/**
 * Texture that holds a lookup table, with the interface of OpenLayers' palette textures but of any size and
 * uploaded again when its content changes.
 */
class Lookup {
  private texture: WebGLTexture | null = null;
  private stale = true;
  readonly name: string;
  private data: Uint8Array;
  private readonly width: number;
  private readonly height: number;

  constructor(name: string, data: Uint8Array, width: number, height: number) {
    this.name = name;
    this.data = data;
    this.width = width;
    this.height = height;
  }

  replace(data: Uint8Array): void {
    this.data = data;
    this.stale = true;
  }

  getTexture(gl: WebGLRenderingContext): WebGLTexture | null {
    this.texture ??= gl.createTexture();
    if (this.stale) {
      this.stale = false;
      // The tile's texture may be bound: without restoring it the first tile shows the table for one frame.
      const bound = gl.getParameter(gl.TEXTURE_BINDING_2D) as WebGLTexture | null;
      gl.bindTexture(gl.TEXTURE_2D, this.texture);
      for (const key of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, key, gl.NEAREST);
      for (const key of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(gl.TEXTURE_2D, key, gl.CLAMP_TO_EDGE);
      gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, this.width, this.height, 0, gl.RGBA, gl.UNSIGNED_BYTE, this.data);
      gl.bindTexture(gl.TEXTURE_2D, bound);
    }
    return this.texture;
  }

  delete(gl: WebGLRenderingContext): void {
    gl.deleteTexture(this.texture);
    this.texture = null;
    this.stale = true;
  }
}

const VERTEX = `
  attribute vec2 a_textureCoord;
  uniform mat4 u_tileTransform;
  uniform float u_depth;
  uniform float u_texturePixelWidth;
  uniform float u_texturePixelHeight;
  uniform float u_textureResolution;
  varying vec2 v_at;
  varying vec2 v_map;
  void main() {
    v_at = a_textureCoord;
    v_map = vec2(u_texturePixelWidth * v_at.x, -u_texturePixelHeight * v_at.y) * u_textureResolution;
    gl_Position = u_tileTransform * vec4(a_textureCoord, u_depth, 1.0);
  }`;

const HEAD = `
  #ifdef GL_FRAGMENT_PRECISION_HIGH
  precision highp float;
  #else
  precision mediump float;
  #endif
  varying vec2 v_at;
  varying vec2 v_map;
  uniform vec4 u_renderExtent;
  uniform float u_transitionAlpha;
  uniform sampler2D u_tileTextures[1];
  uniform sampler2D u_paletteTextures[1];
  // Tiles reach beyond the image; what lies there is padding.
  bool outside() {
    return v_map.x < u_renderExtent.x || v_map.y < u_renderExtent.y || v_map.x > u_renderExtent.z || v_map.y > u_renderExtent.w;
  }`;

const FLOAT_FRAGMENT = `${HEAD}
  uniform vec2 u_limits;
  uniform float u_stretch;
  uniform float u_map;
  uniform vec4 u_shape;
  float arsinh(float x) { return log(x + sqrt(x * x + 1.0)); }
  void main() {
    if (outside()) discard;
    float v = texture2D(u_tileTextures[0], v_at).r;
    if (!(v > -3.3e38 && v < 3.3e38)) discard;
    float n = clamp((v - u_limits.x) / (u_limits.y - u_limits.x), 0.0, 1.0);
    float soft = arsinh(n / ${SOFTENING}) / arsinh(1.0 / ${SOFTENING});
    if (u_stretch == 1.0) n = sqrt(n);
    else if (u_stretch == 2.0) n = log(1.0 + 1000.0 * n) / log(1001.0);
    else if (u_stretch == 3.0) n = pow(n, 1.0 / u_shape.x);
    else if (u_stretch == 5.0) n = soft;
    else if (u_stretch == 4.0) {
      float bin = min(floor(soft * ${EQUAL_BINS}.0), ${EQUAL_BINS - 1}.0);
      vec4 share = texture2D(u_paletteTextures[0], vec2((bin + 0.5) / ${LOOKUP_WIDTH}.0, 0.75));
      n = (share.r * 65280.0 + share.g * 255.0) / 65535.0;
    }
    n = clamp((n - u_shape.y) * u_shape.z + 0.5, 0.0, 1.0);
    if (u_shape.w == 1.0) n = 1.0 - n;
    float column = (u_map * 256.0 + 0.5 + floor(n * 255.0 + 0.5)) / ${LOOKUP_WIDTH}.0;
    gl_FragColor = vec4(texture2D(u_paletteTextures[0], vec2(column, 0.25)).rgb, 1.0) * u_transitionAlpha;
  }`;

const COLOUR_FRAGMENT = `${HEAD}
  uniform float u_minimum;
  uniform float u_range;
  uniform float u_q;
  float arsinh(float x) { return log(x + sqrt(x * x + 1.0)); }
  void main() {
    if (outside()) discard;
    vec3 v = texture2D(u_tileTextures[0], v_at).rgb;
    float sum = v.r + v.g + v.b;
    if (!(sum > -3.3e38 && sum < 3.3e38)) discard;
    v -= u_minimum;
    float mean = (v.r + v.g + v.b) / 3.0;
    float slope = ${SLOPE_AT} * 255.0 / arsinh(${SLOPE_AT} * u_q);
    float factor = mean > 0.0 ? arsinh(mean * u_q / u_range) * slope / mean : 0.0;
    v = max(v * factor, 0.0);
    float top = max(v.r, max(v.g, v.b));
    if (top >= 255.0) v *= 255.0 / top;
    gl_FragColor = vec4(floor(v + 0.001) / 255.0, 1.0) * u_transitionAlpha;
  }`;

const MASK_FRAGMENT = `${HEAD}
  vec4 entry(float byte, float row) {
    return texture2D(u_paletteTextures[0], vec2((floor(byte * 255.0 + 0.5) + 0.5) / 256.0, (row + 0.5) / 4.0));
  }
  void main() {
    if (outside()) discard;
    vec4 m = texture2D(u_tileTextures[0], v_at);
    vec4 c = entry(m.r, 0.0);
    if (c.a == 0.0) c = entry(m.g, 1.0);
    if (c.a == 0.0) c = entry(m.b, 2.0);
    if (c.a == 0.0) c = entry(m.a, 3.0);
    if (c.a == 0.0) discard;
    gl_FragColor = vec4(c.rgb * c.a, c.a) * u_transitionAlpha;
  }`;

interface ShaderOptions {
  vertexShader: string;
  fragmentShader: string;
  uniforms: Record<string, () => number | number[]>;
  paletteTextures: Lookup[];
}

/** A tile layer that draws with the given shaders instead of a style. */
class ShaderLayer extends WebGLTileLayer {
  private readonly shaders: () => ShaderOptions;
  /** Called once when the browser gives no WebGL context. */
  failed: () => void = () => undefined;

  constructor(options: ConstructorParameters<typeof WebGLTileLayer>[0], shaders: () => ShaderOptions) {
    super(options);
    this.shaders = shaders;
    // Asked for while the graphics process is idle: at the first tile the script would wait until the page is painted.
    this.once("prerender", () => {
      const { helper } = this.getRenderer() as unknown as { helper: { getExtension(name: string): unknown } };
      for (const name of ["OES_texture_float", "OES_texture_float_linear", "OES_element_index_uint"]) helper.getExtension(name);
    });
  }

  override createRenderer(): WebGLTileLayerRenderer<this> {
    const renderer = super.createRenderer();
    (renderer as unknown as { reset(options: ShaderOptions): void }).reset(this.shaders());
    const prepare = renderer.prepareFrame.bind(renderer);
    let refused = false;
    renderer.prepareFrame = (frame) => {
      try {
        return !refused && prepare(frame);
      } catch (error) {
        // Without a context there is no helper; an error of each frame would stop the other layers.
        if ((renderer as unknown as { helper?: unknown }).helper) throw error;
        refused = true;
        this.failed();
        return false;
      }
    };
    return renderer as WebGLTileLayerRenderer<this>;
  }

  /** Level, column and row of the tiles that a view needs. */
  tilesIn(map: OlMap): [number, number, number][] {
    const grid = this.getSource()?.getTileGrid();
    const [view, size, extent] = [map.getView(), map.getSize(), this.getExtent()];
    const found: [number, number, number][] = [];
    if (!grid || !size || !extent || view.getResolution() === undefined) return found;
    const seen = getIntersection(view.calculateExtent(size), extent);
    if (!isEmpty(seen)) grid.forEachTileCoord(seen, grid.getZForResolution(view.getResolution() ?? 1), ([z = 0, x = 0, y = 0]) => found.push([z, x, y]));
    return found;
  }
}

/** The flat pixel plane of one image; map coordinates are 0-based array pixels plus one half, y up. */
export function pixelProjection(meta: ImageMeta): Projection {
  return new Projection({ code: `PIX-${meta.dataset_id}`, units: "pixels", extent: extentOf(meta) });
}

function extentOf(meta: ImageMeta): [number, number, number, number] {
  return [0, 0, meta.shape[1], meta.shape[0]];
}

function source(
  meta: ImageMeta,
  projection: Projection,
  bandCount: number,
  loader: (z: number, x: number, y: number, signal: AbortSignal) => Promise<Float32Array | Uint8Array>,
): DataTile {
  const side = paddedSize(meta);
  const resolutions = Array.from({ length: meta.levels }, (_, z) => 2 ** (meta.levels - 1 - z));
  return new DataTile({
    projection,
    bandCount,
    interpolate: false,
    transition: 0,
    wrapX: false,
    tileGrid: new TileGrid({ extent: extentOf(meta), origin: [0, side], tileSize: meta.tile_size, resolutions }),
    loader: (z, x, y, options) => loader(z, x, y, options.signal),
  });
}

/** Gives the values of one tile; level 0 is the coarsest, rows count from the top. */
export type TileLoader = (z: number, x: number, y: number, signal?: AbortSignal) => Promise<Float32Array>;

/** A float plane that is stretched and coloured on the GPU. */
export class FloatLayer extends ShaderLayer {
  private readonly lookup: Lookup;

  constructor(meta: ImageMeta, loader: TileLoader, projection: Projection, display: Display) {
    const lookup = new Lookup("u_paletteTextures[0]", displayTable(display.equal), LOOKUP_WIDTH, 2);
    super({ source: source(meta, projection, 1, loader), extent: extentOf(meta), cacheSize: 192 }, () => ({
      vertexShader: VERTEX,
      fragmentShader: FLOAT_FRAGMENT,
      paletteTextures: [lookup],
      uniforms: {
        u_limits: () => [display.low, display.high],
        u_stretch: () => STRETCHES.indexOf(display.stretch),
        u_map: () => display.map,
        u_shape: () => [display.gamma, display.bias, display.contrast, display.invert ? 1 : 0],
      },
    }));
    this.lookup = lookup;
  }

  /** Hand the histogram stretch a new distribution. */
  equalise(equal: Float32Array | null): void {
    this.lookup.replace(displayTable(equal));
  }
}

/** Three bands mixed to a colour picture on the GPU; the tiles hold the three values of each pixel side by side. */
export class ColourLayer extends ShaderLayer {
  constructor(meta: ImageMeta, loader: TileLoader, projection: Projection, mix: ColourMix) {
    const unused = new Lookup("u_paletteTextures[0]", new Uint8Array(4), 1, 1);
    super({ source: source(meta, projection, 3, loader), extent: extentOf(meta), cacheSize: 96 }, () => ({
      vertexShader: VERTEX,
      fragmentShader: COLOUR_FRAGMENT,
      paletteTextures: [unused],
      uniforms: { u_minimum: () => mix.minimum, u_range: () => mix.stretch, u_q: () => mix.q },
    }));
  }
}

/** Mask planes, each in its own colour, over the picture. */
export class MaskLayer extends ShaderLayer {
  private readonly lookup: Lookup;

  constructor(store: TileStore, projection: Projection) {
    const tiles = source(store.meta, projection, 4, (z, x, y, signal) => store.bytes(z, x, y, signal));
    const lookup = new Lookup("u_paletteTextures[0]", maskTable(new Map(), 0.6), 256, 4);
    super({ source: tiles, extent: extentOf(store.meta), cacheSize: 128, visible: false }, () => ({
      vertexShader: VERTEX,
      fragmentShader: MASK_FRAGMENT,
      paletteTextures: [lookup],
      uniforms: {},
    }));
    this.lookup = lookup;
  }

  /** Show the planes of these bits in these colours. */
  show(bits: Map<number, string>, opacity: number): void {
    this.lookup.replace(maskTable(bits, opacity));
    this.setVisible(bits.size > 0);
    this.changed();
  }
}
