// Many readers with MQTT.js, unmodified. The first line of standard input is one JSON object:
//   {"port", "readers": [{"protocol": 4 | 5, "username"?, "password"?, "filters", "qos"}]}
// Every line of standard output is one:
//   {"reader": index, "answer": {filter: code}, "reason"?}     the SUBACK
//   {"reader": index, "topic", "payload"}                      a message
// It ends when standard input does.
import { createInterface } from 'node:readline';
import { connect } from 'mqtt';

const say = (line) => process.stdout.write(JSON.stringify(line) + '\n');
const input = createInterface({ input: process.stdin });
const wanted = JSON.parse((await input[Symbol.asyncIterator]().next()).value);

const clients = wanted.readers.map(({ protocol, username, password, filters, qos }, reader) => {
  const login = username === undefined ? {} : { username, password };
  const client = connect({
    host: '127.0.0.1',
    port: wanted.port,
    protocolVersion: protocol,
    reconnectPeriod: 0,
    ...login,
  });
  client.on('connect', () => client.subscribe(filters, { qos }));
  client.on('packetreceive', (packet) => {
    if (packet.cmd !== 'suback') return;
    const answer = Object.fromEntries(filters.map((filter, at) => [filter, packet.granted[at]]));
    say({ reader, answer, reason: packet.properties?.reasonString });
  });
  client.on('message', (topic, payload) => say({ reader, topic, payload: payload.toString() }));
  client.on('error', (error) => say({ reader, error: error.message }));
  return client;
});

input.on('close', () => clients.forEach((client) => client.end(true)));
