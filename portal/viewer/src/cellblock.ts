/** A block of cells of a table that is marked with the mouse or the keyboard, to be copied. */

/** First and last row and column, in the order in which they were marked. */
export interface Block {
  row0: number;
  column0: number;
  row1: number;
  column1: number;
}

/** Cells of a block as spreadsheets take them: tabulators between columns, a line for each row. */
export function blockText(rows: (string | null)[][], block: Block): string {
  const [top, bottom] = [Math.min(block.row0, block.row1), Math.max(block.row0, block.row1)];
  const [left, right] = [Math.min(block.column0, block.column1), Math.max(block.column0, block.column1)];
  return rows.slice(top, bottom + 1).map((row) => row.slice(left, right + 1).map((cell) => cell ?? "").join("\t")).join("\n");
}

function has(block: Block, row: number, column: number): boolean {
  return (row - block.row0) * (row - block.row1) <= 0 && (column - block.column0) * (column - block.column1) <= 0;
}

/** Marks cells (`td[data-cell="row,column"]`) below an element and copies them. */
export class CellMarker {
  private readonly element: HTMLElement;
  private readonly told: (words: string) => void;
  private rows: (string | null)[][] = [];
  private block: Block | null = null;
  private isDown = false;
  private isDragged = false;

  /**
   * @param element - Holds the cells, also those drawn later.
   * @param told - Told in words what is marked; empty for nothing.
   */
  constructor(element: HTMLElement, told: (words: string) => void) {
    this.element = element;
    this.told = told;
    element.addEventListener("mousedown", (event) => this.onDown(event));
    element.addEventListener("mouseover", (event) => this.onOver(event));
    element.addEventListener("click", (event) => this.onClick(event), { capture: true });
    element.addEventListener("copy", (event) => this.onCopy(event));
  }

  /** Follow the rows that are drawn now; others than before have nothing marked. */
  show(rows: (string | null)[][], isSame: boolean): void {
    this.rows = rows;
    if (!isSame) this.block = null;
    this.paint();
  }

  /** Mark the whole of a row, or go on to it from where marking began. */
  extend(from: number, to: number): void {
    const width = (this.rows[0]?.length ?? 1) - 1;
    this.block = this.block ? { ...this.block, row1: to } : { row0: from, row1: to, column0: 0, column1: width };
    this.paint();
  }

  clear(): void {
    this.block = null;
    this.paint();
  }

  private cellOf(event: Event): [number, number] | null {
    const target = event.target instanceof Element ? event.target.closest<HTMLElement>("td[data-cell]") : null;
    const [row, column] = (target?.dataset["cell"] ?? "").split(",").map(Number);
    return row === undefined || column === undefined ? null : [row, column];
  }

  private onDown(event: MouseEvent): void {
    const cell = this.cellOf(event);
    if (!cell || event.button !== 0) return;
    this.isDown = true;
    this.isDragged = false;
    this.block = { row0: cell[0], column0: cell[1], row1: cell[0], column1: cell[1] };
    this.paint();
  }

  private onOver(event: MouseEvent): void {
    this.isDown &&= (event.buttons & 1) === 1;
    const cell = this.cellOf(event);
    if (!this.isDown || !this.block || !cell) return;
    if (cell[0] === this.block.row1 && cell[1] === this.block.column1) return;
    this.isDragged = true;
    // Across cells the browser would mark whole lines of text.
    document.getSelection()?.removeAllRanges();
    this.block = { ...this.block, row1: cell[0], column1: cell[1] };
    this.paint();
  }

  private onClick(event: MouseEvent): void {
    this.isDown = false;
    if (this.isDragged) event.stopPropagation();
    this.isDragged = false;
  }

  private onCopy(event: ClipboardEvent): void {
    if (!this.block || document.getSelection()?.toString()) return;
    if (event.target instanceof HTMLInputElement) return;
    event.clipboardData?.setData("text/plain", blockText(this.rows, this.block));
    event.preventDefault();
  }

  private paint(): void {
    const block = this.block;
    for (const cell of this.element.querySelectorAll<HTMLElement>("td[data-cell]")) {
      const [row, column] = (cell.dataset["cell"] ?? "").split(",").map(Number) as [number, number];
      cell.classList.toggle("marked", block !== null && has(block, row, column));
    }
    const count = block === null ? 0 : (Math.abs(block.row1 - block.row0) + 1) * (Math.abs(block.column1 - block.column0) + 1);
    this.told(count > 1 ? `${count} cells are marked: Ctrl+C copies them` : "");
  }
}
