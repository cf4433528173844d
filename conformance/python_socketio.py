"""PyPI python-socketio: connect, be refused, join, send, receive and resume, on each transport."""

import asyncio
import itertools
import json
import os
import socket
import uuid

import aiohttp
import socketio

URL = os.environ["ROOST_URL"]
PATIENCE_SECONDS = 15
MESSAGES = 20


# Limits count by address, and a client without cookies gets its instance by address: clients take sixteen addresses in
# turn.
addresses = itertools.cycle(f"127.0.1.{number}" for number in range(1, 17))


def new_session():
    """An HTTP session with its own address. It keeps all cookies, those of IP addresses included, or none."""
    # The addresses are IPv4, and a host name may also resolve to IPv6.
    connector = aiohttp.TCPConnector(local_addr=(next(addresses), 0), family=socket.AF_INET)
    cookies = aiohttp.CookieJar(unsafe=True) if os.environ.get("ROOST_COOKIES") == "kept" else aiohttp.DummyCookieJar()
    return aiohttp.ClientSession(connector=connector, cookie_jar=cookies)


async def ask(path, body, token=None):
    headers = {"authorization": f"Bearer {token}"} if token else {}
    async with new_session() as http:
        async with http.post(f"{URL}/api/v1{path}", json=body, headers=headers) as answer:
            answer.raise_for_status()
            return await answer.json()


async def register(name):
    email = f"{name}-{uuid.uuid4().hex}@example.org"
    person = {"email": email, "password": "correct horse battery", "name": name}
    signed_in = await ask("/auth/register", person)
    return signed_in["user"]["id"], signed_in["accessToken"]


async def connect(transports, token, http):
    client = socketio.AsyncClient(http_session=http)
    await client.connect(URL, auth={"token": token}, transports=transports, wait_timeout=PATIENCE_SECONDS)
    return client


async def ask_socket(client, event, body):
    return await client.call(event, body, timeout=PATIENCE_SECONDS)


async def is_refused(transports):
    async with new_session() as http:
        await is_refused_from(http, transports)


async def is_refused_from(http, transports):
    client = socketio.AsyncClient(http_session=http, reconnection=False)
    refusals = asyncio.Queue()
    client.on("connect_error", refusals.put_nowait)
    try:
        await client.connect(URL, auth={"token": "forged"}, transports=transports, wait_timeout=PATIENCE_SECONDS)
    except socketio.exceptions.ConnectionError:
        refusal = await asyncio.wait_for(refusals.get(), PATIENCE_SECONDS)
        message = refusal["message"] if isinstance(refusal, dict) else refusal
        assert json.loads(message)["code"] == "unauthenticated", refusal
        return
    raise AssertionError("a forged token was taken")


async def converse(transports):
    alice, alice_token = await register("alice")
    bob, bob_token = await register("bob")
    room = (await ask("/boards", {"title": "Python"}, alice_token))["id"]
    await ask(f"/rooms/{room}/members", {"userId": bob, "role": "editor"}, alice_token)
    async with new_session() as alices, new_session() as bobs:
        sender, reader = await connect(transports, alice_token, alices), await connect(transports, bob_token, bobs)
        try:
            await converse_in(room, alice, sender, reader)
        finally:
            await sender.disconnect()
            await reader.disconnect()


async def converse_in(room, alice, sender, reader):
    frames = asyncio.Queue()
    reader.on("room:events", frames.put_nowait)
    joined = await ask_socket(reader, "room:join", {"room": room})
    assert joined["role"] == "editor", joined
    texts = [f"message {number}" for number in range(MESSAGES)]
    sent = [await ask_socket(sender, "message:send", {"room": room, "text": text}) for text in texts]

    events = []
    while len(events) < MESSAGES:
        events += (await asyncio.wait_for(frames.get(), PATIENCE_SECONDS))["events"]
    assert [event["body"]["text"] for event in events] == texts, events
    assert [event["seq"] for event in events] == [message["seq"] for message in sent], events
    assert {event["actor"] for event in events} == {alice}, events

    refused = await ask_socket(sender, "message:send", {"room": str(uuid.uuid4()), "text": "anyone?"})
    assert refused["error"]["code"] == "not_found", refused
    # Joining after the first position brings every event again, then live ones.
    again = asyncio.Queue()
    sender.on("room:events", again.put_nowait)
    await ask_socket(sender, "room:join", {"room": room, "after": joined["position"]})
    resumed = []
    while len(resumed) < MESSAGES:
        resumed += (await asyncio.wait_for(again.get(), PATIENCE_SECONDS))["events"]
    assert resumed == events, resumed
    assert (await ask_socket(sender, "room:leave", {"room": room})) == {"room": room}


async def main():
    checks = 0
    for transports in (None, ["websocket"], ["polling"]):
        for check in (is_refused, converse):
            await check(transports)
            print(f"passed: {check.__name__} on {transports or 'the default transports'}")
            checks += 1
    print(f"{checks} passed")


asyncio.run(main())
