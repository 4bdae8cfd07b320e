//! From a transaction block to a payment.
//!
//! A payment is a positive change of exactly the native coin, owned by the seller's address, in
//! a transaction that succeeded, stands in a checkpoint, and that the seller did not send
//! himself (his own transactions change his gas coin).

use std::collections::BTreeMap;

use iota_sdk_types::StructTag;
use tanglegate_core::{Address, Confirmation, Digest, MemoReading, Nanos, PaymentId, Timestamp};

use super::transaction::{self, TransactionError};
use super::wire::{BalanceChange, Block, Owner};

/// What a block means for one seller.
#[derive(Debug)]
pub(super) enum Entry {
    /// Executed, but not final yet.
    Pending,
    /// Final, and not a payment to the seller.
    Other {
        checkpoint: u64,
    },
    Payment(Confirmation),
    /// A payment whose signed bytes we cannot decode, so that its payer is unknown.
    Opaque(Opaque),
}

/// A payment that lacks its payer.
#[derive(Debug)]
pub(super) struct Opaque {
    /// As the node spells it.
    pub(super) digest: String,
    confirmation: Confirmation,
}

impl Opaque {
    /// The payment, once the node has told who sent it. Its memo stays unreadable.
    pub(super) fn sent_by(self, payer: Address) -> Confirmation {
        Confirmation {
            payer,
            ..self.confirmation
        }
    }

    pub(super) fn seller(&self) -> Address {
        self.confirmation.seller
    }

    pub(super) fn checkpoint(&self) -> u64 {
        self.confirmation.checkpoint
    }
}

/// Reads a block of a page that was asked for with raw input, effects and balance changes.
///
/// # Errors
/// A sentence about what is missing or contradictory in the node's answer.
pub(super) fn read(block: &Block, seller: Address) -> Result<Entry, String> {
    let missing = |part: &str| format!("transaction {} has no {part}", shorten(&block.digest));
    let Some(checkpoint) = block.checkpoint else {
        return Ok(Entry::Pending);
    };
    let effects = block.effects.as_ref().ok_or_else(|| missing("effects"))?;
    if effects.status.success().is_err() {
        return Ok(Entry::Other { checkpoint });
    }
    let changes = block
        .balance_changes
        .as_ref()
        .ok_or_else(|| missing("balance changes"))?;
    let Some((index, amount)) = received(changes, seller)? else {
        return Ok(Entry::Other { checkpoint });
    };
    let confirmed_at = block.timestamp_ms.ok_or_else(|| missing("time"))?;
    let raw = block
        .raw_transaction
        .as_ref()
        .ok_or_else(|| missing("raw input"))?;
    let confirmation = |digest, payer, memo, reading| Confirmation {
        payment: PaymentId { digest, index },
        seller,
        payer,
        amount: Nanos(amount),
        checkpoint,
        confirmed_at: Timestamp(confirmed_at),
        memo,
        reading,
    };
    match transaction::read(raw, &block.digest) {
        Ok(signed) if signed.sender == seller => Ok(Entry::Other { checkpoint }),
        Ok(signed) => Ok(Entry::Payment(confirmation(
            signed.digest,
            signed.sender,
            signed.memo,
            signed.reading,
        ))),
        Err(TransactionError::Undecodable(_)) => {
            let digest = parse_digest(&block.digest)?;
            let nobody = Address([0; 32]);
            let confirmation = confirmation(digest, nobody, Vec::new(), MemoReading::Unreadable);
            Ok(Entry::Opaque(Opaque {
                digest: block.digest.clone(),
                confirmation,
            }))
        }
        Err(lie @ TransactionError::WrongDigest { .. }) => Err(lie.to_string()),
    }
}

/// What `seller` gained of the native coin, and its rank among all addresses that gained some,
/// in the order of their bytes. Every adapter derives the same rank from any order of changes.
fn received(changes: &[BalanceChange], seller: Address) -> Result<Option<(u16, u64)>, String> {
    let mut gains: BTreeMap<Address, i128> = BTreeMap::new();
    for change in changes {
        let Owner::Address { address } = &change.owner else {
            continue;
        };
        if !is_native(&change.coin_type) {
            continue;
        }
        let amount: i128 = change
            .amount
            .parse()
            .map_err(|_| format!("a balance change of {:?}", shorten(&change.amount)))?;
        let sum = gains.entry(parse_address(address)?).or_default();
        *sum = sum
            .checked_add(amount)
            .ok_or("a balance change beyond 128 bits")?;
    }
    gains.retain(|_, amount| *amount > 0);
    let Some(amount) = gains.get(&seller) else {
        return Ok(None);
    };
    let amount = u64::try_from(*amount).map_err(|_| "a payment beyond 64 bits")?;
    let rank = gains.range(..seller).count();
    let rank = u16::try_from(rank).map_err(|_| "more than 65,536 addresses were paid")?;
    Ok(Some((rank, amount)))
}

/// Whether a coin type is the native one, however its address is padded.
fn is_native(coin_type: &str) -> bool {
    coin_type.parse::<StructTag>().is_ok_and(|tag| tag.is_gas())
}

