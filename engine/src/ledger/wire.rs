//! The JSON of a node, as far as we read it. Unknown fields are ignored.

use serde::{Deserialize, Deserializer};

/// A page of `iotax_queryTransactionBlocks`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Page {
    pub(crate) data: Vec<Block>,
    pub(crate) next_cursor: Option<String>,
    pub(crate) has_next_page: bool,
}

/// A transaction block with the parts that a payment is read from.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Block {
    pub(crate) digest: String,
    #[serde(default, deserialize_with = "optional_number")]
    pub(crate) checkpoint: Option<u64>,
    #[serde(default, deserialize_with = "optional_number")]
    pub(crate) timestamp_ms: Option<u64>,
    pub(crate) raw_transaction: Option<String>,
    pub(crate) effects: Option<Effects>,
    pub(crate) balance_changes: Option<Vec<BalanceChange>>,
}

/// The effects of a transaction.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Effects {
    pub(crate) status: Status,
    pub(crate) gas_used: GasUsed,
}

/// Whether a transaction did what it said.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Status {
    status: String,
    #[serde(default)]
    error: String,
}

impl Status {
    /// # Errors
    /// The node's words on why the transaction failed.
    pub(crate) fn success(&self) -> Result<(), &str> {
        match self.status.as_str() {
            "success" => Ok(()),
            _ => Err(&self.error),
        }
    }
}

/// What a transaction cost, in NANOS.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GasUsed {
    #[serde(deserialize_with = "number")]
    pub(crate) computation_cost: u64,
    #[serde(deserialize_with = "number")]
    pub(crate) storage_cost: u64,
    #[serde(deserialize_with = "number")]
    pub(crate) storage_rebate: u64,
}

/// How much of one coin an owner gained or lost.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BalanceChange {
    pub(crate) owner: Owner,
    pub(crate) coin_type: String,
    /// A decimal number with sign.
    pub(crate) amount: String,
}

/// Whose an object is; only address owners matter to us.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Owner {
    Address {
        #[serde(rename = "AddressOwner")]
        address: String,
    },
    Other(serde::de::IgnoredAny),
}

/// A page of `iotax_getCoins`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Coins {
    pub(crate) data: Vec<Coin>,
    pub(crate) next_cursor: Option<String>,
    pub(crate) has_next_page: bool,
}

/// One coin object.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Coin {
    pub(crate) coin_object_id: String,
    #[serde(deserialize_with = "number")]
    pub(crate) version: u64,
    pub(crate) digest: String,
    #[serde(deserialize_with = "number")]
    pub(crate) balance: u64,
}

/// The sum over coins.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Balance {
    /// May exceed 64 bits for coins other than the native one.
    pub(crate) total_balance: String,
}

/// The outcome of a simulation.
#[derive(Debug, Deserialize)]
pub(crate) struct DryRun {
    pub(crate) effects: Effects,
}

/// The answer to an execution.
#[derive(Debug, Deserialize)]
pub(crate) struct Submitted {
    pub(crate) digest: String,
    pub(crate) effects: Option<Effects>,
}

/// A look at one transaction.
#[derive(Debug, Deserialize)]
pub(crate) struct Look {
    #[serde(default, deserialize_with = "optional_number")]
    pub(crate) checkpoint: Option<u64>,
    pub(crate) effects: Option<Effects>,
    /// Present where the input was asked for.
    pub(crate) transaction: Option<Input>,
}

/// The rendered input of a transaction.
#[derive(Debug, Deserialize)]
pub(crate) struct Input {
    pub(crate) data: InputData,
}

/// The data of a rendered input.
#[derive(Debug, Deserialize)]
pub(crate) struct InputData {
    pub(crate) sender: String,
}

/// A 64-bit number, which nodes write as a string and sometimes as a number.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Text(String),
    Plain(u64),
}

impl Number {
    fn read<E: serde::de::Error>(self) -> Result<u64, E> {
        match self {
            Self::Plain(number) => Ok(number),
            Self::Text(text) => text
                .parse()
                .map_err(|_| E::custom("a string that is no 64-bit number")),
        }
    }
}

fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    Number::deserialize(deserializer)?.read()
}

fn optional_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Option::<Number>::deserialize(deserializer)?
        .map(Number::read)
        .transpose()
}
