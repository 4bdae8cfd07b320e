// A buyer with IOTA's official TypeScript SDK, unmodified: gets money from the faucet and pays
// with a memo, in both places where a memo may stand. Reads one JSON object from standard input:
//   {"url", "seed": hex, "seller", "memo": hex, "amounts": {"unused", "used"}}
// and writes one JSON object to standard output: what the SDK saw.
import { text } from 'node:stream/consumers';
import { IotaClient } from '@iota/iota-sdk/client';
import { requestIotaFromFaucet, requestIotaFromFaucetV0 } from '@iota/iota-sdk/faucet';
import { Ed25519Keypair } from '@iota/iota-sdk/keypairs/ed25519';
import { Transaction } from '@iota/iota-sdk/transactions';

const wanted = JSON.parse(await text(process.stdin));
const bytes = (hex) => Array.from(Buffer.from(hex, 'hex'));
const client = new IotaClient({ url: wanted.url });
const buyer = Ed25519Keypair.fromSecretKey(Uint8Array.from(bytes(wanted.seed)));
const address = buyer.toIotaAddress();

async function pay(amount, carry) {
  const transaction = new Transaction();
  const [coin] = transaction.splitCoins(transaction.gas, [amount]);
  transaction.transferObjects([coin], wanted.seller);
  const memo = transaction.pure.vector('u8', bytes(wanted.memo));
  if (carry) transaction.makeMoveVec({ type: 'vector<u8>', elements: [memo] });
  const sent = await client.signAndExecuteTransaction({
    transaction,
    signer: buyer,
    options: { showEffects: true, showObjectChanges: true },
  });
  const options = { showEffects: true, showBalanceChanges: true, showInput: true };
  const final = await client.waitForTransaction({ digest: sent.digest, pollInterval: 20, options });
  return {
    digest: sent.digest,
    status: sent.effects.status.status,
    created: sent.objectChanges.filter((change) => change.type === 'created').length,
    checkpoint: Number(final.checkpoint),
    sender: final.transaction.data.sender,
    received: final.balanceChanges.find((change) => change.owner.AddressOwner === wanted.seller)
      ?.amount,
  };
}

const granted = [
  (await requestIotaFromFaucetV0({ host: wanted.url, recipient: address }))
    .transferredGasObjects[0].amount,
  await requestIotaFromFaucet({ host: wanted.url, recipient: address, delayMs: 20 }),
];
const before = await client.getBalance({ owner: address });
const unused = await pay(wanted.amounts.unused, false);
const used = await pay(wanted.amounts.used, true);
const after = await client.getBalance({ owner: address });
const tooMuch = await pay(Number(after.totalBalance), false);

const history = await client.queryTransactionBlocks({
  filter: { ToAddress: wanted.seller },
  order: 'ascending',
});
const checkpoint = await client.getCheckpoint({ id: String(used.checkpoint) });
console.log(
  JSON.stringify({
    address,
    granted,
    before: Number(before.totalBalance),
    after: Number(after.totalBalance),
    coins: (await client.getCoins({ owner: address })).data.length,
    unused,
    used,
    tooMuch,
    history: history.data.map((block) => block.digest),
    sealed: checkpoint.transactions,
    chain: await client.getChainIdentifier(),
    version: await client.getRpcApiVersion(),
    maxGas: (await client.getProtocolConfig()).attributes.max_tx_gas.u64,
  }),
);
