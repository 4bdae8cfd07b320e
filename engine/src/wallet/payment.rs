//! Building and signing a payment. Pure: coins and prices go in, signed bytes come out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use iota_sdk_types::{
    Argument, Command, GasPayment, Input, ObjectReference, ProgrammableTransaction, Transaction,
    TransactionExpiration, TransactionKind, TransactionV1, TypeTag,
};
use serde::{Deserialize, Serialize};
use tanglegate_core::{Address, Nanos};

use super::key::Key;

/// The most coins that may pay for one transaction.
const MAX_GAS_COINS: usize = 256;

/// A pure input must be shorter than 16 KiB; the length before the memo takes up to three.
const MAX_MEMO_BYTES: usize = 16 * 1024 - 4;

/// Why a payment cannot be built.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub enum PaymentError {
    /// The coins do not suffice.
    #[error("{held} cannot pay {amount} and up to {gas} for gas: {needed} are needed")]
    NotEnough {
        /// What the largest 256 coins hold.
        held: Nanos,
        /// What is to be paid.
        amount: Nanos,
        /// The gas budget.
        gas: Nanos,
        /// The sum of the two.
        needed: Nanos,
    },
    /// The memo does not fit into a transaction.
    #[error("the memo has {0} bytes, at most {MAX_MEMO_BYTES} fit into a transaction")]
    MemoTooLong(usize),
    /// Amount and budget together exceed 64 bits.
    #[error("the amount of {0} is more than there is")]
    Absurd(Nanos),
}

/// One coin object that may pay.
#[derive(Clone, Debug)]
pub(super) struct Coin {
    pub(super) reference: ObjectReference,
    pub(super) balance: u64,
}

/// Who pays whom what.
#[derive(Clone, Debug)]
pub(super) struct Order<'a> {
    pub(super) sender: Address,
    pub(super) recipient: Address,
    /// Zero for a transaction that pays nobody and only carries its memo.
    pub(super) amount: Nanos,
    /// Empty for a payment without memo.
    pub(super) memo: &'a [u8],
}

/// A signed payment. Sending it any number of times pays once.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedPayment {
    /// The transaction's digest in base58, as nodes and explorers show it.
    pub digest: String,
    pub(super) transaction: String,
    pub(super) signature: String,
}

impl Order<'_> {
    /// The unsigned transaction: where there is an amount, split the amount off the gas coin, transfer it, and carry the
    /// memo as a `vector<u8>` that nothing uses.
    pub(super) fn transaction(
        &self,
        gas: Vec<ObjectReference>,
        price: u64,
        budget: u64,
    ) -> Result<Transaction, PaymentError> {
        if self.memo.len() > MAX_MEMO_BYTES {
            return Err(PaymentError::MemoTooLong(self.memo.len()));
        }
        let (mut inputs, mut commands) = (Vec::new(), Vec::new());
        if self.amount > Nanos::ZERO {
            inputs = vec![Input::pure(&self.amount.0), Input::pure(&self.recipient.0)];
            let split = Command::new_split_coins(Argument::Gas, vec![Argument::Input(0)]);
            let coin = vec![Argument::NestedResult(0, 0)];
            commands = vec![
                split,
                Command::new_transfer_objects(coin, Argument::Input(1)),
            ];
        }
        if !self.memo.is_empty() {
            let memo = Argument::Input(if inputs.is_empty() { 0 } else { 2 });
            inputs.push(Input::pure(&self.memo));
            let bytes = TypeTag::Vector(Box::new(TypeTag::U8));
            commands.push(Command::new_make_move_vector(Some(bytes), vec![memo]));
        }
        let sender = iota_sdk_types::Address::new(self.sender.0);
        Ok(Transaction::V1(TransactionV1 {
            kind: TransactionKind::Programmable(ProgrammableTransaction { inputs, commands }),
            sender,
            gas_payment: GasPayment {
                objects: gas,
                owner: sender,
                price,
                budget,
            },
            expiration: TransactionExpiration::None,
        }))
    }
}

