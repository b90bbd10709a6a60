import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
  describeStatus,
  formatBytes,
  formatMemory,
  formatStatusLine,
  isMemoryShort,
  type LabStatus
} from '../status.js';

const STATUS: LabStatus = {
  release: 'demo',
  user: 'ada',
  memory: { used_bytes: 300 * 1024 ** 2, limit_bytes: 3 * 1024 ** 3, processes: 4 },
  version: '0.1.0',
  portal_url: '/portal/app'
};

test('bytes get a binary unit and three digits', () => {
  assert.equal(formatBytes(0), '0 B');
  assert.equal(formatBytes(999), '999 B');
  assert.equal(formatBytes(1536), '1.50 KiB');
  assert.equal(formatBytes(10 * 1024 ** 2), '10.0 MiB');
  assert.equal(formatBytes(3 * 1024 ** 3), '3.00 GiB');
});

test('a negative or missing number of bytes is refused', () => {
  assert.throws(() => formatBytes(-1), RangeError);
  assert.throws(() => formatBytes(Number.NaN), RangeError);
});

test('a limit is shown only when there is one', () => {
  assert.equal(formatMemory(STATUS.memory), '300 MiB / 3.00 GiB');
  assert.equal(formatMemory({ ...STATUS.memory, limit_bytes: null }), '300 MiB');
});

test('the line names release, user and memory in this order', () => {
  assert.equal(formatStatusLine(STATUS), 'demo · ada · 300 MiB / 3.00 GiB');
  assert.equal(formatStatusLine({ ...STATUS, release: null }), 'no release · ada · 300 MiB / 3.00 GiB');
});

test('memory is short above the fraction and never without a limit', () => {
  assert.equal(isMemoryShort(STATUS, 0.9), false);
  assert.equal(isMemoryShort(STATUS, 0.05), true);
  assert.equal(isMemoryShort({ ...STATUS, memory: { ...STATUS.memory, limit_bytes: null } }, 0), false);
});

test('the details name the number of processes and the version', () => {
  const details = new Map(describeStatus(STATUS));
  assert.equal(details.get('Processes'), '4');
  assert.equal(details.get('skydesk'), '0.1.0');
});
