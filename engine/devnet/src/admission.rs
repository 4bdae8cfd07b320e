//! What is checked before a transaction may run: its form, its limits and its signatures.
//!
//! A transaction that fails here leaves no trace on the ledger and costs nothing, as with a
//! validator that refuses to sign.

use std::collections::BTreeSet;

use ed25519_dalek::{Signature, VerifyingKey};
use iota_sdk_types::{
    Address, Command, Input, ObjectId, ObjectReference, ProgrammableTransaction,
    SenderSignedTransaction, SignedTransaction, SimpleSignature, Transaction, TransactionKind,
    TransactionV1, TypeTag, UserSignature,
};

use crate::gas;

/// The largest serialised transaction, in bytes.
pub(crate) const MAX_TRANSACTION_BYTES: usize = 128 * 1024;
/// A pure input must be shorter than this, in bytes.
pub(crate) const MAX_PURE_BYTES: usize = 16 * 1024;
/// The most coins that may pay for gas.
pub(crate) const MAX_GAS_COINS: usize = 256;
const MAX_INPUTS: usize = 2_048;
const MAX_COMMANDS: usize = 1_024;
const MAX_ARGUMENTS: usize = 512;

/// Why a transaction was not let in. Nothing was charged.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The bytes are no transaction.
    #[error("the transaction bytes are not the BCS form of a transaction: {reason}")]
    Malformed {
        /// What the decoder found.
        reason: String,
    },
    /// A limit of the protocol is exceeded.
    #[error("{what} is {found}, the limit is {limit}")]
    TooMuch {
        /// What was counted, with its unit.
        what: &'static str,
        /// What the transaction has.
        found: u64,
        /// What it may have.
        limit: u64,
    },
    /// A command lacks what it works on.
    #[error("command {command} has no {missing}")]
    EmptyCommand {
        /// Index of the command, from 0.
        command: usize,
        /// What is missing.
        missing: &'static str,
    },
    /// The development ledger does not know how to run this.
    #[error("{what} is not supported by the development ledger{hint}")]
    Unsupported {
        /// What was asked for.
        what: String,
        /// What would work instead, or nothing.
        hint: &'static str,
    },
    /// The same object stands twice among gas and inputs.
    #[error("object {0} is used twice by the transaction, each object may be named once")]
    DuplicateObject(ObjectId),
    /// No coin pays for gas.
    #[error("no gas coin is named, at least one coin of {0} must pay")]
    NoGasCoin(Address),
    /// The gas price is out of bounds.
    #[error(
        "gas price {found} is outside {least}..={most} NANOS; iotax_getReferenceGasPrice tells the least"
    )]
    GasPrice {
        /// What the transaction offers.
        found: u64,
        /// The reference gas price.
        least: u64,
        /// The highest price.
        most: u64,
    },
    /// The gas budget is out of bounds.
    #[error("gas budget {found} is outside {least}..={most} NANOS")]
    GasBudget {
        /// What the transaction offers.
        found: u64,
        /// The least budget at this price.
        least: u64,
        /// The highest budget.
        most: u64,
    },
    /// The gas coins hold less than the budget.
    #[error("the gas coins hold {held} NANOS, less than the gas budget {budget}")]
    GasBalance {
        /// Sum over the coins.
        held: u64,
        /// What the transaction declares.
        budget: u64,
    },
    /// A signature is missing, superfluous, or cannot be read.
    #[error("signatures: {0}")]
    Signatures(String),
    /// A signature does not fit the transaction.
    #[error("the signature by {0} does not verify over this transaction")]
    BadSignature(Address),
    /// An object does not exist (any more).
    #[error("object {0} does not exist or has been deleted")]
    NoSuchObject(ObjectId),
    /// An object has moved on: the transaction was built on an old version, or spends twice.
    #[error(
        "object {id} version {named} is not available for consumption, \
         its current version is {current}: build the transaction anew"
    )]
    StaleObject {
        /// The object.
        id: ObjectId,
        /// The version that the transaction names.
        named: u64,
        /// The version that the ledger holds.
        current: u64,
    },
    /// The digest of an object is not that of its named version.
    #[error("object {0}: the named digest is not the digest of its current version")]
    WrongObjectDigest(ObjectId),
    /// An object belongs to somebody else.
    #[error("object {id} belongs to {owner}, not to {signer}")]
    ForeignObject {
        /// The object.
        id: ObjectId,
        /// Whose it is.
        owner: Address,
        /// Who signed.
        signer: Address,
    },
}

