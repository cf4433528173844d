// The complete example of docs/protocol.md, executed as it stands there, with the server killed and stopped meanwhile.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { restart, URL, within } from "./house.mjs";

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
    const until = (what, fits) =>
      within(what, new Promise((resolve) => {
        const look = () => fits() && resolve(waiting.delete(look));
        waiting.add(look);
        look();
      }), 30_000);
    const joins = () => printed.filter((line) => line === "joined as owner").length;
    const messages = () => printed.filter((line) => !line.startsWith("joined"));

    await until("join", () => joins() === 1);
    child.stdin.write("hello\n");
    await until("hello", () => messages().length === 1);
    const ready = restart("SIGKILL");
    child.stdin.write("still there?\n");
    await ready;
    await until("second join", () => joins() === 2);
    await until("what was typed meanwhile", () => messages().length === 2);
    await restart("SIGTERM");
    await until("third join", () => joins() === 3);
    child.stdin.end("bye\n");
    await until("bye", () => messages().length === 3);

    const first = Number.parseInt(messages()[0], 10);
    assert.ok(first > 0);
    assert.deepEqual(messages(), [`${first} hello`, `${first + 1} still there?`, `${first + 2} bye`]);
    const [exit] = await within("exit", new Promise((resolve) => child.on("close", (...end) => resolve(end))));
    assert.equal(exit, 0);
  } finally {
    child.kill();
  }
});
