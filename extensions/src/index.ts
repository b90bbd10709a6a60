/** The plugins of the extension, one file each; nothing else lives here. */
import { statusPlugin } from './plugins/status.js';

export default [statusPlugin];