/// Decodes a transaction and insists on the one canonical encoding, so that the digest of the
/// decoded value is the digest of the received bytes.
pub(crate) fn decode(bytes: &[u8]) -> Result<Transaction, Refusal> {
    at_most(
        "the transaction size in bytes",
        bytes.len(),
        MAX_TRANSACTION_BYTES,
    )?;
    let transaction: Transaction = bcs::from_bytes(bytes).map_err(|error| Refusal::Malformed {
        reason: error.to_string(),
    })?;
    match bcs::to_bytes(&transaction) {
        Ok(again) if again == bytes => Ok(transaction),
        _ => Err(Refusal::Malformed {
            reason: "the encoding is not canonical".to_owned(),
        }),
    }
}

/// The form that nodes keep and show as `rawTransaction`: `01 000000 ‖ transaction ‖ signatures`.
pub(crate) fn sender_signed_bytes(signed: &SignedTransaction) -> Vec<u8> {
    bcs::to_bytes(&SenderSignedTransaction::from(signed.clone()))
        .expect("a decoded transaction can be encoded")
}

/// The version 1 body and its programmable part.
pub(crate) fn parts(
    transaction: &Transaction,
) -> Result<(&TransactionV1, &ProgrammableTransaction), Refusal> {
    let unsupported = |what: &str| Refusal::Unsupported {
        what: what.to_owned(),
        hint: "; send a programmable transaction",
    };
    let Transaction::V1(body) = transaction else {
        return Err(unsupported("this transaction version"));
    };
    match &body.kind {
        TransactionKind::Programmable(program) => Ok((body, program)),
        _ => Err(unsupported("a system transaction")),
    }
}

/// Checks everything that needs no knowledge of the ledger's objects.
///
/// `simulated` transactions may name no gas coins.
pub(crate) fn check_form(transaction: &Transaction, simulated: bool) -> Result<(), Refusal> {
    let (body, program) = parts(transaction)?;
    at_most("the number of inputs", program.inputs.len(), MAX_INPUTS)?;
    at_most(
        "the number of commands",
        program.commands.len(),
        MAX_COMMANDS,
    )?;
    at_most(
        "the number of gas coins",
        body.gas_payment.objects.len(),
        MAX_GAS_COINS,
    )?;
    if body.gas_payment.objects.is_empty() && !simulated {
        return Err(Refusal::NoGasCoin(body.gas_payment.owner));
    }
    check_gas_terms(body)?;
    for input in &program.inputs {
        check_input(input)?;
    }
    for (index, command) in program.commands.iter().enumerate() {
        check_command(index, command)?;
    }
    let mut named = BTreeSet::new();
    for reference in body.gas_payment.objects.iter().chain(owned_inputs(program)) {
        if !named.insert(reference.object_id) {
            return Err(Refusal::DuplicateObject(reference.object_id));
        }
    }
    Ok(())
}

/// References to the objects among a program's inputs.
pub(crate) fn owned_inputs(
    program: &ProgrammableTransaction,
) -> impl Iterator<Item = &ObjectReference> {
    program.inputs.iter().filter_map(|input| match input {
        Input::ImmutableOrOwned(reference) => Some(reference),
        _ => None,
    })
}

fn check_gas_terms(body: &TransactionV1) -> Result<(), Refusal> {
    let (price, budget) = (body.gas_payment.price, body.gas_payment.budget);
    if !(gas::REFERENCE_GAS_PRICE..=gas::MAX_GAS_PRICE).contains(&price) {
        return Err(Refusal::GasPrice {
            found: price,
            least: gas::REFERENCE_GAS_PRICE,
            most: gas::MAX_GAS_PRICE,
        });
    }
    let least = gas::least_budget(price);
    if !(least..=gas::MAX_GAS_BUDGET).contains(&budget) {
        return Err(Refusal::GasBudget {
            found: budget,
            least,
            most: gas::MAX_GAS_BUDGET,
        });
    }
    Ok(())
}

fn check_input(input: &Input) -> Result<(), Refusal> {
    match input {
        Input::Pure(bytes) => at_most(
            "the size of a pure input in bytes",
            bytes.len(),
            MAX_PURE_BYTES - 1,
        ),
        Input::ImmutableOrOwned(_) => Ok(()),
        Input::Shared(shared) => Err(unsupported_object("shared", shared.object_id)),
        Input::Receiving(reference) => Err(unsupported_object("receiving", reference.object_id)),
        _ => Err(Refusal::Unsupported {
            what: "this kind of input".to_owned(),
            hint: "",
        }),
    }
}

fn unsupported_object(kind: &str, id: ObjectId) -> Refusal {
    Refusal::Unsupported {
        what: format!("the {kind} object {id}"),
        hint: "; use owned coins",
    }
}

