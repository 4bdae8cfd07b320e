//! A transaction as it was signed: who sent it, and the memo inside it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use iota_sdk_types::{Input, Transaction, TransactionKind};
use serde::Deserialize;
use tanglegate_core::{Address, Digest, MemoReading};

use super::memo;

/// Why a raw transaction tells us nothing.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TransactionError {
    /// Not in the form that we know: a newer kind of transaction, or nonsense.
    #[error("the raw transaction cannot be decoded: {0}")]
    Undecodable(String),
    /// The node claims a digest that these bytes do not have.
    #[error("the raw transaction has digest {found}, the node claims {claimed}")]
    WrongDigest {
        /// What the node says.
        claimed: String,
        /// What the bytes say.
        found: String,
    },
}

/// What a signed transaction says about a payment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Signed {
    pub(super) digest: Digest,
    pub(super) sender: Address,
    /// Empty where there is none; see [`memo`].
    pub(super) memo: Vec<u8>,
    pub(super) reading: MemoReading,
}

/// The intent of a user's transaction: scope, version, application.
const INTENT: [u8; 3] = [0, 0, 0];

/// `01 000000 ‖ transaction ‖ signatures`: a list with one element. Signatures stay bytes, so
/// that a new signature scheme does not make a payment unreadable.
#[derive(Deserialize)]
struct SenderSigned {
    intent: [u8; 3],
    transaction: Transaction,
    _signatures: Vec<Vec<u8>>,
}

/// Reads a node's `rawTransaction` and checks that it is the one with the `claimed` digest.
pub(super) fn read(raw: &str, claimed: &str) -> Result<Signed, TransactionError> {
    let undecodable = |reason: String| TransactionError::Undecodable(reason);
    let bytes = STANDARD
        .decode(raw)
        .map_err(|error| undecodable(error.to_string()))?;
    let list: Vec<SenderSigned> =
        bcs::from_bytes(&bytes).map_err(|error| undecodable(error.to_string()))?;
    let Ok([signed]) = <[SenderSigned; 1]>::try_from(list) else {
        return Err(undecodable("not exactly one transaction".to_owned()));
    };
    if signed.intent != INTENT {
        return Err(undecodable(format!(
            "signed with intent {:?}",
            signed.intent
        )));
    }
    let digest = signed.transaction.digest();
    if digest.to_base58() != claimed {
        let (claimed, found) = (claimed.chars().take(60).collect(), digest.to_base58());
        return Err(TransactionError::WrongDigest { claimed, found });
    }
    let Transaction::V1(body) = signed.transaction else {
        return Err(undecodable("an unknown version".to_owned()));
    };
    let (memo, reading) = match &body.kind {
        TransactionKind::Programmable(program) => memo::find(pure_inputs(&program.inputs)),
        _ => (Vec::new(), MemoReading::Absent),
    };
    let sender = Address(body.sender.into_bytes());
    Ok(Signed {
        digest: Digest(digest.into_digest().into_bytes()),
        sender,
        memo,
        reading,
    })
}

fn pure_inputs(inputs: &[Input]) -> impl Iterator<Item = &[u8]> {
    inputs.iter().filter_map(|input| match input {
        Input::Pure(bytes) => Some(bytes.as_slice()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "CCrir9AhyZ7LAbucCFvfTyDD7a5MhFLMCjsbvFGUdSyb";

    /// The payment that the TypeScript SDK signed, in the form that nodes show.
    fn raw() -> Vec<u8> {
        let text = include_str!("../../tests/fixtures/ts_sdk_payment_memo.execute_params.json");
        let fixture: serde_json::Value = serde_json::from_str(text).unwrap();
        let part = |key: &str| STANDARD.decode(fixture[key].as_str().unwrap()).unwrap();
        let mut bytes = vec![1, 0, 0, 0];
        bytes.extend(part("tx_bytes"));
        bytes.extend([1, 97]);
        bytes.extend(part("signature"));
        bytes
    }

    #[test]
    fn a_payment_signed_by_the_typescript_sdk_is_read() {
        let signed = read(&STANDARD.encode(raw()), DIGEST).unwrap();
        let sender = "0x8d2d1c260127c74476b27136c5e38c003b66b889f5c80032fb81ebc3f44f45a3";
        assert_eq!(signed.sender, Address::parse(sender).unwrap());
        assert_eq!(signed.reading, MemoReading::Absent, "its memo is not ours");
    }

    #[test]
    fn a_lying_node_is_found_out() {
        let mut bytes = raw();
        let amount = bytes.iter().position(|byte| *byte == 0xf4).unwrap();
        bytes[amount] = 0xf5;
        let error = read(&STANDARD.encode(bytes), DIGEST).unwrap_err();
        assert!(
            matches!(error, TransactionError::WrongDigest { .. }),
            "{error}"
        );
    }

    #[test]
    fn a_signature_scheme_that_we_do_not_know_does_not_hide_a_payment() {
        let mut bytes = raw();
        let scheme = bytes.len() - 97;
        bytes[scheme] = 0x2a;
        assert!(read(&STANDARD.encode(bytes), DIGEST).is_ok());
    }

    #[test]
    fn other_bytes_are_undecodable() {
        let mut bytes = raw();
        bytes.push(0);
        for raw in ["?", "", "AA==", "AgAAAA==", &STANDARD.encode(bytes)] {
            let error = read(raw, DIGEST).unwrap_err();
            assert!(
                matches!(error, TransactionError::Undecodable(_)),
                "{raw}: {error}"
            );
        }
    }
}
