/** The connection of the page that this script is in: what its sentences are, and where its session is asked for. */

import { Keeper, readAnswer, type Answer, type PageDocument } from "./connection.ts";
import { make } from "./dom.ts";

const RESTORED = "skydesk-restored";
const BACK_MS = 5000;
const WORDS = {
  "lost": "The connection to the server was lost. It comes back by itself as soon as the network does; what you do meanwhile is kept.",
  "signed-out": "You are no longer signed in. ",
  "back": "The connection is back.",
  "restored": "The session of this page had ended while the connection was away. The page was opened again from its address: check what you typed last, it may have to be done again. ",
};

let watched = false;

function show(kind: keyof typeof WORDS, ...more: Node[]): void {
  const place = document.getElementById("sd-connection");
  if (place === null) return;
  place.dataset.kind = kind;
  place.replaceChildren(WORDS[kind], ...more);
}

function hide(kind: keyof typeof WORDS): void {
  const place = document.getElementById("sd-connection");
  if (place?.dataset.kind !== kind) return;
  delete place.dataset.kind;
  place.replaceChildren();
}

/** Watch over the connection of this page, from its first part that is drawn. */
export function watchConnection(base: string): void {
  const session = document.getElementById("sd-main")?.dataset.session;
  const page = (window as { Bokeh?: { documents: PageDocument[] } }).Bokeh?.documents[0];
  if (watched || session === undefined || page === undefined) return;
  watched = true;
  const address = `${base}/page-sessions/${encodeURIComponent(session)}`;
  const keeper = new Keeper(page, {
    ask: (): Promise<Answer> => fetch(address, { cache: "no-store" }).then(readAnswer, () => ({ kind: "unreachable" })),
    say: (kind) => {
      const link = make("a", { href: location.href }, "Sign in again");
      show(kind, ...(kind === "signed-out" ? [link] : []));
      if (kind === "back") window.setTimeout(() => hide("back"), BACK_MS);
    },
    restore: () => {
      sessionStorage.setItem(RESTORED, "1");
      location.reload();
    },
    now: () => performance.now(),
    isDrawn: () => document.querySelector("#sd-main [data-root-id] > *") !== null,
    wait: (milliseconds, then) => { window.setTimeout(then, milliseconds); },
  });
  window.addEventListener("online", () => keeper.hurry());
  document.addEventListener("visibilitychange", () => { if (!document.hidden) keeper.hurry(); });
  // Nothing waits for a page that was closed.
  window.addEventListener("pagehide", () => { void fetch(`${address}/closed`, { method: "POST", keepalive: true }).catch(() => undefined); });
  if (sessionStorage.getItem(RESTORED) !== null) {
    sessionStorage.removeItem(RESTORED);
    show("restored", make("button", { type: "button", onclick: () => hide("restored") }, "Close"));
  }
}
