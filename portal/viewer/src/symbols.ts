/** Symbols that mark places over an image. */

export const SYMBOLS = ["circle", "square", "diamond", "triangle", "cross", "plus"] as const;
export type Symbol = (typeof SYMBOLS)[number];

/** Add a symbol around a place to a path. */
export function trace(path: Path2D, symbol: Symbol, x: number, y: number, r: number): void {
  const corners = (points: [number, number][]): void => {
    points.forEach(([dx, dy], n) => { if (n === 0) path.moveTo(x + dx * r, y + dy * r); else path.lineTo(x + dx * r, y + dy * r); });
    path.closePath();
  };
  const lines = (ends: [number, number][]): void => {
    for (const [dx, dy] of ends) {
      path.moveTo(x - dx * r, y - dy * r);
      path.lineTo(x + dx * r, y + dy * r);
    }
  };
  if (symbol === "square") path.rect(x - r, y - r, 2 * r, 2 * r);
  else if (symbol === "diamond") corners([[0, -1], [1, 0], [0, 1], [-1, 0]]);
  else if (symbol === "triangle") corners([[0, -1], [0.87, 0.5], [-0.87, 0.5]]);
  else if (symbol === "cross") lines([[0.71, 0.71], [0.71, -0.71]]);
  else if (symbol === "plus") lines([[1, 0], [0, 1]]);
  else {
    path.moveTo(x + r, y);
    path.arc(x, y, r, 0, 2 * Math.PI);
  }
}
