/** The only module that talks to the server; tokens never pass through here. */
import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';

import type { LabStatus } from './status.js';

/** Ask the server extension for release, user and memory. */
export async function getStatus(): Promise<LabStatus> {
  const settings = ServerConnection.makeSettings();
  const url = URLExt.join(settings.baseUrl, 'skydesk', 'status');
  const response = await ServerConnection.makeRequest(url, {}, settings);
  if (!response.ok) {
    throw new ServerConnection.ResponseError(response);
  }
  return (await response.json()) as LabStatus;
}
