"""What schemathesis cannot know: how to sign in, and which rooms, messages and people there are.

`ROOST_URL` is the server; into the file `ROOST_ANSWERS` goes how often each operation was answered with which status.
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
# Of the cases that would do with any ids, every how many-th is left as it was generated.
LEFT_AS_GENERATED = 4


class FromAddress(HTTPAdapter):
    """Sends from an address other than the tests', so that arranging things does not count against their limit."""

    def __init__(self, address):
        self.address = address
        super().__init__()

    def init_poolmanager(self, *arguments, **options):
        super().init_poolmanager(*arguments, source_address=(self.address, 0), **options)


def session_from(address):
    session = requests.Session()
    session.mount("http://", FromAddress(address))
    return session


# Most cases need a new sign-in, and an address has few of them a second: many addresses take turns.
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
        """A new session: its token, its refresh token, its id."""
        return ask("POST", "/auth/login", {"email": self.email, "password": PASSWORD})


class House:
    """Alice's board, in which bob is a member and a message stands."""

    def __init__(self, alice, bob):
        token = alice.sign_in()["accessToken"]
        self.room = ask("POST", "/boards", {"title": "Known good"}, token)["id"]
        members = f"/rooms/{self.room}/members"
        self.member = ask("POST", members, {"userId": bob.id, "role": "editor"}, token)["userId"]
        messages = f"/rooms/{self.room}/messages"
        self.message = ask("POST", messages, {"text": "known good"}, token)["id"]


alice, bob = Person("Alice"), Person("Bob")
shared_house = House(alice, bob)
# What these take was read before: nothing that is generated is that.
AS_READ = {"restoreItem"}
# These change the house so that the next case would find it another.
CHANGING = {"changeRoom", "removeMember", "changeRole", "deleteMessage", "deleteItem", "restoreItem"}


@schemathesis.auth(refresh_interval=None)
class Token:
    """Alice's; signs in anew when a case has ended the session."""

    good = None

    def get(self, case, context):
        if Token.good is None:
            Token.good = alice.sign_in()["accessToken"]
        return Token.good

    def set(self, case, token, context):
        case.headers["Authorization"] = f"Bearer {token}"

    @staticmethod
    def check(response):
        """Forgets the token when the server no longer takes it."""
        is_ours = response.request.headers.get("Authorization") == f"Bearer {Token.good}"
        if is_ours and response.status_code == 401 and response.json()["code"] != "wrong_credentials":
            Token.good = None


def path_values(operation):
    if operation in {"nameSession", "revokeSession"}:
        return {"sessionId": alice.sign_in()["session"]["id"]}
    house = House(alice, bob) if operation in CHANGING else shared_house
    if operation == "restoreItem":
        ask("DELETE", f"/rooms/{house.room}/messages/{house.message}", token=alice.sign_in()["accessToken"])
    return {"roomId": house.room, "messageId": house.message, "itemId": house.message, "userId": house.member}


def body_values(operation):
    match operation:
        case "login":
            return {"email": alice.email, "password": PASSWORD}
        case "refresh":
            return {"refreshToken": alice.sign_in()["refreshToken"]}
        case "changePassword":
            # The same again, so that alice can sign in anew.
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
    """schemathesis 4.32 gives some cases that it calls valid a header value that the header's pattern refuses."""
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
    # An operation id that was used for something else is refused; some are generated more than once.
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
    # Some cases ask for what is not this operation: its path with another method.
    if response.request.method != case.operation.method.upper():
        return
    statuses = answers.setdefault(case.operation.label, Counter())
    statuses[str(response.status_code)] += 1


@atexit.register
def write_answers():
    if path := os.environ.get("ROOST_ANSWERS"):
        with open(path, "w", encoding="utf-8") as file:
            json.dump(answers, file)
