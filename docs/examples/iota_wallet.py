"""Pays on the IOTA ledger from Python: a transaction in BCS, built and signed by hand."""

import base64
import hashlib
import json
import urllib.request

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
GAS_BUDGET = 20_000_000  # NANOS at most; what is not used stays with the payer.


class Wallet:
    """A node, and the key in a file as wallets export it: iotaprivkey1..., Ed25519."""

    def __init__(self, node, key_file):
        self.node = node
        with open(key_file) as file:
            digits = file.read().strip().rpartition("1")[2][:-6]  # The checksum is not looked at.
        number = 0
        for digit in digits:
            number = number << 5 | BECH32.index(digit)
        flag, *seed = (number >> 1).to_bytes(33, "big")
        if flag != 0:
            raise ValueError(f"the key in {key_file} is no Ed25519 key")
        self.key = Ed25519PrivateKey.from_private_bytes(bytes(seed))
        self.public = self.key.public_key().public_bytes_raw()
        self.address = blake2b(self.public)

    def call(self, method, *params):
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        headers = {"content-type": "application/json"}
        request = urllib.request.Request(self.node, body.encode(), headers)
        with urllib.request.urlopen(request, timeout=60) as response:
            said = json.load(response)
        if "error" in said:
            raise ValueError(f"{method}: {said['error']}")
        return said["result"]

    def sign(self, to, amount, memo):
        """Signs a payment of so many NANOS: its digest, its bytes and its signature."""
        needed, held, coins = amount + GAS_BUDGET, 0, []
        for coin in self.call("iotax_getCoins", "0x" + self.address.hex())["data"]:
            if held < needed:
                held += int(coin["balance"])
                reference = bytes.fromhex(coin["coinObjectId"][2:]) + u64(int(coin["version"]))
                coins.append(reference + vector(from_base58(coin["digest"])))
        if held < needed:
            raise ValueError(f"{needed} NANOS are needed, gas included, and {held} are there")
        price = int(self.call("iotax_getReferenceGasPrice"))
        inputs = [u64(amount), to, vector(memo)]
        commands = [
            bytes.fromhex("02 00 01 01 0000"),  # SplitCoins(gas coin, [input 0])
            bytes.fromhex("01 01 03 0000 0000 01 0100"),  # TransferObjects([result 0.0], input 1)
            bytes.fromhex("05 01 06 01 01 01 0200"),  # MakeMoveVec(vector<u8>, [input 2])
        ]
        transaction = b"".join([
            b"\0\0",  # Version 1, a programmable transaction.
            uleb(len(inputs)), *(b"\0" + vector(it) for it in inputs),
            uleb(len(commands)), *commands,
            self.address, uleb(len(coins)), *coins, self.address, u64(price), u64(GAS_BUDGET),
            b"\0",  # It does not expire.
        ])  # fmt: skip
        signature = b"\0" + self.key.sign(blake2b(b"\0\0\0" + transaction)) + self.public
        digest = blake2b(b"TransactionData::" + transaction)
        return digest, base64.b64encode(transaction).decode(), base64.b64encode(signature).decode()

    def pay(self, transaction, signature):
        """Sends a payment. The same bytes again are the same payment."""
        options = {"showEffects": True}
        said = self.call("iota_executeTransactionBlock", transaction, [signature], options)
        if said["effects"]["status"]["status"] != "success":
            raise ValueError(f"not paid: {said['effects']['status']}")


def blake2b(data):
    return hashlib.blake2b(data, digest_size=32).digest()


def u64(number):
    return number.to_bytes(8, "little")


def uleb(number):
    return bytes([number]) if number < 128 else bytes([number & 127 | 128]) + uleb(number >> 7)


def vector(content):
    return uleb(len(content)) + content


def from_base58(text):
    number = 0
    for digit in text:
        number = number * 58 + BASE58.index(digit)
    return number.to_bytes(32, "big")
