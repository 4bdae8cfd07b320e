#!/usr/bin/env node
// Buys a login from a Tanglegate server as a stranger, and reads with it: docs/PROTOCOL.md, §3 to §6.
//
//   npm ci
//   node buyer.mjs --broker mqtts://gate.example --node https://api.mainnet.iota.cafe --key wallet.key \
//       --identity HEX --offer plug-hour --amount 360000000 --username ana --order ana.order
//
// --key names a file with a key as wallets export it (iotaprivkey1…); --amount is in NANOS. BUYER_PASSWORD in
// the environment is the login's password to be; without one the server makes one. --identity is what the
// seller publishes; without it the script says what the server claims, and stops. --order names the file with
// all that is needed to go on after a crash, written before anything is paid: run the same again, and it never
// pays twice. Login and receipt are kept in ORDER.login. --messages ends it after so many.
import { createPublicKey, randomBytes, verify } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { Chacha20Poly1305 } from '@hpke/chacha20poly1305';
import { CipherSuite, DhkemX25519HkdfSha256, HkdfSha256 } from '@hpke/core';
import { IotaClient } from '@iota/iota-sdk/client';
import { decodeIotaPrivateKey } from '@iota/iota-sdk/cryptography';
import { Ed25519Keypair } from '@iota/iota-sdk/keypairs/ed25519';
import { Transaction } from '@iota/iota-sdk/transactions';
import { toBase58 } from '@iota/iota-sdk/utils';
import { argon2id } from '@noble/hashes/argon2';
import { decode, encode } from 'cborg';
import { connectAsync } from 'mqtt';

const options = 'broker node key identity offer amount username order messages'.split(' ');
const { values: wanted } = parseArgs({
  options: Object.fromEntries(options.map((name) => [name, { type: 'string' }])),
});
const parts = { kem: new DhkemX25519HkdfSha256(), kdf: new HkdfSha256(), aead: new Chacha20Poly1305() };
const suite = new CipherSuite(parts);

const bytes = (...parts) => new Uint8Array(Buffer.concat(parts.map((part) => Buffer.from(part))));
const hex = (it) => Buffer.from(it).toString('hex');
const unhex = (digits) => new Uint8Array(Buffer.from(digits, 'hex'));
const label = (use) => bytes(`tanglegate/${use}/v1\0`);
const say = (words) => process.stderr.write(`${words}\n`);
function check(holds, words) {
  if (!holds) throw new Error(words);
}
// For its owner alone, never in the place of another, and on the disk before the script goes on.
const keep = (file, content) =>
  writeFileSync(file, JSON.stringify(content), { mode: 0o600, flag: 'wx', flush: true });
const kept = (file) => existsSync(file) && JSON.parse(readFileSync(file, 'utf8'));

/** The fields of something signed (§3.2), if `identity` signed it for this use. */
function signedBy(identity, use, length, signed) {
  const [signature, body] = [signed.subarray(0, 64), signed.subarray(64)];
  const jwk = { kty: 'OKP', crv: 'Ed25519', x: Buffer.from(identity, 'hex').toString('base64url') };
  const key = createPublicKey({ key: jwk, format: 'jwk' });
  check(verify(null, bytes(label(use), body), key, signature), `${use}: not signed by ${identity}`);
  const fields = decode(body);
  check(hex(encode(fields)) === hex(body) && fields.length === length, `${use}: laid out otherwise`);
  check(hex(fields[0]) === identity, `${use}: of another identity`);
  return fields;
}

/** Subscribes, and the first message on the topic. */
async function first(client, topic) {
  const message = new Promise((resolve) =>
    client.on('message', (on, payload) => on === topic && resolve(payload)),
  );
  await client.subscribeAsync(topic, { qos: 1 });
  return message;
}

