/**
 * Gets a page back to its session after the network was away, and opens it anew from its address when the session has ended.
 *
 * What the page sends meanwhile is kept and sent afterwards. Bokeh would draw the whole page anew at each return: that happens
 * only when the server had something to say that could not arrive.
 */

/** The parts of Bokeh's client (`client/connection.ts`) that are used. */
export interface Connection {
  session: unknown;
  send(message: unknown): void;
  reconnect(): Promise<void>;
  _repull_session_doc(resolve: (session: unknown) => void, reject: (error: unknown) => void): Promise<void>;
}

export interface PageDocument {
  on_event(name: string, callback: (document: PageDocument, event: { connection: { deref(): Connection | undefined } }) => void): void;
}

/** What the server says of the session; it has had nothing to tell the page for `calm_ms`. */
export type Answer = { kind: "open"; calm_ms: number } | { kind: "ended" } | { kind: "signed-out" } | { kind: "unreachable" };

/** What the connection needs of its surroundings. */
export interface Surroundings {
  ask(): Promise<Answer>;
  now(): number;
  /** Whether the page has content. */
  isDrawn(): boolean;
  say(kind: "lost" | "signed-out" | "back"): void;
  restore(): void;
  wait(milliseconds: number, then: () => void): void;
}

const FIRST_MS = 300;
const LONGEST_MS = 5000;
/** How much earlier than noticed the connection may have been lost. */
const UNNOTICED_MS = 5000;
/** How long a page may take to be drawn anew, and how often it is looked at meanwhile. */
const DRAWING_MS = 20_000;
const LOOK_MS = 50;

/** How long to wait before an attempt. */
export function waitMs(attempt: number): number {
  return Math.min(FIRST_MS * 2 ** attempt, LONGEST_MS);
}

/** What an HTTP answer to the question for the session means. */
export async function readAnswer(response: Response): Promise<Answer> {
  if (response.ok) return { kind: "open", calm_ms: Number(((await response.json()) as { calm_ms?: number }).calm_ms ?? 0) };
  if (response.status === 404) return { kind: "ended" };
  if (response.status === 401 || response.status === 403) return { kind: "signed-out" };
  return { kind: "unreachable" };
}

function addsRoots(message: unknown): boolean {
  const { content } = message as { content?: { events?: { kind: string }[] } };
  return content?.events?.some((event) => event.kind === "RootAdded") ?? false;
}

/** Watches over the connection of one page. */
export class Keeper {
  private kept: unknown[] | null = null;
  private attempts = 0;
  private since = 0;
  private asking = false;
  private connection: Connection | null = null;
  private readonly around: Surroundings;
  private readonly page: PageDocument;

  constructor(document: PageDocument, around: Surroundings) {
    this.around = around;
    this.page = document;
    document.on_event("connection_lost", (_document, event) => this.lost(event.connection.deref() ?? null));
    document.on_event("client_reconnected", () => {
      this.attempts = 0;
      this.around.say("back");
    });
  }

  /** Try now, if the connection is away: the network may have come back. */
  hurry(): void {
    if (this.kept !== null) void this.attempt();
  }

  private lost(connection: Connection | null): void {
    if (connection === null) return;
    this.connection = connection;
    if (this.kept === null) {
      const kept: unknown[] = [];
      this.kept = kept;
      this.since = this.around.now();
      connection.send = (message) => { kept.push(message); };
      this.around.say("lost");
    }
    this.around.wait(waitMs(this.attempts++), () => void this.attempt());
  }

  private async attempt(): Promise<void> {
    if (this.asking || this.kept === null || this.connection === null) return;
    this.asking = true;
    const answer = await this.around.ask().finally(() => { this.asking = false; });
    if (answer.kind === "open") await this.resume(this.connection);
    else if (answer.kind === "ended") this.around.restore();
    else if (answer.kind === "signed-out") this.around.say("signed-out");
    else this.around.wait(waitMs(this.attempts++), () => void this.attempt());
  }

  private async resume(connection: Connection): Promise<void> {
    const own = connection as Partial<Connection>;
    connection._repull_session_doc = async (resolve, reject) => {
      // The server has greeted: Bokeh's own methods are back, and what was kept goes first.
      delete own._repull_session_doc;
      delete own.send;
      for (const message of this.kept ?? []) connection.send(message);
      this.kept = null;
      const answer = await this.around.ask();
      const lost = this.around.now() - this.since + UNNOTICED_MS;
      if (answer.kind === "open" && answer.calm_ms > lost) resolve(connection.session);
      else await this.pull(connection, resolve, reject);
    };
    await connection.reconnect();
  }

  /** Draw the page anew from what the server has; Bokeh would tell the server of roots that it gave itself, with old values. */
  private async pull(connection: Connection, resolve: (session: unknown) => void, reject: (error: unknown) => void): Promise<void> {
    const own = connection as Partial<Connection>, send = connection.send.bind(connection);
    own.send = (message) => { if (!addsRoots(message)) send(message); };
    // Bokeh notes only once that a page is drawn; for one drawn anew it never would, and Panel writes no address until then.
    Object.defineProperty(this.page, "is_idle", { value: true, configurable: true });
    try {
      // What the server says to a page that has come back must meet parts that are there.
      await connection._repull_session_doc((session) => this.whenDrawn(() => resolve(session), DRAWING_MS), reject);
    } finally {
      delete own.send;
    }
  }

  private whenDrawn(then: () => void, left_ms: number): void {
    if (this.around.isDrawn() || left_ms <= 0) then();
    else this.around.wait(LOOK_MS, () => this.whenDrawn(then, left_ms - LOOK_MS));
  }
}
