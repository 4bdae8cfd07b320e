// Runs crypto/vectors with implementations that others wrote: hpke-js, Node's Ed25519 (OpenSSL), cborg, noble.
//
//   npm ci
//   node vectors.mjs [FOLDER]
//
// Written from docs/PROTOCOL.md. The exit code is 0 when every vector has the outcome that it states.
import assert from 'node:assert/strict';
import { createPrivateKey, createPublicKey, hkdfSync, sign, verify } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Chacha20Poly1305 } from '@hpke/chacha20poly1305';
import { CipherSuite, DhkemX25519HkdfSha256, HkdfSha256 } from '@hpke/core';
import { argon2id } from '@noble/hashes/argon2';
import { decodeFirst, encode } from 'cborg';

const kem = new DhkemX25519HkdfSha256();
const suite = new CipherSuite({ kem, kdf: new HkdfSha256(), aead: new Chacha20Poly1305() });

/** The outcome of a vector that is not good. */
class Wrong extends Error {}
function check(holds, outcome = 'layout') {
  if (!holds) throw new Wrong(outcome);
}

const bytes = (...parts) => new Uint8Array(Buffer.concat(parts.map((part) => Buffer.from(part))));
const hex = (it) => Buffer.from(it).toString('hex');
const isBytes = (it, length) => it instanceof Uint8Array && it.length === length;
const isText = (it, most) =>
  typeof it === 'string' && Buffer.byteLength(it) >= 1 && Buffer.byteLength(it) <= most;
const isNumber = (it, most = 2n ** 64n - 1n) =>
  (typeof it === 'bigint' || Number.isSafeInteger(it)) && it >= 0 && it <= most;
const orNull = (it, is) => it === null || is(it);
const zeros = (it) => it.every((byte) => byte === 0);
/** CBOR's values as the vectors have them. */
const shown = (it) =>
  it instanceof Uint8Array ? hex(it) : Array.isArray(it) ? it.map(shown) : typeof it === 'bigint' ? String(it) : it;

/** The one value at the beginning, in its only encoding, and what follows it. */
function cbor(data) {
  let value, rest, again;
  try {
    [value, rest] = decodeFirst(data);
    again = encode(value);
  } catch {
    throw new Wrong('layout');
  }
  check(hex(data).startsWith(hex(again)) && again.length + rest.length === data.length);
  return [value, rest];
}

const ed25519 = (x) => ({ kty: 'OKP', crv: 'Ed25519', x: Buffer.from(x).toString('base64url') });
function holds(identity, signature, text) {
  const key = createPublicKey({ key: ed25519(identity), format: 'jwk' });
  return verify(null, text, key, signature);
}

/** enc and text, with the ephemeral key of the vector. */
async function seal(vector, publicKey) {
  const recipientPublicKey = await kem.deserializePublicKey(publicKey);
  const ekm = await kem.deriveKeyPair(vector.entropy);
  const sender = await suite.createSenderContext({ recipientPublicKey, info: vector.info, ekm });
  return bytes(sender.enc, await sender.seal(vector.plain, vector.aad));
}

async function open(recipientKey, enc, info, aad, text) {
  try {
    const recipient = await suite.createRecipientContext({ recipientKey, enc, info });
    return new Uint8Array(await recipient.open(text, aad));
  } catch {
    throw new Wrong('does-not-open');
  }
}

const sealingIkm = (secret, keyId) =>
  new Uint8Array(hkdfSync('sha256', secret, 'tanglegate/sealing/v1\0', keyId, 32));

async function readMemo({ memo, secret_id, secret, identity, payer }) {
  check(hex(memo.subarray(0, 4)) === '54474c4d', 'not-ours');
  check(memo.length < 5 || memo[4] === 1, 'form');
  check(memo.length === 256, 'length');
  check(memo[5] === 1, 'suite');
  check(hex(memo.subarray(6, 10)) === hex(secret_id), 'other-secret');
  const { privateKey } = await kem.deriveKeyPair(sealingIkm(secret, memo.subarray(6, 22)));
  const aad = bytes(memo.subarray(0, 22), payer);
  const info = bytes('tanglegate/memo/v1\0', identity);
  const plain = await open(privateKey, memo.subarray(22, 54), info, aad, memo.subarray(54));
  const [order, padding] = cbor(plain);
  check(Array.isArray(order) && order.length === 4);
  const [offer, username, password, replyKey] = order;
  check(isText(offer, 32) && isText(username, 64) && isBytes(replyKey, 32));
  check(password === true || password === null || isBytes(password, 48));
  check(zeros(padding), 'padding');
  try {
    // Whatever our key, the shared secret with a point of small order is zero.
    await kem.encap({ recipientPublicKey: await kem.deserializePublicKey(replyKey) });
  } catch {
    throw new Wrong('reply-key');
  }
  const wish = password === true ? 'make' : password === null ? 'keep' : hex(password);
  return { offer, username, password: wish, reply_key: hex(replyKey) };
}