/// The fewest coins, largest first, that hold `amount` and `budget`.
pub(super) fn choose(
    mut coins: Vec<Coin>,
    amount: Nanos,
    budget: u64,
) -> Result<Vec<ObjectReference>, PaymentError> {
    let needed = amount
        .0
        .checked_add(budget)
        .ok_or(PaymentError::Absurd(amount))?;
    coins.sort_by_key(|coin| std::cmp::Reverse(coin.balance));
    let mut held: u64 = 0;
    let mut chosen = Vec::new();
    for coin in coins.into_iter().take(MAX_GAS_COINS) {
        held = held.saturating_add(coin.balance);
        chosen.push(coin.reference);
        if held >= needed {
            return Ok(chosen);
        }
    }
    let (held, gas, needed) = (Nanos(held), Nanos(budget), Nanos(needed));
    Err(PaymentError::NotEnough {
        held,
        amount,
        gas,
        needed,
    })
}

/// Signs `transaction` with `key`.
pub(super) fn sign(key: &Key, transaction: &Transaction) -> SignedPayment {
    SignedPayment {
        digest: transaction.digest().to_base58(),
        transaction: encode(transaction),
        signature: key.sign(transaction).to_base64(),
    }
}

/// The form in which transactions travel: base64 of BCS.
pub(super) fn encode(transaction: &Transaction) -> String {
    STANDARD.encode(bcs::to_bytes(transaction).expect("a built transaction can be encoded"))
}

#[cfg(test)]
mod tests {
    use iota_sdk_types::{ObjectDigest, ObjectId, Version};

    use super::*;

    fn coin(balance: u64) -> Coin {
        let id = ObjectId::new([u8::try_from(balance % 251).unwrap(); 32]);
        let reference = ObjectReference::new(id, Version::from_u64(1), ObjectDigest::new([0; 32]));
        Coin { reference, balance }
    }

    #[test]
    fn the_fewest_coins_are_chosen_largest_first() {
        let coins = vec![coin(10), coin(50), coin(20)];
        let chosen = choose(coins.clone(), Nanos(55), 10).unwrap();
        assert_eq!(chosen, [coin(50).reference, coin(20).reference]);
        let error = choose(coins, Nanos(75), 10).unwrap_err();
        let (held, needed) = (Nanos(80), Nanos(85));
        let expected = PaymentError::NotEnough {
            held,
            amount: Nanos(75),
            gas: Nanos(10),
            needed,
        };
        assert_eq!(error, expected);
    }

    #[test]
    fn an_amount_beyond_all_money_is_refused() {
        assert_eq!(
            choose(vec![coin(1)], Nanos(u64::MAX), 1),
            Err(PaymentError::Absurd(Nanos(u64::MAX)))
        );
    }

    #[test]
    fn the_memo_travels_as_a_vector_of_bytes() {
        let order = Order {
            sender: Address([1; 32]),
            recipient: Address([2; 32]),
            amount: Nanos(500),
            memo: b"TGLM",
        };
        let Transaction::V1(body) = order.transaction(Vec::new(), 1_000, 1_000_000).unwrap() else {
            panic!("version 1")
        };
        let TransactionKind::Programmable(program) = body.kind else {
            panic!("programmable")
        };
        assert_eq!(program.inputs[2], Input::Pure(b"\x04TGLM".to_vec()));
        assert_eq!(program.commands.len(), 3);
    }

    #[test]
    fn a_memo_beyond_a_pure_input_is_refused() {
        let memo = vec![0; MAX_MEMO_BYTES + 1];
        let order = Order {
            sender: Address([1; 32]),
            recipient: Address([2; 32]),
            amount: Nanos(500),
            memo: &memo,
        };
        let error = order.transaction(Vec::new(), 1_000, 1_000_000).unwrap_err();
        assert_eq!(error, PaymentError::MemoTooLong(memo.len()));
    }
}
