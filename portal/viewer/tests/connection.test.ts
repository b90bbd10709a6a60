import assert from "node:assert/strict";
import { test } from "node:test";
import { Keeper, readAnswer, waitMs, type Answer, type Connection, type PageDocument } from "../src/connection.ts";

type Heard = (document: PageDocument, event: { connection: { deref(): Connection | undefined } }) => void;

/** A page whose connection is lost; what the server answers is given. */
function losePage(answers: Answer[]) {
  const heard = new Map<string, Heard>();
  const page: PageDocument = { on_event: (name, callback) => { heard.set(name, callback); } };
  const sent: unknown[] = [], said: string[] = [], waits: number[] = [];
  const due: (() => void)[] = [];
  let clock = 0;
  let pulls = 0, restored = 0;
  const tell = (name: string): void => heard.get(name)?.(page, { connection: { deref: () => connection } });
  class Socket implements Connection {
    session = "session";
    send(message: unknown): void { sent.push(message); }
    _repull_session_doc(resolve: (session: unknown) => void, _reject: (error: unknown) => void): Promise<void> { pulls++; resolve(this.session); return Promise.resolve(); }
    async reconnect(): Promise<void> {
      await new Promise((resolve, reject) => void this._repull_session_doc(resolve, reject));
      tell("client_reconnected");
    }
  }
  const connection = new Socket();
  new Keeper(page, {
    ask: () => Promise.resolve(answers.shift() ?? { kind: "unreachable" }),
    say: (kind) => said.push(kind),
    restore: () => { restored++; },
    now: () => clock,
    isDrawn: () => true,
    wait: (milliseconds, then) => { waits.push(milliseconds); due.push(then); },
  });
  tell("connection_lost");
  const pass = async (): Promise<void> => {
    clock += 1000;
    due.shift()?.();
    for (let n = 0; n < 20; n++) await Promise.resolve();
  };
  return { connection, sent, said, waits, pass, pulls: () => pulls, restored: () => restored };
}

test("attempts come soon at first and every five seconds at last", () => {
  assert.deepEqual([0, 1, 2, 3, 4, 5, 50].map(waitMs), [300, 600, 1200, 2400, 4800, 5000, 5000]);
});

test("what the server says is understood", async () => {
  assert.deepEqual(await readAnswer(new Response('{"calm_ms": 3}')), { kind: "open", calm_ms: 3 });
  for (const [status, kind] of [[404, "ended"], [401, "signed-out"], [403, "signed-out"], [503, "unreachable"]] as const) {
    assert.deepEqual(await readAnswer(new Response(null, { status })), { kind });
  }
});

test("a page that missed nothing goes on as it is, and what it had to say is sent in order", async () => {
  const page = losePage([{ kind: "unreachable" }, { kind: "open", calm_ms: 9000 }, { kind: "open", calm_ms: 9000 }]);
  page.connection.send("first");
  page.connection.send("second");
  assert.deepEqual(page.sent, []);
  await page.pass();
  await page.pass();
  assert.deepEqual(page.sent, ["first", "second"]);
  assert.deepEqual(page.said, ["lost", "back"]);
  assert.deepEqual(page.waits, [300, 600]);
  assert.equal(page.pulls(), 0);
  page.connection.send("third");
  assert.deepEqual(page.sent, ["first", "second", "third"]);
});

test("a page that missed something is drawn anew after its own words have arrived", async () => {
  const page = losePage([{ kind: "open", calm_ms: 9000 }, { kind: "open", calm_ms: 5500 }]);
  page.connection.send("first");
  await page.pass();
  assert.deepEqual(page.sent, ["first"]);
  assert.equal(page.pulls(), 1);
  assert.deepEqual(page.said, ["lost", "back"]);
});

test("a session that has ended leads to the address, a sign-in that has ended is said", async () => {
  const ended = losePage([{ kind: "ended" }]);
  await ended.pass();
  assert.equal(ended.restored(), 1);
  const out = losePage([{ kind: "signed-out" }]);
  await out.pass();
  assert.deepEqual(out.said, ["lost", "signed-out"]);
  assert.equal(out.restored(), 0);
});
