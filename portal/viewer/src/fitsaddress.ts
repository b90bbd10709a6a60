/** Addresses of FITS files: which of them are views of this portal, and how the arrival of a file is told. */

/** One line of the server's answer while it fetches a file. */
export interface Step<Kept> {
  received?: number;
  total?: number | null;
  file?: Kept;
  error?: string;
}

/** Release and identifier of the image that an address of this portal's Images page shows; null for any other address. */
export function viewOf(address: string, here: string): [string, string] | null {
  let found: URL;
  try {
    found = new URL(address, here);
  } catch {
    return null;
  }
  const own = new URL(here);
  const [release, id] = [found.searchParams.get("release"), found.searchParams.get("id")];
  return found.origin === own.origin && found.pathname === own.pathname && release && id ? [release, id] : null;
}

/** How much of a file has arrived. */
export function arrival(step: Step<unknown>): string {
  const megabytes = (bytes: number): string => (bytes / 1e6).toFixed(1);
  const received = step.received ?? 0;
  if (!step.total) return `${megabytes(received)} MB have arrived…`;
  return `${megabytes(received)} of ${megabytes(step.total)} MB have arrived (${Math.floor((100 * received) / step.total)} %)…`;
}

/** The JSON objects of a stream, one a line. */
export async function* readLines<T>(body: ReadableStream<Uint8Array>): AsyncGenerator<T> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    rest += done ? decoder.decode() : decoder.decode(value, { stream: true });
    const lines = rest.split("\n");
    rest = done ? "" : (lines.pop() ?? "");
    for (const line of lines) if (line.trim() !== "") yield JSON.parse(line) as T;
    if (done) return;
  }
}
