/** Plugin `@skydesk/lab:status`: release, user and memory in the status bar, details on a click. */
import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { Dialog, showDialog } from '@jupyterlab/apputils';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { IStatusBar } from '@jupyterlab/statusbar';
import { Widget } from '@lumino/widgets';

import { getStatus } from '../api.js';
import { describeStatus, formatStatusLine, isMemoryShort, type LabStatus } from '../status.js';

const PLUGIN_ID = '@skydesk/lab:status';
const DEFAULT_INTERVAL_S = 15;
const DEFAULT_WARN_FRACTION = 0.9;

/** The item in the status bar; a button, so that the keyboard reaches it. */
class StatusItem extends Widget {
  constructor() {
    super({ node: document.createElement('button') });
    this.addClass('sky-Status');
    this.node.setAttribute('type', 'button');
    this.node.title = 'Release, user and memory: click for details';
    this.node.textContent = 'skydesk …';
    this.node.addEventListener('click', () => void this.showDetails());
  }

  /** Show a new answer of the server. */
  showStatus(status: LabStatus, warnFraction: number): void {
    this.status = status;
    this.node.textContent = formatStatusLine(status);
    this.node.setAttribute('aria-label', `skydesk: ${formatStatusLine(status)}`);
    this.toggleClass('sky-mod-warning', isMemoryShort(status, warnFraction));
  }

  /** Say that the server part does not answer; the last known answer is not repeated as if it were new. */
  showUnavailable(): void {
    this.status = null;
    this.node.textContent = 'skydesk: no answer';
  }

  private async showDetails(): Promise<void> {
    const status = this.status ?? (await getStatus());
    const body = new Widget({ node: document.createElement('table') });
    body.addClass('sky-StatusDetails');
    for (const [label, value] of describeStatus(status)) {
      const row = (body.node as HTMLTableElement).insertRow();
      const head = document.createElement('th');
      head.scope = 'row';
      head.textContent = label;
      row.append(head);
      row.insertCell().textContent = value;
    }
    const buttons = [Dialog.okButton({ label: 'Close' })];
    if (status.portal_url !== null) {
      buttons.unshift(Dialog.createButton({ label: 'Open the Portal', accept: false, actions: ['portal'] }));
    }
    const result = await showDialog({ title: 'skydesk', body, buttons });
    if (result.button.actions.includes('portal') && status.portal_url !== null) {
      window.open(status.portal_url, '_blank', 'noopener');
    }
  }

  private status: LabStatus | null = null;
}

/** Read a number from the settings, or its default when the registry could not be loaded. */
function readNumber(settings: ISettingRegistry.ISettings | null, key: string, fallback: number): number {
  const value = settings?.get(key).composite;
  return typeof value === 'number' ? value : fallback;
}

export const statusPlugin: JupyterFrontEndPlugin<void> = {
  id: PLUGIN_ID,
  description: 'Shows the data release, the user and the memory in use.',
  autoStart: true,
  requires: [IStatusBar],
  optional: [ISettingRegistry],
  activate: async (
    app: JupyterFrontEnd,
    statusBar: IStatusBar,
    registry: ISettingRegistry | null
  ): Promise<void> => {
    const item = new StatusItem();
    statusBar.registerStatusItem(PLUGIN_ID, { item, align: 'right', rank: 10 });
    const settings = registry === null ? null : await registry.load(PLUGIN_ID);
    let timer = 0;
    const refresh = async (): Promise<void> => {
      window.clearTimeout(timer);
      // A hidden page asks nothing: a lab that nobody looks at must not look busy to the culler.
      if (!document.hidden) {
        try {
          item.showStatus(await getStatus(), readNumber(settings, 'warnFraction', DEFAULT_WARN_FRACTION));
        } catch (error) {
          console.warn('skydesk: the status could not be read', error);
          item.showUnavailable();
        }
      }
      const seconds = readNumber(settings, 'interval', DEFAULT_INTERVAL_S);
      timer = window.setTimeout(() => void refresh(), 1000 * seconds);
    };
    settings?.changed.connect(() => void refresh());
    document.addEventListener('visibilitychange', () => {
      if (!document.hidden) {
        void refresh();
      }
    });
    // Not awaited: the application waits for its plugins, so a plugin must not wait for the application.
    void app.restored.then(refresh);
  }
};
