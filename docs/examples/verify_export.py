#!/usr/bin/env python3
"""Checks a log that `tanglegate audit export` wrote, without Tanglegate.

    verify_export.py FILE [--key NAME+ID+BASE64]

Every event's leaf is made anew from its fields (docs/EVENT_LOG.md, "Leaves and root"), and every
commit's root and every tree head from the leaves. Python 3.8 or newer and its standard library are
enough for that. The signatures of the tree heads need the package `cryptography`
(pip install cryptography); without it they are not checked, and the last line says so.

The exit code is 0 when everything fits, 1 when something does not, and 2 when the file cannot be
read or is no such file. What is read passes by once; memory does not grow with it.
"""

import argparse
import base64
import hashlib
import json
import sys

try:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
except ImportError:
    InvalidSignature = Ed25519PublicKey = None

# The algorithm byte of Ed25519 in keys of signed notes (c2sp.org/signed-note).
ED25519 = b"\x01"


class Finding(Exception):
    """Something that does not fit."""


def sha256(*parts):
    hasher = hashlib.sha256()
    for part in parts:
        hasher.update(part)
    return hasher.digest()


def short(data):
    """One byte of length, then the bytes."""
    return bytes([len(data)]) + data


def u64(number):
    return number.to_bytes(8, "big")


def leaf_of(event):
    """The leaf: it covers every column, meta and body by their hashes."""
    return sha256(
        b"\x00",
        u64(event["position"]),
        short(event["stream"].encode()),
        u64(event["version"]),
        short(event["kind"].encode()),
        event["schema_version"].to_bytes(2, "big"),
        short(bytes.fromhex(event.get("idempotency_key", ""))),
        u64(event["recorded_at"]),
        short(bytes.fromhex(event.get("correlation", ""))),
        u64(event.get("causation", 0)),
        sha256(bytes.fromhex(event["meta"])),
        sha256(bytes.fromhex(event["body"])),
    )


class Tree:
    """The Merkle tree of RFC 6962, of which only the right edge is kept."""

    def __init__(self):
        self.size = 0
        self.edge = []

    def push(self, leaf):
        # Each bit that falls from 1 to 0 joins two subtrees of one size.
        size = self.size
        while size & 1:
            leaf = sha256(b"\x01", self.edge.pop(), leaf)
            size >>= 1
        self.edge.append(leaf)
        self.size += 1

    def root(self):
        if not self.edge:
            return sha256()
        root = self.edge[-1]
        for left in reversed(self.edge[:-1]):
            root = sha256(b"\x01", left, root)
        return root


class Key:
    """A public key: name+id+base64(01 and 32 bytes)."""

    def __init__(self, text):
        self.text = text
        self.name, key_id, encoded = text.split("+", 2)
        key = base64.b64decode(encoded, validate=True)
        self.id = sha256(self.name.encode(), b"\n", key)[:4]
        if key[:1] != ED25519 or len(key) != 33 or self.id.hex() != key_id:
            raise ValueError(f"{text} is no public key of a log")
        self.bytes = key[1:]

    def signed(self, text, signatures):
        """Whether the key signed the text. A signature that does not hold is a finding."""
        for name, key_id, signature in signatures:
            if (name, key_id) != (self.name, self.id):
                continue
            try:
                Ed25519PublicKey.from_public_bytes(self.bytes).verify(signature, text.encode())
            except InvalidSignature:
                raise Finding(f"the signature of {self.text} is not over this tree head") from None
            return True
        return False


def adopted_key(event):
    """What an event of kind head_key_adopted says: a CBOR array with one text."""
    body = bytes.fromhex(event["body"])
    if body[:1] != b"\x81":
        raise Finding(f"event {event['position']} cannot be read")
    first, rest = body[1], body[2:]
    if first == 0x78:
        length, rest = rest[0], rest[1:]
    elif first == 0x79:
        length, rest = int.from_bytes(rest[:2], "big"), rest[2:]
    else:
        length = first - 0x60
    if length != len(rest):
        raise Finding(f"event {event['position']} cannot be read")
    try:
        return Key(rest.decode())
    except ValueError as error:
        raise Finding(f"event {event['position']} cannot be read: {error}") from None


def read_note(note):
    """The signed text of a tree head, its origin, size and root, and its signatures."""
    text, separator, lines = note.rpartition("\n\n")
    if not separator or not lines.endswith("\n"):
        raise Finding("a tree head is no signed note")
    text += "\n"
    origin, size, root = text.split("\n")[:3]
    signatures = []
    for line in lines[:-1].split("\n"):
        dash, name, encoded = line.split(" ")
        if dash != "\u2014":
            raise Finding("a tree head has a line that is no signature")
        signature = base64.b64decode(encoded, validate=True)
        signatures.append((name, signature[:4], signature[4:]))
    return text, origin, int(size), base64.b64decode(root, validate=True), signatures


