/** What the status bar says: pure functions on the server's answer, without the network or the page. */

/** The server extension's answer to `GET skydesk/status`; memory is in bytes (proportional set size). */
export interface LabStatus {
  release: string | null;
  user: string;
  memory: {
    used_bytes: number;
    limit_bytes: number | null;
    processes: number;
  };
  version: string;
  portal_url: string | null;
}

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

/** Write a number of bytes with three significant digits and a binary unit. */
export function formatBytes(bytes: number): string {
  if (!Number.isFinite(bytes) || bytes < 0) {
    throw new RangeError(`not a number of bytes: ${bytes}`);
  }
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const digits = unit === 0 || value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return `${value.toFixed(digits)} ${UNITS[unit]}`;
}

/** The memory part of the status line: what is used, and of how much when a limit is known. */
export function formatMemory(memory: LabStatus['memory']): string {
  const used = formatBytes(memory.used_bytes);
  return memory.limit_bytes === null ? used : `${used} / ${formatBytes(memory.limit_bytes)}`;
}

/** The whole status line: release, user, memory. */
export function formatStatusLine(status: LabStatus): string {
  return [status.release ?? 'no release', status.user, formatMemory(status.memory)].join(' · ');
}

/** Whether the memory in use is so close to its limit that the person should know. */
export function isMemoryShort(status: LabStatus, warnFraction: number): boolean {
  const limit = status.memory.limit_bytes;
  return limit !== null && status.memory.used_bytes > warnFraction * limit;
}

/** The rows of the details dialog, as pairs of a label and a value. */
export function describeStatus(status: LabStatus): [string, string][] {
  return [
    ['Data release', status.release ?? 'none is configured'],
    ['Signed in as', status.user],
    ['Memory in use', formatMemory(status.memory)],
    ['Processes', String(status.memory.processes)],
    ['skydesk', status.version],
  ];
}
