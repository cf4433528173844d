// Runs the complete example of docs/protocol.md unchanged, while the server is killed and stopped.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { restart, URL, within } from "./fixture.mjs";

const document = await readFile(new globalThis.URL("../docs/protocol.md", import.meta.url), "utf8");
const [, code] = document.match(/```js\n(.*?)```/s);

test("the example of docs/protocol.md chats, and resumes after the server was killed or stopped", { timeout: 90_000 }, async () => {
  const child = spawn(process.execPath, ["--input-type=module", "--eval", code], {
    cwd: new globalThis.URL(".", import.meta.url),
    env: { ...process.env, ROOST_URL: URL },
    stdio: ["pipe", "pipe", "inherit"],
  });
  try {
    const printed = [];
    const waiting = new Set();
    createInterface({ input: child.stdout }).on("line", (line) => {
      printed.push(line);
      waiting.forEach((look) => look());
    });
    const ended = once(child, "close");
    const until = (what, fits) => {
      const seen = new Promise((resolve) => {
        const look = () => fits() && resolve(waiting.delete(look));
        waiting.add(look);
        look();
      });
      const early = ended.then(([code]) => assert.fail(`the example ended with ${code} before ${what}; it printed ${JSON.stringify(printed)}`));
      return within(what, Promise.race([seen, early]), 30_000);
    };
    // A client that is sent from one instance to another may join more than once.
    const joins = () => printed.filter((line) => line === "joined as owner").length;
    const messages = () => printed.filter((line) => !line.startsWith("joined"));

    await until("join", () => joins() >= 1);
    child.stdin.write("hello\n");
    await until("hello", () => messages().length === 1);
    const before = joins();
    const ready = restart("SIGKILL");
    child.stdin.write("still there?\n");
    await ready;
    await until("a join after the kill", () => joins() > before);
    await until("what was typed meanwhile", () => messages().length === 2);
    const beforeStop = joins();
    await restart("SIGTERM");
    await until("a join after the stop", () => joins() > beforeStop);
    child.stdin.write("bye\n");
    // The example leaves at the end of its input, once it has the reply, and the event may come after that.
    await until("bye", () => messages().length === 3);
    child.stdin.end();
    const [exit] = await within("exit", ended);

    const first = Number.parseInt(messages()[0], 10);
    assert.ok(first > 0);
    assert.deepEqual(messages(), [`${first} hello`, `${first + 1} still there?`, `${first + 2} bye`]);
    assert.equal(exit, 0);
  } finally {
    child.kill();
  }
});
