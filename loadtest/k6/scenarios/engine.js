// A Socket.IO socket over a bare WebSocket: k6 has no Socket.IO client, and the frames are few.
//
// A frame is a packet of Engine.IO 4, whose first digit is its type; in a message (`4`) follows a packet of Socket.IO 5,
// whose first digit is its type, too, and then, where there is one, the number of an acknowledgement. Only the namespace
// `/` is used, and nothing binary.

import { Waiting } from "./waiting.js";

/**
 * @import { Kit } from "../kit.d.ts"
 */

/** The types of Engine.IO packets. */
const OPEN = "0";
const CLOSE = "1";
const PING = "2";
const PONG = "3";
const MESSAGE = "4";
/** The types of Socket.IO packets. */
const CONNECT = "0";
const DISCONNECT = "1";
const EVENT = "2";
const ACKNOWLEDGEMENT = "3";
const CONNECT_ERROR = "4";

const SIGN_IN = "sign-in";
/** The `readyState` of a WebSocket that is open. */
const IS_OPEN = 1;

export class Socket {
  /**
   * @param {Kit} kit
   * @param {string} url of the deployment
   * @param {string} token
   * @param {(event: string, body: any) => void} hear is told of each event
   * @param {(error: Error) => void} lose is told, once, that the connection has ended
   */
  constructor(kit, url, token, hear, lose) {
    this.token = token;
    this.hear = hear;
    this.lose = lose;
    this.waiting = new Waiting(kit);
    this.asked = 0;
    this.signedIn = this.waiting.for(SIGN_IN, "sign-in");
    this.socket = new kit.WebSocket(`${url.replace(/^http/, "ws")}/socket.io/?EIO=4&transport=websocket`);
    this.socket.addEventListener("open", () => {
      if (this.waiting.lost) this.socket.close();
    });
    this.closed = new Promise((resolve) => {
      this.socket.addEventListener("close", () => {
        this.end("the connection was closed");
        resolve(undefined);
      });
    });
    this.socket.addEventListener("error", (event) => {
      this.end(`the connection broke: ${"error" in event ? event.error : "for no reason that was given"}`);
    });
    this.socket.addEventListener("message", (event) => {
      if ("data" in event) this.receive(String(event.data));
    });
  }

  /**
   * Sends a command.
   *
   * @param {string} command
   * @param {unknown} body
   * @returns {Promise<any>} its acknowledgement
   */
  ask(command, body) {
    const number = this.asked++;
    const answer = this.waiting.for(String(number), `answer to ${command}`);
    if (!this.waiting.lost) this.socket.send(`${MESSAGE}${EVENT}${number}${JSON.stringify([command, body])}`);
    return answer;
  }

  /** Leaves, and waits until the connection is closed. */
  async close() {
    if (!this.waiting.lost) this.socket.send(`${MESSAGE}${DISCONNECT}`);
    this.end("the socket has left");
    await this.closed;
  }

  /** @param {string} reason */
  end(reason) {
    if (this.waiting.lost) return;
    const error = new Error(reason);
    this.waiting.lose(error);
    this.lose(error);
    // k6 stands still for ever when a socket is closed that is not open yet.
    if (this.socket.readyState === IS_OPEN) this.socket.close();
  }

  /** @param {string} packet */
  receive(packet) {
    try {
      const [type, content] = [packet[0], packet.slice(1)];
      if (type === OPEN) this.socket.send(`${MESSAGE}${CONNECT}${JSON.stringify({ token: this.token })}`);
      else if (type === PING) this.socket.send(PONG);
      else if (type === MESSAGE) this.receiveMessage(content);
      else if (type === CLOSE) this.end("the server ended the Engine.IO session");
    } catch {
      this.end("the server sent what cannot be read");
    }
  }

  /** @param {string} packet */
  receiveMessage(packet) {
    const type = packet[0];
    const number = /^\d*/.exec(packet.slice(1))?.[0] ?? "";
    const content = packet.slice(1 + number.length);
    if (type === CONNECT) this.waiting.settle(SIGN_IN, undefined);
    else if (type === ACKNOWLEDGEMENT) this.waiting.settle(number, JSON.parse(content)[0]);
    else if (type === CONNECT_ERROR) this.end(`the socket was refused: ${codeOf(content)}`);
    else if (type === DISCONNECT) this.end("the server ended the socket");
    else if (type === EVENT) {
      const [event, body] = JSON.parse(content);
      this.hear(event, body);
    }
  }
}

/**
 * @param {string} refusal `{"message": …}`, in which stands JSON again
 * @returns {string} the code in it
 */
function codeOf(refusal) {
  return JSON.parse(JSON.parse(refusal).message).code;
}