const isOffer = (offer) => {
  const [name, seller, filter, access, price, period, least, until] = offer;
  return (
    offer.length === 8 && isText(name, 32) && isBytes(seller, 32) && isText(filter, 65_535) &&
    [1, 2, 3].includes(access) && [price, period, least].every((it) => isNumber(it)) && orNull(until, isNumber)
  ); // prettier-ignore
};
const KINDS = {
  identity: [4, (log, issued, chain) => isText(log, 128) && isNumber(issued) && orNull(chain, (it) => isText(it, 64))],
  offers: [3, (issued, offers) => {
    const names = offers.map(([name]) => name);
    return isNumber(issued) && offers.every(isOffer) && String([...new Set(names)].sort()) === String(names);
  }],
  key: [6, (keyId, suite, key, issued, until) =>
    isBytes(keyId, 16) && suite === 1 && isBytes(key, 32) && isNumber(issued) && isNumber(until)],
  receipt: [17, (digest, index, seller, amount, recorded, position, outcome, reason, offer, username, password,
    filter, access, from, until, credit) =>
    isBytes(digest, 32) && isNumber(index, 65_535) && isBytes(seller, 32) && [0, 1, 2].includes(outcome) &&
    [amount, recorded, position, credit].every((it) => isNumber(it)) && isText(offer, 32) && isText(username, 64) &&
    [[reason, 512], [password, 64], [filter, 2_048]].every(([it, most]) => orNull(it, () => isText(it, most))) &&
    [null, 1, 2, 3].includes(access) && [from, until].every((it) => orNull(it, isNumber))],
}; // prettier-ignore

function readSigned(identity, label, kind, signed) {
  check(signed.length >= 64, 'signature');
  const body = signed.subarray(64);
  check(holds(identity, signed.subarray(0, 64), bytes(label, body)), 'signature');
  const [fields, rest] = cbor(body);
  const [length, fits] = KINDS[kind];
  check(rest.length === 0 && Array.isArray(fields) && fields.length === length);
  check(isBytes(fields[0], 32) && hex(fields[0]) === hex(identity) && fits(...fields.slice(1)));
  return shown(fields);
}

async function readAnswer({ answer, identity, reply_private, key_id }) {
  check(answer.length >= 49, 'length');
  check(answer[0] === 1, 'suite');
  const blocks = (answer.length - 49) / 512;
  check(Number.isInteger(blocks) && blocks >= 1 && blocks <= 8, 'length');
  const key = await kem.deserializePrivateKey(reply_private);
  const info = bytes('tanglegate/answer/v1\0', identity);
  const plain = await open(key, answer.subarray(1, 33), info, key_id, answer.subarray(33));
  const end = 2 + Buffer.from(plain).readUInt16BE();
  const padding = plain.subarray(end);
  check(end <= plain.length && padding.length < 512 && zeros(padding), 'padding');
  return readSigned(identity, 'tanglegate/receipt/v1\0', 'receipt', plain.subarray(2, end));
}

/** What is read is what the vector says, or fails as it says. */
async function agrees(vector, read, expected) {
  let seen;
  try {
    seen = await read();
  } catch (error) {
    if (!(error instanceof Wrong)) throw error;
    return assert.equal(error.message, vector.outcome);
  }
  assert.deepEqual(seen, expected);
}

const RUNS = {
  'keys.json': async (vector) => {
    const ikm = sealingIkm(vector.secret, vector.key_id);
    const { privateKey, publicKey } = await kem.deriveKeyPair(ikm);
    const scalar = new Uint8Array(await kem.serializePrivateKey(privateKey));
    scalar[0] &= 0xf8; // hpke-js leaves it to X25519 to clamp (RFC 7748 §5).
    scalar[31] = (scalar[31] & 0x7f) | 0x40;
    assert.equal(hex(bytes(vector.secret_id, vector.random)), hex(vector.key_id));
    const made = [ikm, scalar, await kem.serializePublicKey(publicKey)];
    assert.deepEqual(made.map(hex), [vector.ikm, vector.private, vector.public].map(hex));
  },
  'passwords.json': async ({ password, salt, tag }) => {
    const cost = { t: 2, m: 19_456, p: 1, dkLen: 32, version: 0x13 };
    assert.equal(hex(argon2id(password, salt, cost)), hex(tag));
  },
  'memos.json': async (vector) => {
    if (vector.outcome === 'opens') {
      const made = bytes(vector.aad.subarray(0, 22), await seal(vector, vector.public));
      assert.equal(hex(made), hex(vector.memo));
    }
    await agrees(vector, () => readMemo(vector), vector.order);
  },
  'answers.json': async (vector) => {
    if (vector.outcome === 'opens')
      assert.equal(hex(bytes([1], await seal(vector, vector.reply_public))), hex(vector.answer));
    await agrees(vector, () => readAnswer(vector), vector.receipt);
  },
  'announcements.json': async (vector) => {
    const { identity, label, kind, signed } = vector;
    if (vector.outcome === 'holds') {
      const jwk = { ...ed25519(identity), d: Buffer.from(vector.seed).toString('base64url') };
      const key = createPrivateKey({ key: jwk, format: 'jwk' });
      const made = bytes(sign(null, bytes(label, vector.body), key), vector.body);
      assert.equal(hex(made), hex(signed));
    }
    await agrees(vector, async () => readSigned(identity, label, kind, signed), vector.fields);
  },
};
const TEXTS = ['name', 'outcome', 'kind', 'password', 'order', 'receipt', 'fields'];

const folder = process.argv[2] ?? fileURLToPath(new URL('../../vectors', import.meta.url));
for (const [name, run] of Object.entries(RUNS)) {
  const { vectors } = JSON.parse(readFileSync(join(folder, name), 'utf8'));
  for (const vector of vectors) {
    const entry = ([key, it]) => [key, TEXTS.includes(key) ? it : new Uint8Array(Buffer.from(it, 'hex'))];
    try {
      await run(Object.fromEntries(Object.entries(vector).map(entry)));
    } catch (error) {
      process.exitCode = 1;
      console.error(`${name}: ${vector.name ?? 'a vector'}: ${error.message}`);
    }
  }
  console.log(`${name}: ${vectors.length} vectors`);
}
