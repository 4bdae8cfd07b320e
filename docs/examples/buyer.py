#!/usr/bin/env python3
"""Buys a login from a Tanglegate server as a stranger, and reads with it: docs/PROTOCOL.md, §3 to §6.

    pip install -r requirements.txt
    buyer.py --broker mqtts://gate.example --node https://api.mainnet.iota.cafe --key wallet.key \\
        --identity HEX --offer plug-hour --amount 360000000 --username ana --order ana.order

--key names a file with a key as wallets export it (iotaprivkey1...); --amount is in NANOS. BUYER_PASSWORD
in the environment is the login's password to be; without one the server makes one. --identity is what the
seller publishes; without it the script says what the server claims, and stops. --order names the file with
all that is needed to go on after a crash, written before anything is paid: run the same again, and it never
pays twice. Login and receipt are kept in ORDER.login. --messages ends it after so many.
"""

import argparse
import json
import os
import queue
import sys
import time
import urllib.parse

import cbor2
import paho.mqtt.client as paho
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from pyhpke import AEADId, CipherSuite, KDFId, KEMId
from pyhpke.exceptions import PyHPKEError

from iota_wallet import Wallet

SUITE = CipherSuite.new(KEMId.DHKEM_X25519_HKDF_SHA256, KDFId.HKDF_SHA256, AEADId.CHACHA20_POLY1305)


def check(holds, words):
    if not holds:
        raise ValueError(words)


def say(words):
    print(words, file=sys.stderr, flush=True)


def label(use):
    return f"tanglegate/{use}/v1\0".encode()


def keep(file, content):
    """For its owner alone, never in the place of another, and on the disk before the script goes on."""
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        json.dump(content, out)
        out.flush()
        os.fsync(out.fileno())


def kept(file):
    with open(file) as there:
        return json.load(there)


class Mqtt:
    """A connection that comes back by itself, with its subscriptions, and what it was told."""

    def __init__(self, broker, username=None, password=None):
        url = urllib.parse.urlparse(broker)
        self.topics, self.told, self.codes = [], queue.Queue(), queue.Queue()
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        if url.scheme == "mqtts":
            self.client.tls_set()
        if username is not None:
            self.client.username_pw_set(username, password)
        self.client.on_connect = self.connected
        self.client.on_message = lambda _client, _data, it: self.told.put((it.topic, it.payload))
        self.client.connect(url.hostname, url.port or (8883 if url.scheme == "mqtts" else 1883))
        self.client.loop_start()
        code = self.codes.get(timeout=30)
        check(not code.is_failure, f"not let in: {code}")

    def connected(self, client, _data, _flags, code, _properties):
        self.codes.put(code)
        for topic in self.topics:
            client.subscribe(topic, qos=1)

    def subscribe(self, topic):
        self.topics.append(topic)
        if self.client.is_connected():
            self.client.subscribe(topic, qos=1)

    def first(self, topic):
        """Subscribes, and the first message on the topic."""
        self.subscribe(topic)
        while True:
            on, payload = self.told.get()
            if on == topic:
                return payload


def signed_by(identity, use, length, signed):
    """The fields of something signed (§3.2), if `identity` signed it for this use."""
    body = signed[64:]
    Ed25519PublicKey.from_public_bytes(identity).verify(signed[:64], label(use) + body)
    fields = cbor2.loads(body)
    check(cbor2.dumps(fields) == body and len(fields) == length, f"{use}: laid out otherwise")
    check(fields[0] == identity, f"{use}: of another identity")
    return fields