/// An address as nodes write it; leading zeros may be missing.
pub(super) fn parse_address(text: &str) -> Result<Address, String> {
    iota_sdk_types::Address::from_short_hex(text)
        .map(|address| Address(address.into_bytes()))
        .map_err(|_| format!("{:?} as address", shorten(text)))
}

fn parse_digest(text: &str) -> Result<Digest, String> {
    iota_sdk_types::Digest::from_base58(text)
        .map(|digest| Digest(digest.into_bytes()))
        .map_err(|_| format!("{:?} as digest", shorten(text)))
}

fn shorten(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const SELLER: Address = Address([5; 32]);

    fn change(owner: &Address, coin: &str, amount: &str) -> Value {
        json!({"owner": {"AddressOwner": owner.to_string()}, "coinType": coin, "amount": amount})
    }

    fn gain(changes: Value) -> Option<(u16, u64)> {
        let changes: Vec<BalanceChange> = serde_json::from_value(changes).unwrap();
        received(&changes, SELLER).unwrap()
    }

    fn block(extra: Value) -> Block {
        let mut block = json!({
            "digest": "CCrir9AhyZ7LAbucCFvfTyDD7a5MhFLMCjsbvFGUdSyb",
            "checkpoint": "7",
            "timestampMs": "1000",
            "rawTransaction": "AgAAAA==",
            "effects": {
                "status": {"status": "success"},
                "gasUsed": {"computationCost": "1", "storageCost": "0", "storageRebate": "0"},
            },
            "balanceChanges": [change(&SELLER, "0x2::iota::IOTA", "500")],
        });
        let fields = block.as_object_mut().unwrap();
        for (key, value) in extra.as_object().unwrap() {
            fields.insert(key.clone(), value.clone());
        }
        serde_json::from_value(block).unwrap()
    }

    #[test]
    fn only_gains_of_the_native_coin_count_in_any_spelling() {
        let padded = format!("0x{:0>64}::iota::IOTA", 2);
        for coin in ["0x2::iota::IOTA", "0x02::iota::IOTA", &padded] {
            assert_eq!(
                gain(json!([change(&SELLER, coin, "500")])),
                Some((0, 500)),
                "{coin}"
            );
        }
        for coin in [
            "0x3::iota::IOTA",
            "0x2::iota::IOTB",
            "0x2::fake::IOTA",
            "nonsense",
        ] {
            assert_eq!(gain(json!([change(&SELLER, coin, "500")])), None, "{coin}");
        }
        assert_eq!(
            gain(json!([change(&SELLER, "0x2::iota::IOTA", "-500")])),
            None
        );
        assert_eq!(
            gain(json!([change(&Address([6; 32]), "0x2::iota::IOTA", "500")])),
            None
        );
    }

    #[test]
    fn an_object_that_is_paid_is_not_the_seller() {
        let owner = json!({"ObjectOwner": SELLER.to_string()});
        let shared = json!({"Shared": {"initial_shared_version": 3}});
        for owner in [owner, shared, json!("Immutable")] {
            let change = json!({"owner": owner, "coinType": "0x2::iota::IOTA", "amount": "5"});
            assert_eq!(gain(json!([change])), None);
        }
    }

    #[test]
    fn the_index_is_the_rank_by_address_among_all_who_gained() {
        let coin = "0x2::iota::IOTA";
        let all = [
            change(&Address([9; 32]), coin, "1"),
            change(&SELLER, coin, "500"),
            change(&Address([1; 32]), coin, "-2000"),
            change(&Address([2; 32]), coin, "7"),
            change(&Address([3; 32]), "0x7::other::COIN", "7"),
        ];
        assert_eq!(gain(json!(all)), Some((1, 500)));
        let reversed: Vec<_> = all.iter().rev().collect();
        assert_eq!(gain(json!(reversed)), Some((1, 500)));
    }

    #[test]
    fn what_is_not_final_or_failed_is_no_payment() {
        let pending = block(json!({"checkpoint": null, "timestampMs": null}));
        assert!(matches!(read(&pending, SELLER), Ok(Entry::Pending)));
        let failed = block(json!({"effects": {
            "status": {"status": "failure", "error": "InsufficientGas"},
            "gasUsed": {"computationCost": "1", "storageCost": "0", "storageRebate": "0"},
        }}));
        assert!(matches!(
            read(&failed, SELLER),
            Ok(Entry::Other { checkpoint: 7 })
        ));
    }

    #[test]
    fn a_payment_that_cannot_be_decoded_is_not_lost() {
        let Ok(Entry::Opaque(opaque)) = read(&block(json!({})), SELLER) else {
            panic!("it is a payment all the same");
        };
        let confirmation = opaque.sent_by(Address([8; 32]));
        assert_eq!(confirmation.payer, Address([8; 32]));
        assert_eq!(confirmation.amount, Nanos(500));
        assert_eq!(confirmation.reading, MemoReading::Unreadable);
    }

    #[test]
    fn missing_parts_are_named() {
        for (part, words) in [
            ("effects", "has no effects"),
            ("balanceChanges", "has no balance changes"),
            ("timestampMs", "has no time"),
            ("rawTransaction", "has no raw input"),
        ] {
            let sentence = read(&block(json!({part: null})), SELLER).unwrap_err();
            assert!(sentence.contains(words), "{sentence}");
        }
    }
}
