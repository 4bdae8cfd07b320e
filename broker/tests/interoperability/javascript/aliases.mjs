// MQTT.js, unmodified, allows ten topic aliases and hears 3,000 messages on thirty topics. The
// argument is that of story.mjs, for version 5. What was seen is printed as one JSON object.
import { readFileSync } from 'node:fs';
import { once } from 'node:events';
import { connect } from 'mqtt';

const { port, transport, authority } = JSON.parse(process.argv[2]);
const tls = authority !== undefined;
const protocol = transport === 'tcp' ? (tls ? 'mqtts' : 'mqtt') : tls ? 'wss' : 'ws';

const opened = async (clientId, properties) => {
  const client = connect({
    host: '127.0.0.1',
    port,
    protocol,
    protocolVersion: 5,
    clientId,
    username: 'ana',
    password: 'ana',
    reconnectPeriod: 0,
    path: '/mqtt',
    properties,
    ...(tls && { ca: [readFileSync(authority)], servername: 'localhost' }),
    wsOptions: tls ? { servername: 'localhost' } : {},
  });
  await once(client, 'connect');
  return client;
};

const reader = await opened('reader', { topicAliasMaximum: 10 });
const aliases = new Set();
let [heard, wrong, short] = [0, 0, 0];
reader.on('packetreceive', (packet) => {
  const alias = packet.properties?.topicAlias;
  if (packet.cmd === 'publish' && alias !== undefined) aliases.add(alias);
  if (packet.cmd === 'publish' && packet.topic === '') short += 1;
});
const all = new Promise((resolve) => {
  // Every message says where it was published.
  reader.on('message', (topic, payload) => {
    heard += 1;
    if (payload.toString() !== topic) wrong += 1;
    if (heard === 3_000) resolve();
  });
});
await reader.subscribeAsync('own/many/#', { qos: 1 });

const writer = await opened('writer');
for (let round = 0; round < 100; round += 1) {
  const topics = Array.from({ length: 30 }, (_, number) => `own/many/${number % 3 === 0 ? number : (number * 7 + round) % 30}`);
  await Promise.all(topics.map((topic, number) => writer.publishAsync(topic, topic, { qos: number % 2 })));
}
await all;
await Promise.all([reader, writer].map((client) => client.endAsync()));
process.stdout.write(JSON.stringify({ heard, wrong, aliases: aliases.size, shortened: short > 300 }));
process.exit(0);
