// Writes into the document. Text is only ever set as text, so nothing that people write is markup.

const STICK_PIXELS = 80;

export const $ = (id) => document.getElementById(id);

/** What the connection does: "live", "connecting" or "offline", and in words. */
export function state(name, text) {
  $("connection").dataset.state = name;
  $("connection").textContent = text;
}

export function notice(text) {
  $("notice").textContent = text;
  $("notice").hidden = !text;
}

export function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

/** Shows messages, `{ id, authorId, author, isMine, text, createdAt, editedAt, isPending, refused }`.
 *  A line that is shown already stays, so that a screen reader reads out only what is new. */
export function showLines(messages, { mustScroll, remove }) {
  const [list, scroll] = [$("messages"), $("scroll")];
  const isAtEnd = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < STICK_PIXELS;
  const shown = new Map([...list.children].map((line) => [line.dataset.key, line]));
  const lines = messages.map((message) => {
    const key = [message.id, message.editedAt, message.isPending, message.refused, message.author].join();
    return shown.get(key) ?? line(message, key, remove);
  });
  const kept = new Set(lines);
  for (const old of [...list.children]) if (!kept.has(old)) old.remove();
  lines.forEach((each, at) => list.children[at] !== each && list.insertBefore(each, list.children[at] ?? null));
  if (isAtEnd || mustScroll) scroll.scrollTop = scroll.scrollHeight;
}

/** Shows something above the messages without moving those in view. */
export function keepInView(show) {
  const scroll = $("scroll");
  const { scrollHeight, scrollTop } = scroll;
  show();
  scroll.scrollTop = scrollTop + scroll.scrollHeight - scrollHeight;
}

function line(message, key, remove) {
  const time = new Date(message.createdAt).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  const notes = [message.author ?? "…", time];
  if (message.editedAt) notes.push("edited");
  if (message.refused) notes.push(`not sent: ${message.refused}`);
  else if (message.isPending) notes.push("sending…");
  const by = element("span", { className: "by", textContent: `${notes.join(" · ")} ` });
  if (message.isMine && (message.refused || !message.isPending)) {
    const button = element("button", { type: "button", className: "quiet", textContent: "delete" });
    button.addEventListener("click", () => remove(message));
    by.append(button);
  }
  const made = element("li", {}, by, message.text);
  made.dataset.key = key;
  made.classList.toggle("mine", message.isMine);
  made.classList.toggle("pending", Boolean(message.isPending && !message.refused));
  made.classList.toggle("refused", Boolean(message.refused));
  return made;
}
