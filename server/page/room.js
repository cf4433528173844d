// What a tab knows of a room: its items, its position, and what it sent and saw no answer to.
//
// Nothing here touches the document or the network.

/** The state of one room, kept by applying changes in whatever order pages and events bring them. */
export class Room {
  constructor(id) {
    this.id = id;
    this.position = null;
    this.items = new Map(); // id → { seq, kind, body }; a deleted item keeps its seq, without a body
    this.earlier = null; // the cursor of the next page of history
  }

  /** A change, or an item of a page, counts when it is newer than what is held, deletions included. */
  apply({ item, seq, kind, body }) {
    const held = this.items.get(item);
    if (held && held.seq >= seq) return false;
    this.items.set(item, { seq, kind, body: body ?? null });
    return true;
  }

  /** A page of history. The first one says where the room's changes go on. */
  applyPage({ items, next, position }) {
    this.position ??= position;
    this.earlier = next ?? null;
    return items.filter((message) => this.apply(asChange(message))).map((message) => message.id);
  }

  /** A frame of changes; answers the ids of the items that changed, or `null` for all of them. */
  applyFrame({ events, position, reset }) {
    if (reset) this.items.clear();
    const changed = events.filter((event) => this.apply(event)).map((event) => event.item);
    this.position = position;
    return reset ? null : changed;
  }

  /** The messages, oldest first. */
  messages() {
    return [...this.items]
      .filter(([, held]) => held.kind === "message" && held.body)
      .map(([id, held]) => ({ id, ...held.body }))
      .sort(byBirth);
  }
}

export function byBirth(a, b) {
  return Date.parse(a.createdAt) - Date.parse(b.createdAt) || (a.id < b.id ? -1 : 1);
}

function asChange({ id, seq, authorId, text, createdAt, editedAt }) {
  return { item: id, seq, kind: "message", body: { authorId, text, createdAt, editedAt } };
}

const KEPT = "roost.unsent";

/** Messages without an answer yet. Each has its own `opId`, so that sending it again has one effect. */
export class Unsent {
  constructor(storage) {
    this.storage = storage;
    this.messages = JSON.parse(storage.getItem(KEPT) ?? "[]");
  }

  add(room, text) {
    const id = uuid7();
    const message = { room, id, opId: id, text, createdAt: new Date().toISOString() };
    this.messages.push(message);
    this.#keep();
    return message;
  }

  of(room) {
    return this.messages.filter((message) => message.room === room);
  }

  remove(id) {
    this.messages = this.messages.filter((message) => message.id !== id);
    this.#keep();
  }

  refuse(id, reason) {
    const message = this.messages.find((message) => message.id === id);
    if (message) message.refused = reason;
    this.#keep();
  }

  clear() {
    this.messages = [];
    this.#keep();
  }

  #keep() {
    this.storage.setItem(KEPT, JSON.stringify(this.messages));
  }
}

/** RFC 9562 §5.7: 48 bits of milliseconds, then randomness. */
export function uuid7() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  let time = Date.now();
  for (let at = 5; at >= 0; at -= 1) {
    bytes[at] = time % 256;
    time = Math.floor(time / 256);
  }
  bytes[6] = (bytes[6] & 0x0f) | 0x70;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
