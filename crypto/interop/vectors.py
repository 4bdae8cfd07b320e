#!/usr/bin/env python3
"""Runs crypto/vectors with implementations that others wrote: PyHPKE, cryptography (OpenSSL), cbor2.

    pip install -r requirements.txt
    vectors.py [FOLDER]

Written from docs/PROTOCOL.md. The exit code is 0 when every vector has the outcome that it states.
"""

import hashlib
import hmac
import io
import json
import pathlib
import sys

import cbor2
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from pyhpke import AEADId, CipherSuite, KDFId, KEMId, KEMKeyPair
from pyhpke.exceptions import PyHPKEError

SUITE = CipherSuite.new(
    KEMId.DHKEM_X25519_HKDF_SHA256, KDFId.HKDF_SHA256, AEADId.CHACHA20_POLY1305
)
FIELDS = {"identity": 4, "offers": 3, "key": 6, "receipt": 17}


class Wrong(Exception):
    """The outcome of a vector that is not good."""


def hexed(value):
    """CBOR's values as the vectors have them."""
    if isinstance(value, bytes):
        return value.hex()
    return [hexed(it) for it in value] if isinstance(value, (list, tuple)) else value


def cbor(data):
    """The one value at the beginning, in its only encoding, and what follows it."""
    stream = io.BytesIO(data)
    try:
        value = cbor2.CBORDecoder(stream).decode()
        again = cbor2.dumps(value)
    except (cbor2.CBORError, ValueError, EOFError):
        raise Wrong("layout") from None
    if not data.startswith(again):
        raise Wrong("layout")
    return value, data[len(again) :]


def require(holds, outcome="layout"):
    if not holds:
        raise Wrong(outcome)


def is_bytes(value, length):
    return isinstance(value, bytes) and len(value) == length


def is_text(value, most):
    return isinstance(value, str) and 1 <= len(value.encode()) <= most


def is_number(value, most=2**64 - 1):
    return type(value) is int and 0 <= value <= most


def derive(ikm):
    pair = SUITE.kem.derive_key_pair(ikm)
    private = bytearray(pair.private_key.to_private_bytes())
    private[0] &= 0xF8  # PyHPKE leaves it to X25519 to clamp (RFC 7748 §5).
    private[31] = private[31] & 0x7F | 0x40
    return bytes(private), pair.public_key.to_public_bytes()


def hpke_seal(vector, public):
    """enc and text, with the ephemeral key of the vector."""
    pair = SUITE.kem.derive_key_pair(vector["entropy"])
    key = SUITE.kem.deserialize_public_key(public)
    eks = KEMKeyPair(pair.private_key, pair.public_key)
    enc, context = SUITE.create_sender_context(key, vector["info"], eks=eks)
    return enc, context.seal(vector["plain"], vector["aad"])


def hpke_open(private, enc, info, aad, text):
    try:
        key = SUITE.kem.deserialize_private_key(private)
        return SUITE.create_recipient_context(enc, key, info).open(text, aad)
    except (PyHPKEError, ValueError):
        raise Wrong("does-not-open") from None


def sealing_key(secret, key_id):
    """HKDF-SHA256 of one block, then DeriveKeyPair."""
    prk = hmac.digest(b"tanglegate/sealing/v1\0", secret, hashlib.sha256)
    ikm = hmac.digest(prk, key_id + b"\x01", hashlib.sha256)
    return ikm, *derive(ikm)


def read_memo(vector):
    memo = vector["memo"]
    require(memo[:4] == b"TGLM", "not-ours")
    require(len(memo) < 5 or memo[4] == 1, "form")
    require(len(memo) == 256, "length")
    require(memo[5] == 1, "suite")
    require(memo[6:10] == vector["secret_id"], "other-secret")
    _, private, _ = sealing_key(vector["secret"], memo[6:22])
    info = b"tanglegate/memo/v1\0" + vector["identity"]
    plain = hpke_open(private, memo[22:54], info, memo[:22] + vector["payer"], memo[54:])
    order, padding = cbor(plain)
    require(isinstance(order, list) and len(order) == 4)
    offer, username, password, reply_key = order
    require(is_text(offer, 32) and is_text(username, 64) and is_bytes(reply_key, 32))
    require(password is True or password is None or is_bytes(password, 48))
    require(not any(padding), "padding")
    try:
        X25519PrivateKey.from_private_bytes(b"\x55" * 32).exchange(
            X25519PublicKey.from_public_bytes(reply_key)
        )
    except ValueError:  # The shared secret is zero.
        raise Wrong("reply-key") from None
    wish = {True: "make", None: "keep"}.get(password) or password.hex()
    return {"offer": offer, "username": username, "password": wish, "reply_key": reply_key.hex()}


def read_signed(identity, label, kind, signed):
    require(len(signed) >= 64, "signature")
    try:
        Ed25519PublicKey.from_public_bytes(identity).verify(signed[:64], label + signed[64:])
    except InvalidSignature:
        raise Wrong("signature") from None
    fields, rest = cbor(signed[64:])
    require(not rest and isinstance(fields, list) and len(fields) == FIELDS[kind])
    require(fields[0] == identity)
    check = {"identity": introduces, "offers": sells, "key": gives_key, "receipt": receipts}[kind]
    require(check(*fields[1:]))
    return hexed(fields)