/** Finds the offer, seals the memo (§5) and signs the payment. Nothing is paid yet. */
async function makeOrder(client, node) {
  const { identity, offer, username, amount } = wanted;
  const shown = await first(client, '$SYS/access/identity');
  const claimed = hex(decode(shown.subarray(64))[0]);
  check(identity, `the server says it is ${claimed}: if the seller publishes that, give it as --identity`);
  const [, log, , chain] = signedBy(identity, 'identity', 4, shown);
  check(chain, `${log} does not know its ledger yet: try again in a moment`);
  const ledger = await node.getChainIdentifier();
  check(chain === ledger, `${log} is paid on ledger ${chain}, and the node is on ${ledger}`);
  const [, , offers] = signedBy(identity, 'offers', 3, await first(client, '$SYS/access/offers'));
  const found = offers.find(([name]) => name === offer);
  check(found, `${log} sells ${offers.map(([name]) => name)}`);
  const [, seller, filter, , price, period, least, ends] = found;
  check(ends === null || Date.now() < ends, `${offer} is not sold any more`);
  check(BigInt(amount) >= least, `${offer} takes ${least} NANOS at least`);
  say(`${log} sells ${filter} at ${price} NANOS for ${Number(period) / 1000} s`);

  await client.subscribeAsync('$SYS/access/me/credential');
  const told = signedBy(identity, 'key', 6, await first(client, '$SYS/access/me/key'));
  const [, keyId, suiteNumber, publicKey, issued, validUntil] = told;
  check(suiteNumber === 1, 'the key is of another suite');
  const payBefore = Date.now() + (validUntil - issued);

  const wallet = decodeIotaPrivateKey(readFileSync(wanted.key, 'utf8').trim());
  const signer = Ed25519Keypair.fromSecretKey(wallet.secretKey);
  const payer = signer.toIotaAddress();
  const reply = await suite.kem.generateKeyPair();
  const [password, salt] = [process.env.BUYER_PASSWORD, randomBytes(16)];
  const cost = { t: 2, m: 19_456, p: 1, dkLen: 32, version: 0x13 };
  const wish = password ? bytes(salt, argon2id(password, salt, cost)) : true;
  const wished = encode([offer, username, wish, bytes(await suite.kem.serializePublicKey(reply.publicKey))]);
  check(wished.length <= 185, `${username} is too long`);
  const sealer = await suite.createSenderContext({
    recipientPublicKey: await suite.kem.deserializePublicKey(publicKey),
    info: bytes(label('memo'), unhex(identity)),
  });
  const head = bytes('TGLM', [1, 1], keyId);
  const plain = bytes(wished, new Uint8Array(186 - wished.length));
  const text = await sealer.seal(plain, bytes(head, unhex(payer.slice(2))));

  const transaction = new Transaction();
  transaction.setSender(payer);
  const [coin] = transaction.splitCoins(transaction.gas, [BigInt(amount)]);
  transaction.transferObjects([coin], `0x${hex(seller)}`);
  const memo = transaction.pure.vector('u8', bytes(head, sealer.enc, text));
  transaction.makeMoveVec({ type: 'vector<u8>', elements: [memo] });
  const payment = await signer.signTransaction(await transaction.build({ client: node }));
  const replyKey = hex(await suite.kem.serializePrivateKey(reply.privateKey));
  const digest = await transaction.getDigest();
  const order = { identity, offer, filter, username, password };
  return { ...order, keyId: hex(keyId), replyKey, payBefore, digest, payment };
}

/** The receipt of our payment (§6). Somebody on the way may have sent anything. */
async function openAnswer(answer, order) {
  check(answer[0] === 1, 'another suite');
  const opener = await suite.createRecipientContext({
    recipientKey: await suite.kem.deserializePrivateKey(unhex(order.replyKey)),
    enc: answer.subarray(1, 33),
    info: bytes(label('answer'), unhex(order.identity)),
  });
  const plain = Buffer.from(await opener.open(answer.subarray(33), unhex(order.keyId)));
  const end = 2 + plain.readUInt16BE();
  const padded = end <= plain.length && plain.length - end < 512 && plain.subarray(end).every((it) => it === 0);
  check(plain.length % 512 === 0 && padded, 'padded otherwise');
  const signed = plain.subarray(2, end);
  const receipt = signedBy(order.identity, 'receipt', 17, signed);
  const [, digest, , , , , , outcome, reason, offer, username, made, filter, , , until, credit] = receipt;
  check(toBase58(digest) === order.digest, 'of another payment');
  check(offer === order.offer && username === order.username, 'of another order');
  // The offer's filter, where it is too long for a receipt.
  const login = { username, password: made ?? order.password, filter: filter ?? order.filter, until };
  return { ...login, outcome, reason, credit: String(credit), signed: hex(signed) };
}

async function buy() {
  const client = await connectAsync(wanted.broker, { protocolVersion: 5 });
  const node = new IotaClient({ url: wanted.node });
  const order = kept(wanted.order) || (await makeOrder(client, node));
  if (!existsSync(wanted.order)) keep(wanted.order, order);
  const answered = new Promise((resolve) =>
    client.on('message', (_, payload) =>
      openAnswer(payload, order).then(resolve, (error) => say(`not the answer: ${error.message}`)),
    ),
  );
  await client.subscribeAsync(`$SYS/access/keys/${order.keyId}/credential`); // after a new connection too
  if (Date.now() < order.payBefore) {
    // The same bytes are the same transaction, which the ledger carries out once.
    const payment = { transactionBlock: order.payment.bytes, signature: order.payment.signature };
    const { effects } = await node.executeTransactionBlock({ ...payment, options: { showEffects: true } });
    check(effects.status.status === 'success', `not paid: ${effects.status.error}`);
  } else say(`the key is over: unless the ledger has ${order.digest}, nothing was paid; delete the order`);
  say(`waiting for the answer to payment ${order.digest}`);
  const answer = await answered;
  await client.endAsync();
  check(answer.outcome !== 2, `refused; the money is kept, not spent: ${answer.reason}`);
  check(answer.outcome === 0, `too little for any time: ${answer.credit} NANOS are on your account`);
  keep(`${wanted.order}.login`, answer);
  return answer;
}

const { username, password, filter, until } = kept(`${wanted.order}.login`) || (await buy());
say(`${username} reads ${filter} until ${new Date(until).toISOString()}`);
const reader = await connectAsync(wanted.broker, { protocolVersion: 5, username, password });
let left = Number(wanted.messages ?? Infinity);
reader.on('message', (topic, payload) => {
  if (left-- > 0) console.log(`${topic} ${payload}`);
  if (left === 0) reader.end();
});
await reader.subscribeAsync(filter);
