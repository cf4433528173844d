// The page at `/`: sign in, open a room, chat, and resume after anything.
//
// The whole of resuming is in `join`: on every connection it joins the room with the last position
// it has, applies what comes, and sends again what was not answered.

import { Room, Unsent, byBirth } from "./room.js";
import * as session from "./session.js";

const ACK_TIMEOUT_MS = 10_000;
const RETRY_MS = 1_000;
const TYPING_EVERY_MS = 2_000;
const TYPING_SHOWN_MS = 4_000;
const ROOMS_EVERY_MS = 15_000;
const STICK_PIXELS = 80;

const $ = (id) => document.getElementById(id);
const unsent = new Unsent(sessionStorage);
const names = new Map(); // person → name
const sending = new Set(); // messages on their way
const present = new Map(); // person → "here" | "moving"
const typing = new Map(); // person → until when it is shown

let me = null;
let socket = null;
let room = null;
let rooms = [];
let presenceVersion = null;
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
  names.set(me.id, me.name);
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
  names.clear();
  showWelcome(text);
}

// The connection

function connect() {
  socket = io({ auth: (give) => session.token().then((token) => give({ token }), () => give({ token: "" })) });
  state("connecting", "connecting…");
  socket.on("connect", join);
  socket.on("connect_error", refused);
  socket.on("disconnect", (reason) => {
    present.clear();
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
  presenceVersion = null;
  present.clear();
  typing.clear();
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
    present.clear();
    presenceVersion = null;
    for (const person of joined.presence) present.set(person.userId, person.state);
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
  const { scrollHeight, scrollTop } = $("scroll");
  showMessages();
  $("scroll").scrollTop = scrollTop + $("scroll").scrollHeight - scrollHeight;
}

function applyFrame(frame) {
  if (frame.room !== room?.id) return;
  const changed = room.applyFrame(frame);
  for (const { item, kind, actor } of frame.events) {
    if (kind === "message") {
      unsent.remove(item);
      typing.delete(actor);
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
  const scroll = $("scroll");
  const isAtEnd = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < STICK_PIXELS;
  const waiting = unsent.of(room.id).filter(({ id }) => !room.items.has(id));
  const pending = waiting.map((message) => ({ ...message, authorId: me.id, isPending: true }));
  const messages = [...room.messages(), ...pending.sort(byBirth)];
  const list = $("messages");
  const shown = new Map([...list.children].map((line) => [line.dataset.key, line]));
  const lines = messages.map((message) => {
    const who = names.get(message.authorId);
    const key = [message.id, message.editedAt, message.isPending, message.refused, who].join();
    return shown.get(key) ?? showMessage(message, key, who);
  });
  const kept = new Set(lines);
  for (const line of [...list.children]) if (!kept.has(line)) line.remove();
  lines.forEach((line, at) => list.children[at] !== line && list.insertBefore(line, list.children[at] ?? null));
  $("earlier").hidden = !room.earlier;
  if (isAtEnd || mustScroll) scroll.scrollTop = scroll.scrollHeight;
  if (messages.some(({ authorId }) => !names.has(authorId))) learnNames();
}

function showMessage(message, key, who) {
  const time = new Date(message.createdAt).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  const notes = [who ?? "…", time];
  if (message.editedAt) notes.push("edited");
  if (message.refused) notes.push(`not sent: ${message.refused}`);
  else if (message.isPending) notes.push("sending…");
  const by = element("span", { className: "by", textContent: `${notes.join(" · ")} ` });
  const isMine = message.authorId === me.id;
  if (isMine && (message.refused || !message.isPending)) {
    const remove = element("button", { type: "button", className: "quiet", textContent: "delete" });
    remove.addEventListener("click", () => attempt(() => deleteMessage(message)));
    by.append(remove);
  }
  const line = element("li", {}, by, message.text);
  line.dataset.key = key;
  line.classList.toggle("mine", isMine);
  line.classList.toggle("pending", Boolean(message.isPending && !message.refused));
  line.classList.toggle("refused", Boolean(message.refused));
  return line;
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
  names.set(member.userId, member.name);
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
      for (const { userId, name } of items) names.set(userId, name);
      for (const { authorId } of target.messages()) if (!names.has(authorId)) names.set(authorId, "someone who left");
      for (const id of present.keys()) if (!names.has(id)) names.set(id, "someone");
      learning = null;
      showMessages();
      showPeople();
    },
    () => setTimeout(() => (learning = null), RETRY_MS),
  );
}

async function presenceChanged({ room: id, version, userId, state: now }) {
  if (id !== room?.id) return;
  const isGap = presenceVersion !== null && version > presenceVersion + 1;
  presenceVersion = version;
  if (now === "gone") present.delete(userId);
  else present.set(userId, now);
  if (isGap) {
    const { items } = await session.api("GET", `/rooms/${id}/presence`);
    if (id !== room?.id || version !== presenceVersion) return;
    present.clear();
    for (const person of items) present.set(person.userId, person.state);
  }
  showPeople();
}

function showPeople() {
  $("people").replaceChildren(...[...present].map(([id, how]) => {
    const name = id === me?.id ? `${names.get(id)} (you)` : names.get(id) ?? "…";
    const line = element("li", { textContent: how === "moving" ? `${name}, connection lost` : name });
    line.dataset.state = how;
    return line;
  }));
  if (room && [...present.keys()].some((id) => !names.has(id))) learnNames();
}

function showTyping() {
  if (!room || !socket?.connected || Date.now() - typedAt < TYPING_EVERY_MS) return;
  typedAt = Date.now();
  socket.emit("typing:start", { room: room.id });
}

function awarenessChanged({ room: id, people }) {
  if (id !== room?.id) return;
  for (const { userId, typing: isTyping } of people) {
    if (isTyping && userId !== me.id) typing.set(userId, Date.now() + TYPING_SHOWN_MS);
  }
  showTypers();
  setTimeout(showTypers, TYPING_SHOWN_MS + 100);
}

function showTypers() {
  for (const [id, until] of typing) if (until < Date.now()) typing.delete(id);
  const who = [...typing.keys()].map((id) => names.get(id) ?? "someone");
  $("typing").textContent = who.length === 0 ? "" : `${who.join(", ")} ${who.length === 1 ? "is" : "are"} typing…`;
}

// The document

function state(name, text) {
  $("connection").dataset.state = name;
  $("connection").textContent = text;
}

function notice(text) {
  $("notice").textContent = text;
  $("notice").hidden = !text;
}

function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}
