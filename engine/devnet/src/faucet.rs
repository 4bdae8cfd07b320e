//! The faucet: an ordinary account that owns the supply and pays out of it on request.

use ed25519_dalek::Signer;
use iota_sdk_types::{
    Address, Argument, Command, Ed25519PublicKey, Ed25519Signature, GasPayment, Input,
    ProgrammableTransaction, SignedTransaction, SimpleSignature, Transaction,
    TransactionExpiration, TransactionKind, TransactionV1, UserSignature,
};

use crate::admission::Refusal;
use crate::gas;
use crate::ledger::Ledger;

/// Enough for one computation bucket and one new coin.
const BUDGET: u64 = 10_000_000;

/// A signed payment of `amount` NANOS from the faucet's largest coin to `recipient`.
pub(crate) fn payment(
    ledger: &Ledger,
    recipient: Address,
    amount: u64,
) -> Result<SignedTransaction, Refusal> {
    let owner = ledger.genesis.faucet_address();
    let coin = ledger
        .coins_of(&owner)
        .max_by_key(|coin| coin.balance)
        .ok_or(Refusal::NoGasCoin(owner))?;
    let needed = amount.saturating_add(BUDGET);
    if coin.balance < needed {
        return Err(Refusal::GasBalance {
            held: coin.balance,
            budget: needed,
        });
    }
    let program = ProgrammableTransaction {
        inputs: vec![Input::pure(&amount), Input::pure(&recipient)],
        commands: vec![
            Command::new_split_coins(Argument::Gas, vec![Argument::Input(0)]),
            Command::new_transfer_objects(vec![Argument::Result(0)], Argument::Input(1)),
        ],
    };
    let transaction = Transaction::V1(TransactionV1 {
        kind: TransactionKind::Programmable(program),
        sender: owner,
        gas_payment: GasPayment {
            objects: vec![coin.reference()],
            owner,
            price: gas::REFERENCE_GAS_PRICE,
            budget: BUDGET,
        },
        expiration: TransactionExpiration::None,
    });
    Ok(sign(ledger, transaction))
}

fn sign(ledger: &Ledger, transaction: Transaction) -> SignedTransaction {
    let key = ledger.genesis.faucet_key();
    let signature = key.sign(&transaction.signing_digest());
    let signature = SimpleSignature::Ed25519 {
        signature: Ed25519Signature::new(signature.to_bytes()),
        public_key: Ed25519PublicKey::new(key.verifying_key().to_bytes()),
    };
    SignedTransaction {
        transaction,
        signatures: vec![UserSignature::Simple(signature)],
    }
}
