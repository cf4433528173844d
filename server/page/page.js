// The page at `/`: sign in, open a room, chat, and resume after anything.
//
// The whole of resuming is in `join`: on every connection it joins the room with the last position
// it has, applies what comes, and sends again what was not answered.

import { People } from "./people.js";
import { Room, Unsent, byBirth } from "./room.js";
import * as session from "./session.js";
import { $, element, keepInView, notice, showLines, state } from "./view.js";

const ACK_TIMEOUT_MS = 10_000;
const RETRY_MS = 1_000;
const TYPING_EVERY_MS = 2_000;
const ROOMS_EVERY_MS = 15_000;

const unsent = new Unsent(sessionStorage);
const people = new People();
const sending = new Set(); // messages on their way

let me = null;
let socket = null;
let room = null;
let rooms = [];
let typedAt = 0;

start();

function start() {
  listen();
  if (session.isKept()) resume();
  else showWelcome();
}

/** Goes on where this tab was before it was loaded anew. */
async function resume() {
  state("connecting", "signing in…");
  try {
    enter(await session.resume());
  } catch (error) {
    if (!session.isKept()) return showWelcome("You were signed out: sign in again.");
    setTimeout(resume, error.retryAfterMs ?? RETRY_MS);
  }
}

function listen() {
  for (const way of $("sign-in").elements.way) way.addEventListener("change", showWay);
  onSubmit("sign-in", submitSignIn);
  onSubmit("new-room", createRoom);
  onSubmit("invite", invite);
  onSubmit("composer", compose);
  $("sign-out").addEventListener("click", signOut);
  $("copy-link").addEventListener("click", copyLink);
  $("earlier").addEventListener("click", () => attempt(loadEarlier));
  $("back").addEventListener("click", () => (location.hash = ""));
  $("text").addEventListener("input", showTyping);
  $("text").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    $("composer").requestSubmit();
  });
  window.addEventListener("hashchange", () => me && openLinked());
  document.addEventListener("visibilitychange", () => me && !document.hidden && attempt(loadRooms));
  setInterval(() => me && !document.hidden && attempt(loadRooms), ROOMS_EVERY_MS);
}

function onSubmit(id, act) {
  $(id).addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(() => act(event.target));
  });
}

/** Does something that may be refused, and says so when it is. */
async function attempt(act) {
  try {
    notice("");
    await act();
  } catch (error) {
    if (error.code === "session_revoked" || (me && !session.isKept())) return leave("You were signed out.");
    notice(error instanceof session.Refused ? error.message : "The server cannot be reached at the moment.");
  }
}

// Signing in and out

function showWelcome(text = "") {
  $("welcome").hidden = false;
  $("app").hidden = true;
  $("account").hidden = true;
  state("offline", "signed out");
  notice(text);
  showWay();
}

function showWay() {
  const form = $("sign-in");
  const isNew = form.elements.way.value === "register";
  $("name-field").hidden = !isNew;
  form.elements.name.disabled = !isNew;
  form.elements.password.autocomplete = isNew ? "new-password" : "current-password";
}

async function submitSignIn(form) {
  const { way, name, email, password } = Object.fromEntries(new FormData(form));
  enter(await session.signIn(way, way === "register" ? { name, email, password } : { email, password }));
  form.reset();
}

function enter(person) {
  me = person;
  people.name(me.id, me.name);
  $("my-name").textContent = me.name;
  $("welcome").hidden = true;
  $("app").hidden = false;
  $("account").hidden = false;
  connect();
  attempt(loadRooms);
  openLinked();
}

async function signOut() {
  await session.signOut().catch(() => {});
  leave("");
}

function leave(text) {
  session.forget();
  unsent.clear();
  socket?.disconnect();
  socket = null;
  me = null;
  closeRoom();
  showWelcome(text);
}

// The connection

function connect() {
  socket = io({ auth: (give) => session.token().then((token) => give({ token }), () => give({ token: "" })) });
  state("connecting", "connecting…");
  socket.on("connect", join);
  socket.on("connect_error", refused);
  socket.on("disconnect", (reason) => {
    people.leave();
    showPeople();
    if (reason === "io server disconnect") return leave("You were signed out.");
    state("connecting", "connection lost, trying again…");
  });
  socket.on("server:closing", () => state("connecting", "the server is restarting…"));
  socket.on("auth:expiring", () => attempt(async () => {
    session.distrust();
    const token = await session.token();
    await ask("auth:refresh", { token });
  }));
  socket.on("room:events", applyFrame);
  socket.on("room:closed", ({ room: id, message }) => {
    if (id !== room?.id) return;
    location.hash = "";
    notice(message);
  });
  socket.on("presence:changed", presenceChanged);
  socket.on("room:awareness", awarenessChanged);
}

