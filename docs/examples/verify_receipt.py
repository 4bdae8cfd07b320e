#!/usr/bin/env python3
"""Checks that a seller's log holds a payment, without Tanglegate and without asking anybody.

    verify_receipt.py LOGIN_FILE PROOF_FILE --key NAME+ID+BASE64

LOGIN_FILE has the receipt (`tanglegate buy`), PROOF_FILE the engine's answer (`tanglegate receipt
prove`); what stands in them is in docs/PROTOCOL.md §6 and §6.1. KEY is the public key of the
seller's log. Signatures need the package `cryptography` (pip install cryptography).

The exit code is 0 when the log of a tree head that the key has signed holds the payment, 1 when
that is not proved, and 2 when a file cannot be read.
"""

import argparse
import json
import sys

from verify_export import Ed25519PublicKey, Finding, InvalidSignature, Key, leaf_of, read_note, sha256

BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def cbor(data):
    """The value at the front, and what follows it: the little of RFC 8949 that is used here."""
    first, rest = data[0], data[1:]
    kind, length = first >> 5, first & 31
    if first == 0xF6:
        return None, rest
    if length in (24, 25, 26, 27):
        size = 1 << (length - 24)
        length, rest = int.from_bytes(rest[:size], "big"), rest[size:]
    elif length > 27:
        raise Finding("a value of a kind that stands in no answer")
    if kind == 0:
        return length, rest
    if kind in (2, 3):
        if len(rest) < length:
            raise Finding("a value is cut short")
        value = rest[:length]
        return (value if kind == 2 else value.decode()), rest[length:]
    if kind == 4:
        values = []
        for _ in range(length):
            value, rest = cbor(rest)
            values.append(value)
        return values, rest
    raise Finding("a value of a kind that stands in no answer")


def whole(data):
    value, rest = cbor(data)
    if rest:
        raise Finding("bytes follow the end")
    return value


def base58(data):
    number, text = int.from_bytes(data, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        text = BASE58[digit] + text
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + text


def root_from(leaf, index, size, path):
    """Where the path leads (RFC 9162 §2.1.3.2)."""
    if index >= size:
        raise Finding(f"a log of {size} events has no event {index + 1}")
    node, last = leaf, size - 1
    for other in path:
        if last == 0:
            raise Finding("the path is too long")
        if index & 1 or index == last:
            node = sha256(b"\x01", other, node)
            while not index & 1 and index:
                index, last = index >> 1, last >> 1
        else:
            node = sha256(b"\x01", node, other)
        index, last = index >> 1, last >> 1
    if last:
        raise Finding("the path is too short")
    return node


def same(what, found, expected):
    if found != expected:
        raise Finding(f"the {what} is {found}, and not {expected} as in the receipt")


def receipt_of(login):
    """What the seller signed."""
    signed, identity = bytes.fromhex(login["receipt"]), bytes.fromhex(login["identity"])
    signature, body = signed[:64], signed[64:]
    try:
        verifier = Ed25519PublicKey.from_public_bytes(identity)
        verifier.verify(signature, b"tanglegate/receipt/v1\0" + body)
    except InvalidSignature:
        raise Finding("the receipt is not signed by the identity in its file") from None
    receipt = whole(body)
    same("identity", receipt[0], identity)
    return receipt


def check(login, proof, key):
    _, digest, index, seller, amount, recorded_at, position = receipt_of(login)[:7]
    reason, proved = whole(bytes.fromhex(proof["answer"]))
    if proved is None:
        raise Finding(f"the engine gives no proof: {reason}")
    head, columns, path = proved
    text, origin, size, root, signatures = read_note(head)
    if origin != key.name or not key.signed(text, signatures):
        raise Finding(f"{key.text} has not signed the tree head")
    names = ["position", "stream", "version", "kind", "schema_version", "idempotency_key"]
    names += ["recorded_at", "correlation", "causation", "meta", "body"]
    event = {name: value for name, value in zip(names, columns) if value is not None}
    same("stream", event["stream"], f"payment/{base58(digest)}:{index}")
    same("kind", event["kind"], "payment_confirmed")
    same("key", event["idempotency_key"], b"\x01" + digest + index.to_bytes(2, "big"))
    payment, to, _payer, paid = whole(event["body"])[:4]
    same("payment", payment, [digest, index])
    same("seller", to, seller)
    same("amount", paid, amount)
    # The receipt of a claim names a later event.
    if event["position"] > position:
        raise Finding(f"the payment stands behind event {position}, which the receipt names")
    if event["position"] == position:
        same("instant", event["recorded_at"], recorded_at)
    hexadecimal = {name: it.hex() if isinstance(it, bytes) else it for name, it in event.items()}
    if root_from(leaf_of(hexadecimal), event["position"] - 1, size, path) != root:
        raise Finding("the path does not lead to the root of the tree head")
    return event["position"], origin, size, amount


def main():
    parser = argparse.ArgumentParser(description="Checks a receipt against a seller's log.")
    parser.add_argument("login")
    parser.add_argument("proof")
    parser.add_argument("--key", required=True, metavar="NAME+ID+BASE64")
    arguments = parser.parse_args()
    if Ed25519PublicKey is None:
        print("pip install cryptography: without it no signature can be checked", file=sys.stderr)
        return 2
    try:
        with open(arguments.login, encoding="utf-8") as file:
            login = json.load(file)
        with open(arguments.proof, encoding="utf-8") as file:
            proof = json.load(file)
        position, origin, size, amount = check(login, proof, Key(arguments.key))
    except Finding as finding:
        print(f"NOT PROVED: {finding}")
        return 1
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        print(f"cannot be read: {error}", file=sys.stderr)
        return 2
    print(f"it holds: {amount} NANOS are event {position} of {origin}, under {size} events")
    return 0


if __name__ == "__main__":
    sys.exit(main())
