// What a socket waits for: answers by their number, events by their text. Each within a time, and none longer than the
// connection.

/**
 * @import { Kit } from "../kit.d.ts"
 *
 * @typedef {object} Awaited
 * @property {(value: any) => void} resolve
 * @property {(error: Error) => void} reject
 */

const PATIENCE_MS = 10_000;

export class Waiting {
  /** @param {Pick<Kit, "setTimeout" | "clearTimeout">} kit */
  constructor(kit) {
    this.kit = kit;
    /** @type {Error | undefined} */
    this.lost = undefined;
    /** @type {Map<string, Awaited>} */
    this.awaited = new Map();
  }

  /**
   * @param {string} key
   * @param {string} what in words, the same for all of a sort: k6 counts each message of an error
   * @returns {Promise<any>} what the key is settled with
   */
  for(key, what) {
    return new Promise((resolve, reject) => {
      if (this.lost) return void reject(this.lost);
      const late = () => this.take(key)?.reject(new Error(`no ${what} within ${PATIENCE_MS} ms`));
      const timer = this.kit.setTimeout(late, PATIENCE_MS);
      // A timer that is left would keep the iteration from ending.
      const stop = () => this.kit.clearTimeout(timer);
      this.awaited.set(key, {
        resolve: (value) => (stop(), resolve(value)),
        reject: (error) => (stop(), reject(error)),
      });
    });
  }

  /**
   * Does nothing for a key that nobody waits for.
   *
   * @param {string} key
   * @param {any} value
   */
  settle(key, value) {
    this.take(key)?.resolve(value);
  }

  /**
   * Ends all waiting, now and later.
   *
   * @param {Error} error
   */
  lose(error) {
    this.lost = error;
    for (const key of [...this.awaited.keys()]) this.take(key)?.reject(error);
  }

  /** @param {string} key */
  take(key) {
    const awaited = this.awaited.get(key);
    this.awaited.delete(key);
    return awaited;
  }
}