/** A refusal is final for the stock client: it goes on only when told to. */
function refused(error) {
  state("connecting", "connecting…");
  if (socket.active) return;
  const { code, message } = readFailure(error);
  if (code === "session_revoked") return leave(message);
  session.distrust();
  session.token().then(
    () => setTimeout(() => socket?.connect(), RETRY_MS),
    () => (session.isKept() ? setTimeout(() => socket?.connect(), RETRY_MS) : leave("You were signed out.")),
  );
}

function readFailure(error) {
  try {
    return JSON.parse(error.message);
  } catch {
    return { code: "unavailable", message: error.message };
  }
}

/** Sends a command; answers what the server acknowledges, or throws. */
async function ask(event, input) {
  const answer = await socket.timeout(ACK_TIMEOUT_MS).emitWithAck(event, input);
  if (answer?.error) throw new session.Refused(answer.error);
  return answer;
}

// Rooms

async function loadRooms() {
  ({ items: rooms } = await session.api("GET", "/rooms?limit=100"));
  showRooms();
}

async function createRoom(form) {
  const { title } = Object.fromEntries(new FormData(form));
  const made = await session.api("POST", "/boards", { title });
  form.reset();
  await loadRooms();
  location.hash = `/room/${made.id}`;
}

function showRooms() {
  $("no-rooms").hidden = rooms.length > 0;
  $("room-list").replaceChildren(...rooms.map((each) => {
    const link = element("a", { href: `#/room/${each.id}`, textContent: each.title ?? "Direct conversation" });
    if (each.id === room?.id) link.setAttribute("aria-current", "page");
    return element("li", {}, link);
  }));
}