class Log:
    """What has passed by."""

    def __init__(self, trusted, subject):
        # Whose events are disclosed; None: everybody's, and then nothing may be withheld.
        self.subject = subject
        self.tree = Tree()
        self.recorded_at = 0
        self.committed = 0
        self.withheld = self.commits = self.heads = self.signed = 0
        # The key that signs, and the one before it until the first head that both have signed.
        self.key = self.handing_over = None
        # Every key that the log has named, and the last one that a head proves to be its own.
        self.keys, self.proved = set(), None
        self.trusted, self.trusted_signs = trusted, False

    def line(self, line):
        if "stream" in line:
            self.event(line)
        elif "leaf" in line:
            self.follows(line["position"])
            if self.subject is None:
                raise Finding("an event is withheld, in a file that discloses everybody's")
            self.withheld += 1
            self.tree.push(bytes.fromhex(line["leaf"]))
        elif "root" in line:
            self.commit(line)
        elif "head" in line:
            self.head(line["head"])
        else:
            raise Finding("a line is neither an event nor a leaf, a commit or a tree head")

    def follows(self, position):
        if position != self.tree.size + 1:
            raise Finding(f"after event {self.tree.size} comes {position}")

    def event(self, event):
        position = event["position"]
        self.follows(position)
        if event["recorded_at"] < self.recorded_at:
            raise Finding(f"event {position} was recorded before the one in front of it")
        if event.get("causation", 0) >= position:
            raise Finding(f"event {position} names a cause that comes after it")
        if event["kind"] == "head_key_adopted":
            before, self.key = self.key, adopted_key(event)
            self.keys.add(self.key.text)
            self.handing_over = self.handing_over or before
        self.recorded_at = event["recorded_at"]
        self.tree.push(leaf_of(event))

    def commit(self, commit):
        previous, size = commit["previous_size"], commit["size"]
        if previous != self.committed or size != self.tree.size or size <= previous:
            raise Finding(f"the commit of events {previous + 1} to {size} stands in a wrong place")
        if bytes.fromhex(commit["root"]) != self.tree.root():
            raise Finding(f"events {previous + 1} to {size} do not give the root of their commit")
        self.committed = size
        self.commits += 1

    def head(self, note):
        text, origin, size, root, signatures = read_note(note)
        if self.key is None or origin != self.key.name:
            raise Finding(f"the tree head of {size} events is not of this log")
        if size != self.tree.size or root != self.tree.root():
            raise Finding(
                f"the tree head of {size} events has another root than the events that stand "
                f"here: the last head that fits is that of {self.signed} events"
            )
        if Ed25519PublicKey is not None:
            for key in filter(None, (self.key, self.handing_over)):
                if not key.signed(text, signatures):
                    raise Finding(f"{key.text} has not signed the tree head of {size} events")
            if self.trusted and self.trusted.signed(text, signatures):
                self.trusted_signs = True
                # Its adoption was withheld: the key before it signs nothing from here on.
                if self.trusted.text not in self.keys:
                    self.keys.add(self.trusted.text)
                    self.key = self.trusted
        self.handing_over, self.proved = None, self.key
        self.heads += 1
        self.signed = size

    def finish(self):
        if self.tree.size != self.committed:
            raise Finding(
                f"the file has {self.tree.size} events, and its commits announce {self.committed}"
            )
        if self.trusted and not self.trusted_signs:
            raise Finding(f"no tree head is signed with the key that you trust, {self.trusted.text}")


def check(path, trusted):
    with open(path, encoding="utf-8", newline="\n") as file:
        title = json.loads(file.readline())
        if (title.get("format"), title.get("version")) != ("tanglegate-log", 1):
            raise ValueError("it is not an exported log of version 1")
        log = Log(trusted, title.get("subject"))
        for number, line in enumerate(file, 2):
            try:
                if not line.endswith("\n"):
                    raise Finding("it is cut off")
                log.line(json.loads(line))
            except Finding as finding:
                raise Finding(f"line {number}: {finding}") from None
            except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
                raise Finding(f"line {number} is not one of a log: {error!r}") from None
    log.finish()
    return log


def main():
    parser = argparse.ArgumentParser(description="Checks an exported log without Tanglegate.")
    parser.add_argument("file", help="the file that `tanglegate audit export` wrote")
    parser.add_argument("--key", help="the log's public key, if you know it from elsewhere")
    arguments = parser.parse_args()
    if arguments.key and Ed25519PublicKey is None:
        print("--key needs signatures: pip install cryptography", file=sys.stderr)
        return 2
    try:
        log = check(arguments.file, Key(arguments.key) if arguments.key else None)
    except Finding as finding:
        print(f"NOT WHOLE: {finding}")
        return 1
    except (OSError, ValueError) as error:
        print(f"cannot check {arguments.file}: {error}", file=sys.stderr)
        return 2
    withheld = f" ({log.withheld} of them withheld)" if log.withheld else ""
    print(
        f"whole: {log.tree.size} events{withheld} in {log.commits} commits fit {log.heads} tree heads"
    )
    print(f"  root {log.tree.root().hex()}")
    if log.tree.size > log.signed:
        print(f"  the last {log.tree.size - log.signed} events are under no tree head yet")
    if Ed25519PublicKey is None:
        print("  SIGNATURES WERE NOT CHECKED: pip install cryptography, and run this again")
    elif log.proved is not None:
        print(f"  the signatures hold; {log.proved.text} signs now")
    return 0


if __name__ == "__main__":
    sys.exit(main())