fn check_command(index: usize, command: &Command) -> Result<(), Refusal> {
    let not_empty = |empty: bool, missing: &'static str| match empty {
        true => Err(Refusal::EmptyCommand {
            command: index,
            missing,
        }),
        false => Ok(()),
    };
    let (arguments, what) = match command {
        Command::SplitCoins(split) => {
            not_empty(split.amounts.is_empty(), "amounts")?;
            (split.amounts.len(), "the number of amounts to split off")
        }
        Command::MergeCoins(merge) => {
            not_empty(merge.coins_to_merge.is_empty(), "coins to merge")?;
            (merge.coins_to_merge.len(), "the number of coins to merge")
        }
        Command::TransferObjects(transfer) => {
            not_empty(transfer.objects.is_empty(), "objects to transfer")?;
            (transfer.objects.len(), "the number of objects to transfer")
        }
        Command::MakeMoveVector(vector) => {
            not_empty(
                vector.elements.is_empty() && vector.type_tag.is_none(),
                "elements and no element type",
            )?;
            check_element_type(vector.type_tag.as_ref())?;
            (vector.elements.len(), "the number of vector elements")
        }
        other => return Err(unsupported_command(index, other)),
    };
    at_most(what, arguments, MAX_ARGUMENTS)
}

/// Packages would be looked up here; this ledger has none yet.
fn unsupported_command(index: usize, command: &Command) -> Refusal {
    let what = match command {
        Command::MoveCall(call) => format!(
            "command {index}, a call of {}::{}::{}: no package is installed there, and a Move call",
            call.package, call.module, call.function
        ),
        Command::Publish(_) => format!("command {index}, publishing a package,"),
        Command::Upgrade(_) => format!("command {index}, upgrading a package,"),
        _ => format!("command {index}"),
    };
    Refusal::Unsupported {
        what,
        hint: "; SplitCoins, MergeCoins, TransferObjects and MakeMoveVec are",
    }
}

/// Vectors may hold coins or the primitive types whose encodings are checked on use.
fn check_element_type(tag: Option<&TypeTag>) -> Result<(), Refusal> {
    let known = match tag {
        None => true,
        Some(TypeTag::Vector(inner)) => return check_element_type(Some(inner)),
        Some(TypeTag::Struct(tag)) => tag.is_gas_coin(),
        Some(TypeTag::Signer) => false,
        Some(_) => true,
    };
    match (known, tag) {
        (false, Some(tag)) => Err(Refusal::Unsupported {
            what: format!("a vector of {tag}"),
            hint: "; primitive types and native coins are",
        }),
        _ => Ok(()),
    }
}

/// Checks that the sender, and the gas owner where it is somebody else, signed these very bytes.
pub(crate) fn check_signatures(signed: &SignedTransaction) -> Result<(), Refusal> {
    let (body, _) = parts(&signed.transaction)?;
    let mut required = vec![body.sender];
    if body.gas_payment.owner != body.sender {
        required.push(body.gas_payment.owner);
    }
    if signed.signatures.len() != required.len() {
        return Err(Refusal::Signatures(format!(
            "{} given, {} needed: the sender's and, if somebody else pays for gas, his",
            signed.signatures.len(),
            required.len()
        )));
    }
    let message = signed.transaction.signing_digest();
    for signature in &signed.signatures {
        let signer = check_signature(signature, &message)?;
        let Some(place) = required.iter().position(|address| *address == signer) else {
            return Err(Refusal::Signatures(format!(
                "{signer} signed, but a signature by {} is needed",
                required
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join(" and ")
            )));
        };
        required.swap_remove(place);
    }
    Ok(())
}

/// Verifies one signature strictly and returns the address of its key.
fn check_signature(signature: &UserSignature, message: &[u8]) -> Result<Address, Refusal> {
    let UserSignature::Simple(SimpleSignature::Ed25519 {
        signature,
        public_key,
    }) = signature
    else {
        return Err(Refusal::Unsupported {
            what: format!("a signature of scheme {:?}", signature.scheme()),
            hint: "; sign with an Ed25519 key",
        });
    };
    let address = public_key.derive_address();
    let key = VerifyingKey::from_bytes(public_key.bytes()).map_err(|_| {
        Refusal::Signatures(format!("the public key of {address} is no curve point"))
    })?;
    key.verify_strict(message, &Signature::from_bytes(signature.bytes()))
        .map_err(|_| Refusal::BadSignature(address))?;
    Ok(address)
}

fn at_most(what: &'static str, found: usize, limit: usize) -> Result<(), Refusal> {
    if found <= limit {
        return Ok(());
    }
    let wide = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    Err(Refusal::TooMuch {
        what,
        found: wide(found),
        limit: wide(limit),
    })
}