def introduces(origin, issued_at, chain):
    return is_text(origin, 128) and is_number(issued_at) and (chain is None or is_text(chain, 64))


def sells(issued_at, offers):
    names = [offer[0] for offer in offers]
    return is_number(issued_at) and names == sorted(set(names)) and all(map(is_offer, offers))


def is_offer(offer):
    name, seller, topic_filter, access, *numbers, until = offer
    return (
        is_text(name, 32) and is_bytes(seller, 32) and is_text(topic_filter, 65_535)
        and access in (1, 2, 3) and len(numbers) == 3 and all(map(is_number, numbers))
        and (until is None or is_number(until))
    )  # fmt: skip


def gives_key(key_id, suite, public, issued_at, valid_until):
    numbers = is_number(issued_at) and is_number(valid_until)
    return is_bytes(key_id, 16) and suite == 1 and is_bytes(public, 32) and numbers


def receipts(
    digest, index, seller, amount, recorded_at, position, outcome, reason, offer, username,
    password, topic_filter, access, since, until, credit,
):  # fmt: skip
    texts = [(reason, 512), (password, 64), (topic_filter, 2_048)]
    return (
        is_bytes(digest, 32) and is_number(index, 65_535) and is_bytes(seller, 32)
        and all(map(is_number, (amount, recorded_at, position, credit))) and outcome in (0, 1, 2)
        and is_text(offer, 32) and is_text(username, 64)
        and all(text is None or is_text(text, most) for text, most in texts)
        and access in (None, 1, 2, 3) and all(it is None or is_number(it) for it in (since, until))
    )  # fmt: skip


def read_answer(vector):
    answer = vector["answer"]
    require(len(answer) >= 49, "length")
    require(answer[0] == 1, "suite")
    blocks, rest = divmod(len(answer) - 49, 512)
    require(rest == 0 and 1 <= blocks <= 8, "length")
    info = b"tanglegate/answer/v1\0" + vector["identity"]
    private, key_id = vector["reply_private"], vector["key_id"]
    plain = hpke_open(private, answer[1:33], info, key_id, answer[33:])
    length = int.from_bytes(plain[:2], "big")
    signed, padding = plain[2 : 2 + length], plain[2 + length :]
    require(len(signed) == length and len(padding) < 512 and not any(padding), "padding")
    return read_signed(vector["identity"], b"tanglegate/receipt/v1\0", "receipt", signed)


def run_key(vector):
    assert vector["key_id"] == vector["secret_id"] + vector["random"]
    made = sealing_key(vector["secret"], vector["key_id"])
    assert made == (vector["ikm"], vector["private"], vector["public"])


def run_password(vector):
    cost = {"iterations": 2, "lanes": 1, "memory_cost": 19_456}
    tag = Argon2id(salt=vector["salt"], length=32, **cost).derive(vector["password"].encode())
    assert tag == vector["tag"]


def run_memo(vector):
    if vector["outcome"] == "opens":  # Sealing gives the same bytes.
        enc, text = hpke_seal(vector, vector["public"])
        assert vector["aad"][:22] + enc + text == vector["memo"]
    agrees(vector, read_memo, vector.get("order"))


def run_answer(vector):
    if vector["outcome"] == "opens":
        enc, text = hpke_seal(vector, vector["reply_public"])
        assert b"\x01" + enc + text == vector["answer"]
    agrees(vector, read_answer, vector.get("receipt"))


def run_announcement(vector):
    if vector["outcome"] == "holds":
        key = Ed25519PrivateKey.from_private_bytes(vector["seed"])
        body = vector["label"] + vector["body"]
        assert key.sign(body) + vector["body"] == vector["signed"]
    identity, label, signed = vector["identity"], vector["label"], vector["signed"]
    read = lambda it: read_signed(identity, label, it["kind"], signed)  # noqa: E731
    agrees(vector, read, vector.get("fields"))


def agrees(vector, read, expected):
    """What is read is what the vector says, or fails as it says."""
    try:
        assert expected == read(vector), "read otherwise"
    except Wrong as outcome:
        assert str(outcome) == vector["outcome"], f"{outcome} instead of {vector['outcome']}"


RUNS = {
    "keys.json": run_key,
    "passwords.json": run_password,
    "memos.json": run_memo,
    "answers.json": run_answer,
    "announcements.json": run_announcement,
}
TEXTS = {"name", "outcome", "kind", "password", "order", "receipt", "fields"}


def main():
    here = pathlib.Path(__file__).parent
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else here.parent / "vectors"
    failed = 0
    for name, run in RUNS.items():
        vectors = json.loads((folder / name).read_text())["vectors"]
        for vector in vectors:
            vector = {k: v if k in TEXTS else bytes.fromhex(v) for k, v in vector.items()}
            try:
                run(vector)
            except AssertionError as error:
                failed += 1
                print(f"{name}: {vector.get('name', 'a vector')}: {error}", file=sys.stderr)
        print(f"{name}: {len(vectors)} vectors")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
