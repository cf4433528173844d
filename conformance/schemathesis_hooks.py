"""Gives schemathesis what it cannot generate: how to sign in, and existing rooms, messages and people.

`ROOST_URL` is the server. The number of answers by operation and status is written to the file `ROOST_ANSWERS`.
"""

import atexit
import itertools
import json
import os
import re
import time
import uuid
from collections import Counter

import requests
import schemathesis
from requests.adapters import HTTPAdapter

URL = os.environ["ROOST_URL"]
PASSWORD = "correct horse battery"
# One in this many cases keeps its generated ids, among those that any ids suit.
LEFT_AS_GENERATED = 4


class FromAddress(HTTPAdapter):
    """Sends from its own address, so that preparing a case does not count against the limit of the tests."""

    def __init__(self, address):
        self.address = address
        super().__init__()

    def init_poolmanager(self, *arguments, **options):
        super().init_poolmanager(*arguments, source_address=(self.address, 0), **options)


def session_from(address):
    session = requests.Session()
    session.mount("http://", FromAddress(address))
    return session


# Most cases need a new sign-in, and one address may sign in only a few times a second, so many addresses take turns.
sessions = itertools.cycle([session_from(f"127.0.0.{number}") for number in range(64, 128)])


def ask(method, path, body=None, token=None):
    headers = {"authorization": f"Bearer {token}"} if token else {}
    http = next(sessions)
    answer = http.request(method, f"{URL}/api/v1{path}", json=body, headers=headers, timeout=20)
    while answer.status_code == 429:
        time.sleep(float(answer.headers["retry-after"]))
        answer = http.request(method, f"{URL}/api/v1{path}", json=body, headers=headers, timeout=20)
    answer.raise_for_status()
    return answer.json() if answer.content else None


class Person:
    def __init__(self, name):
        self.email = f"{name}-{uuid.uuid4().hex}@example.org"
        registered = ask("POST", "/auth/register", {"email": self.email, "password": PASSWORD, "name": name})
        self.id = registered["user"]["id"]
        self.token = registered["accessToken"]

    def sign_in(self):
        """Opens a session; answers its token, refresh token and id."""
        return ask("POST", "/auth/login", {"email": self.email, "password": PASSWORD})


class Fixture:
    """Alice's board, with bob as a member and one message."""

    def __init__(self, alice, bob):
        token = alice.sign_in()["accessToken"]
        self.room = ask("POST", "/boards", {"title": "Known good"}, token)["id"]
        members = f"/rooms/{self.room}/members"
        self.member = ask("POST", members, {"userId": bob.id, "role": "editor"}, token)["userId"]
        messages = f"/rooms/{self.room}/messages"
        self.message = ask("POST", messages, {"text": "known good"}, token)["id"]


alice, bob = Person("Alice"), Person("Bob")
shared_fixture = Fixture(alice, bob)
# These operations need a body that was read before: no generated body is valid for them.
AS_READ = {"restoreItem"}
# These operations change the room or its items, so each case gets its own.
CHANGING = {"changeRoom", "removeMember", "changeRole", "deleteMessage", "deleteItem", "restoreItem"}


@schemathesis.auth(refresh_interval=None)
class Token:
    """Alice's access token; she signs in again after a case has ended its session."""

    good = None

    def get(self, case, context):
        if Token.good is None:
            Token.good = alice.sign_in()["accessToken"]
        return Token.good

    def set(self, case, token, context):
        case.headers["Authorization"] = f"Bearer {token}"

    @staticmethod
    def check(response):
        """Drops the token when the server refuses it."""
        is_ours = response.request.headers.get("Authorization") == f"Bearer {Token.good}"
        if is_ours and response.status_code == 401 and response.json()["code"] != "wrong_credentials":
            Token.good = None


def path_values(operation):
    if operation in {"nameSession", "revokeSession"}:
        return {"sessionId": alice.sign_in()["session"]["id"]}
    fixture = Fixture(alice, bob) if operation in CHANGING else shared_fixture
    if operation == "restoreItem":
        ask("DELETE", f"/rooms/{fixture.room}/messages/{fixture.message}", token=alice.sign_in()["accessToken"])
    return {"roomId": fixture.room, "messageId": fixture.message, "itemId": fixture.message, "userId": fixture.member}


def body_values(operation):
    match operation:
        case "login":
            return {"email": alice.email, "password": PASSWORD}
        case "refresh":
            return {"refreshToken": alice.sign_in()["refreshToken"]}
        case "changePassword":
            # The new password is the old one, so that alice can sign in again.
            return {"currentPassword": PASSWORD, "newPassword": PASSWORD}
        case "openConversation":
            return {"userIds": [bob.id]}
        case "inviteMember":
            return {"userId": Person("Carol").id}
        case "changeRole":
            return {"role": "viewer"}
        case "restoreItem":
            body = {"authorId": alice.id, "text": "known good", "createdAt": "2026-01-02T03:04:05.678Z"}
            return {"kind": "message", "body": body}
        case _:
            return {}


def drop_mislabelled_headers(case):
    """Drops headers that do not match their pattern: schemathesis 4.32 calls some cases with such a header valid."""
    document = case.operation.schema.raw_schema
    for parameter in case.operation.definition.raw.get("parameters", []):
        schema = parameter["schema"]
        if "$ref" in schema:
            schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[-1]]
        value = (case.headers or {}).get(parameter["name"])
        pattern = schema.get("pattern")
        if parameter["in"] == "header" and value is not None and pattern and not re.search(pattern, value):
            del case.headers[parameter["name"]]


turns = Counter()


@schemathesis.hook
def before_call(context, case, kwargs):
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    operation = case.operation.definition.raw.get("operationId")
    if case.meta.phase.name.value == "stateful":
        if operation in AS_READ:
            case.body.update(body_values(operation))
        return
    # A reused operation id is refused, and the generator repeats some.
    if case.headers and "Idempotency-Key" in case.headers:
        case.headers["Idempotency-Key"] = uuid.uuid4().hex
    drop_mislabelled_headers(case)
    turns[operation] += 1
    if turns[operation] % LEFT_AS_GENERATED == 0 and operation not in AS_READ:
        return
    if case.path_parameters:
        known = path_values(operation)
        case.path_parameters.update({name: known[name] for name in case.path_parameters if name in known})
    if isinstance(case.body, dict):
        if isinstance(case.body.get("opId"), str):
            case.body["opId"] = uuid.uuid4().hex
        case.body.update(body_values(operation))
        if operation == "inviteMember":
            case.body.pop("email", None)


answers = {}


@schemathesis.hook
def after_call(context, case, response):
    Token.check(response)
    # Some cases send another method to the operation's path: they do not count.
    if response.request.method != case.operation.method.upper():
        return
    statuses = answers.setdefault(case.operation.label, Counter())
    statuses[str(response.status_code)] += 1


@atexit.register
def write_answers():
    if path := os.environ.get("ROOST_ANSWERS"):
        with open(path, "w", encoding="utf-8") as file:
            json.dump(answers, file)