function openLinked() {
  const [, id] = location.hash.match(/^#\/room\/([0-9a-f-]{36})$/) ?? [];
  if (id === room?.id) return;
  closeRoom();
  if (id) attempt(() => openRoom(id));
}

async function openRoom(id) {
  const opened = (room = new Room(id));
  try {
    const view = await session.api("GET", `/rooms/${id}`);
    if (room !== opened) return;
    $("chat").hidden = false;
    $("app").classList.add("in-room");
    $("room-title").textContent = view.title ?? "Direct conversation";
    $("invite-panel").hidden = view.role !== "owner";
    $("composer").hidden = view.archived || view.role === "viewer";
    showRooms();
    showMessages();
    await join();
    $("text").focus();
  } catch (error) {
    if (room === opened) room = null;
    throw error;
  }
}

function closeRoom() {
  if (room && socket?.connected) socket.emit("room:leave", { room: room.id });
  room = null;
  people.leave();
  $("messages").replaceChildren();
  $("chat").hidden = true;
  $("app").classList.remove("in-room");
  showRooms();
}

/** Takes part in the room from where this tab stands. Runs on every connection. */
async function join() {
  if (!socket?.connected) return;
  for (const message of unsent.messages) deliver(message);
  const joining = room;
  if (!joining) return state("live", "connected");
  const { id } = socket;
  const isStale = () => room !== joining || socket?.id !== id;
  state("connecting", "catching up…");
  try {
    if (joining.position === null) await loadFirst(joining);
    if (isStale()) return;
    const joined = await ask("room:join", { room: joining.id, after: joining.position });
    if (isStale()) return;
    people.leave();
    people.replace(joined.presence);
    showPeople();
    state("live", "live");
  } catch (error) {
    if (isStale()) return;
    if (error.code === "reload_required") {
      room = new Room(joining.id);
      return join();
    }
    if (error instanceof session.Refused && error.isFinal) return notice(error.message);
    setTimeout(() => isStale() || join(), error.retryAfterMs ?? RETRY_MS);
  }
}

// Messages

async function loadFirst(target) {
  target.applyPage(await session.api("GET", `/rooms/${target.id}/messages?limit=50`));
  if (target === room) showMessages();
}

async function loadEarlier() {
  const target = room;
  const cursor = encodeURIComponent(target.earlier);
  target.applyPage(await session.api("GET", `/rooms/${target.id}/messages?limit=50&cursor=${cursor}`));
  if (target !== room) return;
  keepInView(showMessages);
}

function applyFrame(frame) {
  if (frame.room !== room?.id) return;
  const changed = room.applyFrame(frame);
  for (const { item, kind, actor } of frame.events) {
    if (kind === "message") {
      unsent.remove(item);
      people.stopTyping(actor);
    }
  }
  if (changed === null || changed.length > 0) showMessages();
  showTypers();
}

function compose(form) {
  const text = form.elements.text.value;
  if (!text.trim() || !room) return;
  form.reset();
  typedAt = 0;
  const message = unsent.add(room.id, text);
  showMessages(true);
  deliver(message);
}

/** Sends a message until it is answered. Its `opId` makes sure that it is written once. */
async function deliver(message) {
  const isWaiting = unsent.messages.includes(message) && !message.refused;
  if (!socket?.connected || !isWaiting || sending.has(message)) return; // The next connection's join sends it.
  const { id: connection } = socket;
  const { room: target, id, opId, text } = message;
  sending.add(message);
  try {
    const sent = await ask("message:send", { room: target, id, opId, text });
    unsent.remove(id);
    if (room?.id === target) {
      room.apply({ item: id, seq: sent.seq, kind: "message", body: sent });
      showMessages();
    }
  } catch (error) {
    if (error instanceof session.Refused && error.isFinal) {
      unsent.refuse(id, error.message);
      return showMessages();
    }
    const isSame = () => socket?.id === connection;
    setTimeout(() => isSame() && deliver(message), error.retryAfterMs ?? RETRY_MS);
  } finally {
    sending.delete(message);
  }
}

function showMessages(mustScroll = false) {
  if (!room) return;
  const waiting = unsent.of(room.id).filter(({ id }) => !room.items.has(id));
  const pending = waiting.map((message) => ({ ...message, authorId: me.id, isPending: true }));
  const messages = [...room.messages(), ...pending.sort(byBirth)].map((message) => ({
    ...message,
    author: people.nameOf(message.authorId),
    isMine: message.authorId === me.id,
  }));
  $("earlier").hidden = !room.earlier;
  showLines(messages, { mustScroll, remove: (message) => attempt(() => deleteMessage(message)) });
  if (messages.some(({ author }) => !author)) learnNames();
}

async function deleteMessage(message) {
  if (message.refused) {
    unsent.remove(message.id);
    return showMessages();
  }
  await session.api("DELETE", `/rooms/${room.id}/messages/${message.id}`);
}

// People

async function invite(form) {
  const { email, role } = Object.fromEntries(new FormData(form));
  const member = await session.api("POST", `/rooms/${room.id}/members`, { email, role });
  people.name(member.userId, member.name);
  form.reset();
  notice(`${member.name} is a member now. Send them the room's link.`);
}

async function copyLink() {
  const link = location.href;
  try {
    await navigator.clipboard.writeText(link);
    notice("The link is copied. It opens the room for its members.");
  } catch {
    notice(`The room's link: ${link}`);
  }
}

let learning = null;
function learnNames() {
  const target = room;
  learning ??= session.api("GET", `/rooms/${target.id}/members?limit=100`).then(
    ({ items }) => {
      for (const { userId, name } of items) people.name(userId, name);
      const others = [...target.messages().map(({ authorId }) => authorId), ...people.present().map(([id]) => id)];
      for (const id of others) if (!people.nameOf(id)) people.name(id, "someone who left");
      learning = null;
      showMessages();
      showPeople();
    },
    () => setTimeout(() => (learning = null), RETRY_MS),
  );
}

async function presenceChanged(change) {
  const { room: id, version } = change;
  if (id !== room?.id) return;
  if (!people.change(change)) {
    const { items } = await session.api("GET", `/rooms/${id}/presence`);
    if (id !== room?.id || !people.isAt(version)) return;
    people.replace(items);
  }
  showPeople();
}

function showPeople() {
  const present = people.present();
  $("people").replaceChildren(...present.map(([id, how]) => {
    const name = `${people.nameOf(id) ?? "…"}${id === me?.id ? " (you)" : ""}`;
    const line = element("li", { textContent: how === "moving" ? `${name}, connection lost` : name });
    line.dataset.state = how;
    return line;
  }));
  if (room && present.some(([id]) => !people.nameOf(id))) learnNames();
}

function showTyping() {
  if (!room || !socket?.connected || Date.now() - typedAt < TYPING_EVERY_MS) return;
  typedAt = Date.now();
  socket.emit("typing:start", { room: room.id });
}

function awarenessChanged({ room: id, people: aware }) {
  if (id !== room?.id) return;
  for (const { userId, typing } of aware) {
    if (typing && userId !== me.id) setTimeout(showTypers, people.startTyping(userId));
  }
  showTypers();
}

function showTypers() {
  const who = people.typing().map((id) => people.nameOf(id) ?? "someone");
  $("typing").textContent = who.length === 0 ? "" : `${who.join(", ")} ${who.length === 1 ? "is" : "are"} typing…`;
}