def make_order(mqtt, wallet, wanted):
    """Finds the offer, seals the memo (§5) and signs the payment. Nothing is paid yet."""
    shown = mqtt.first("$SYS/access/identity")
    claimed = cbor2.loads(shown[64:])[0].hex()
    check(wanted.identity, f"the server says it is {claimed}: if the seller publishes that, give it as --identity")
    identity = bytes.fromhex(wanted.identity)
    _, log, _, chain = signed_by(identity, "identity", 4, shown)
    check(chain, f"{log} does not know its ledger yet: try again in a moment")
    found = wallet.call("iota_getChainIdentifier")
    check(chain == found, f"{log} is paid on ledger {chain}, and the node is on {found}")
    _, _, offers = signed_by(identity, "offers", 3, mqtt.first("$SYS/access/offers"))
    offers = {name: offer for name, *offer in offers}
    check(wanted.offer in offers, f"{log} sells {', '.join(offers)}")
    seller, topics, _, price, period, least, ends = offers[wanted.offer]
    check(ends is None or time.time() * 1000 < ends, f"{wanted.offer} is not sold any more")
    check(wanted.amount >= least, f"{wanted.offer} takes {least} NANOS at least")
    say(f"{log} sells {topics} at {price} NANOS for {period // 1000} s")

    mqtt.subscribe("$SYS/access/me/credential")
    told = signed_by(identity, "key", 6, mqtt.first("$SYS/access/me/key"))
    _, key_id, suite, public, issued, valid_until = told
    check(suite == 1, "the key is of another suite")
    pay_before = time.time() * 1000 + valid_until - issued

    reply = X25519PrivateKey.generate()
    wish, password = True, os.environ.get("BUYER_PASSWORD")
    if password:
        salt = os.urandom(16)
        hasher = Argon2id(salt=salt, length=32, iterations=2, lanes=1, memory_cost=19_456)
        wish = salt + hasher.derive(password.encode())
    order = cbor2.dumps([wanted.offer, wanted.username, wish, reply.public_key().public_bytes_raw()])
    check(len(order) <= 185, f"{wanted.username} is too long")
    head = b"TGLM\1\1" + key_id
    public = SUITE.kem.deserialize_public_key(public)
    enc, sealer = SUITE.create_sender_context(public, label("memo") + identity)
    memo = head + enc + sealer.seal(order.ljust(186, b"\0"), head + wallet.address)
    digest, transaction, signature = wallet.sign(seller, wanted.amount, memo)
    return {
        "identity": wanted.identity, "offer": wanted.offer, "filter": topics, "username": wanted.username,
        "password": password, "key_id": key_id.hex(), "reply_key": reply.private_bytes_raw().hex(),
        "pay_before": pay_before, "digest": digest.hex(), "payment": [transaction, signature],
    }  # fmt: skip


def open_answer(answer, order):
    """The receipt of our payment (§6). Somebody on the way may have sent anything."""
    check(answer[:1] == b"\1", "another suite")
    identity, key_id, digest = (bytes.fromhex(order[it]) for it in ("identity", "key_id", "digest"))
    reply_key = SUITE.kem.deserialize_private_key(bytes.fromhex(order["reply_key"]))
    opener = SUITE.create_recipient_context(answer[1:33], reply_key, label("answer") + identity)
    plain = opener.open(answer[33:], key_id)
    end = 2 + int.from_bytes(plain[:2], "big")
    check(len(plain) % 512 == 0 and 0 <= len(plain) - end < 512, "of another length")
    check(not any(plain[end:]), "padded otherwise")
    receipt = signed_by(identity, "receipt", 17, plain[2:end])
    check(receipt[1] == digest, "of another payment")
    check(receipt[9:11] == [order["offer"], order["username"]], "of another order")
    return receipt, plain[2:end]


def buy(wanted):
    mqtt, wallet = Mqtt(wanted.broker), Wallet(wanted.node, wanted.key)
    if not os.path.exists(wanted.order):
        keep(wanted.order, make_order(mqtt, wallet, wanted))
    order = kept(wanted.order)
    mqtt.subscribe(f"$SYS/access/keys/{order['key_id']}/credential")  # After a new connection too.
    if time.time() * 1000 < order["pay_before"]:
        wallet.pay(*order["payment"])  # The ledger carries the same bytes out once.
    else:
        say("the key is over: unless the ledger has the payment, nothing was paid; delete the order")
    say("waiting for the answer")
    receipt = None
    while receipt is None:
        _, answer = mqtt.told.get()
        try:
            receipt, signed = open_answer(answer, order)
        except (ValueError, InvalidSignature, PyHPKEError, cbor2.CBORError) as error:
            say(f"not the answer: {error!r}")
    mqtt.client.disconnect()
    outcome, reason, _, username, made, topics, _, _, until, credit = receipt[7:]
    check(outcome != 2, f"refused; the money is kept, not spent: {reason}")
    check(outcome == 0, f"too little for any time: {credit} NANOS are on your account")
    keep(f"{wanted.order}.login", {
        "username": username, "password": made or order["password"], "until": until,
        "filter": topics or order["filter"],  # The offer's, where it is too long for a receipt.
        "signed": signed.hex(),
    })  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description="Buys a login from a Tanglegate server, and reads with it.")
    for name in ("broker", "node", "key", "offer", "username", "order"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--identity")
    parser.add_argument("--amount", required=True, type=int)
    parser.add_argument("--messages", type=int, default=-1)
    wanted = parser.parse_args()
    if not os.path.exists(f"{wanted.order}.login"):
        buy(wanted)
    login = kept(f"{wanted.order}.login")
    say(f"{login['username']} reads {login['filter']} until {time.ctime(login['until'] / 1000)}")
    mqtt = Mqtt(wanted.broker, login["username"], login["password"])
    mqtt.subscribe(login["filter"])
    while wanted.messages != 0:
        topic, payload = mqtt.told.get()
        print(topic, payload.decode(), flush=True)
        wanted.messages -= 1


if __name__ == "__main__":
    main()
