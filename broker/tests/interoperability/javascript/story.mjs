// One story with MQTT.js, unmodified. The argument is one JSON object:
//   {"port", "transport": "tcp" | "websocket", "authority"?: file, "version": 4 | 5}
// What was seen is printed as one more.
import { readFileSync } from 'node:fs';
import { once } from 'node:events';
import { connect } from 'mqtt';

const { port, transport, authority, version } = JSON.parse(process.argv[2]);
const tls = authority !== undefined;
const protocol = transport === 'tcp' ? (tls ? 'mqtts' : 'mqtt') : tls ? 'wss' : 'ws';
const seen = {};

const open = (clientId, more = {}) => {
  const client = connect({
    host: '127.0.0.1',
    port,
    protocol,
    protocolVersion: version,
    clientId,
    username: 'ana',
    password: 'ana',
    reconnectPeriod: 0,
    path: '/mqtt',
    ...(tls && { ca: [readFileSync(authority)], servername: 'localhost' }),
    wsOptions: tls ? { servername: 'localhost' } : {},
    ...more,
  });
  // Messages wait here for whoever asks for them.
  const messages = [];
  client.on('message', (topic, payload, packet) => {
    const { qos, retain, properties } = packet;
    const subscriptions = properties?.subscriptionIdentifier;
    messages.push({
      topic,
      payload: payload.toString(),
      qos,
      retain,
      ...(subscriptions && { subscriptions: [subscriptions].flat() }),
    });
    client.emit('heard');
  });
  client.messages = messages;
  client.heard = async (topic) => {
    for (;;) {
      const at = messages.findIndex((it) => it.topic === topic);
      if (at >= 0) return messages.splice(at, 1)[0];
      await once(client, 'heard');
    }
  };
  return client;
};
const opened = async (clientId, more) => {
  const client = open(clientId, more);
  const [connack] = await once(client, 'connect');
  client.present = connack.sessionPresent;
  return client;
};
const kept = version === 5 ? { clean: false, properties: { sessionExpiryInterval: 60 } } : { clean: false };

const main = await opened('main');
const granted = once(main, 'packetreceive').then(function codes([packet]) {
  return packet.cmd === 'suback' ? packet.granted : once(main, 'packetreceive').then(codes);
});
main.subscribe(['own/#', 'sensor/live', 'secret'], { qos: 1 }, () => {});
seen.codes = await granted;

await main.publishAsync('own/zero', '0', { qos: 0 });
await main.publishAsync('own/one', '1', { qos: 1 });
await main.publishAsync('own/large', 'x'.repeat(300_000), { qos: 1 });
seen.zero = await main.heard('own/zero');
seen.one = await main.heard('own/one');
seen.large = (await main.heard('own/large')).payload.length;

await main.publishAsync('own/kept', 'kept', { qos: 1, retain: true });
const late = await opened('late');
await late.subscribeAsync('own/kept', { qos: 1 });
seen.kept = await late.heard('own/kept');
await main.publishAsync('own/kept', '', { qos: 1, retain: true });

const lost = await opened('lost', { will: { topic: 'own/will', payload: 'gone', qos: 1 } });
lost.stream.destroy();
seen.will = await main.heard('own/will');

let away = await opened('away', kept);
seen.fresh = away.present;
await away.subscribeAsync('own/away', { qos: 2 });
await away.endAsync();
// It comes back and hears what it missed, and what it subscribed to before.
await main.publishAsync('own/away', 'missed', { qos: 1 });
await main.publishAsync('own/away', 'missed too', { qos: 2 });
away = await opened('away', kept);
seen.present = away.present;
seen.missed = [await away.heard('own/away'), await away.heard('own/away')];
await main.publishAsync('own/away', 'later', { qos: 1 });
seen.later = await away.heard('own/away');
await away.endAsync();
const forgotten = await opened('away', { clean: true });
seen.forgotten = forgotten.present;

const exact = await opened('exact');
await exact.subscribeAsync('own/exact', { qos: 2 });
seen.exact = [];
for (let number = 0; number < 20; number += 1) {
  await exact.publishAsync('own/exact', `${number}`, { qos: 2 });
  seen.exact.push((await exact.heard('own/exact')).payload);
}
await exact.publishAsync('own/exact', 'twice', { qos: 2 });
seen.twice = await exact.heard('own/exact');

const pair = [await opened('one'), await opened('two')];
for (const member of pair) await member.subscribeAsync('$share/pair/own/shared', { qos: 1 });
for (let number = 0; number < 20; number += 1) {
  await main.publishAsync('own/shared', `${number}`, { qos: 1 });
}
// Who sees the last one of its own has seen all before it.
for (const member of pair) await member.subscribeAsync('own/last', { qos: 1 });
await main.publishAsync('own/last', '', { qos: 1 });
for (const member of pair) await member.heard('own/last');
const shares = pair.flatMap((member) => member.messages.map((it) => Number(it.payload)));
seen.shared = shares.sort((one, other) => one - other);

if (version === 5) {
  await main.publishAsync('own/picky', 'kept', { qos: 1, retain: true });
  const picky = await opened('picky');
  await picky.subscribeAsync('own/picky', {
    qos: 1,
    nl: true,
    rap: true,
    rh: 2,
    properties: { subscriptionIdentifier: 7 },
  });
  await picky.publishAsync('own/picky', 'its own', { qos: 1 });
  await main.publishAsync('own/picky', 'another', { qos: 1, retain: true });
  seen.picky = await picky.heard('own/picky');
  await main.publishAsync('own/picky', '', { qos: 1, retain: true });
  await picky.endAsync();
}

const [refused] = await once(open('stranger', { password: 'wrong' }), 'error');
seen.refused = refused.code;

await Promise.all([main, late, forgotten, exact, ...pair].map((client) => client.endAsync()));
process.stdout.write(JSON.stringify(seen));
process.exit(0);
