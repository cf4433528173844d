// Who is in the room now, who is typing, and what they are called.
//
// Nothing here touches the document or the network.

const TYPING_SHOWN_MS = 4_000;

export class People {
  #names = new Map(); // person → name
  #present = new Map(); // person → "here" | "moving"
  #typing = new Map(); // person → until when it is shown
  #version = null; // of the room's presence, as last told

  /** Forgets who is here, not what people are called. */
  leave() {
    this.#present.clear();
    this.#typing.clear();
    this.#version = null;
  }

  name(id, name) {
    this.#names.set(id, name);
  }

  nameOf(id) {
    return this.#names.get(id);
  }

  /** Everyone who is here, as the answer to joining or asking has it. */
  replace(people) {
    this.#present = new Map(people.map(({ userId, state }) => [userId, state]));
  }

  /** One person came, moves, or left. Answers false when a change before it was missed. */
  change({ version, userId, state }) {
    const isNext = this.#version === null || version === this.#version + 1;
    this.#version = version;
    if (state === "gone") this.#present.delete(userId);
    else this.#present.set(userId, state);
    return isNext;
  }

  isAt(version) {
    return this.#version === version;
  }

  /** `[person, "here" | "moving"]` for each who is here. */
  present() {
    return [...this.#present];
  }

  startTyping(id) {
    this.#typing.set(id, Date.now() + TYPING_SHOWN_MS);
    return TYPING_SHOWN_MS;
  }

  stopTyping(id) {
    this.#typing.delete(id);
  }

  typing() {
    for (const [id, until] of this.#typing) if (until <= Date.now()) this.#typing.delete(id);
    return [...this.#typing.keys()];
  }
}
