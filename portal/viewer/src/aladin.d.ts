/** What we use of Aladin Lite, which has no types of its own. */
declare module "aladin-lite" {
  export interface Hips {
    setColormap(name: string, options: { stretch?: string; reversed?: boolean }): void;
    setCuts(low: number, high: number): void;
    /** Value of the texture at a place of the view; null where there is none. */
    readPixel(x: number, y: number): unknown;
  }
  export interface Coverage {
    show(): void;
    hide(): void;
  }
  export interface Aladin {
    on(event: string, callback: (value: unknown) => void): void;
    setBaseImageLayer(hips: Hips): void;
    gotoRaDec(raDeg: number, decDeg: number): void;
    getRaDec(): [number, number];
    setFoV(deg: number): void;
    getFov(): [number, number];
    setProjection(name: string): void;
    pix2world(x: number, y: number, frame: string): [number, number] | undefined;
    addMOC(moc: Coverage): void;
    setCooGrid(options: { enabled: boolean; color?: string; opacity?: number; labelSize?: number }): void;
    getViewDataURL(): Promise<string>;
    remove?(): void;
  }
  const A: {
    init: Promise<void>;
    aladin(element: HTMLElement, options: Record<string, unknown>): Aladin;
    HiPS(address: string, options: Record<string, unknown>): Hips;
    MOCFromJSON(cells: Record<string, number[]>, options: Record<string, unknown>): Coverage;
  };
  export default A;
}
