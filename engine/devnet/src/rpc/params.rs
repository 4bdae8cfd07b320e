//! Positional parameters, and the spellings in which they arrive.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use iota_sdk_types::{Address, ObjectId, TransactionDigest};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::RpcError;

/// The most entries on a page and the most identifiers in one call.
pub(super) const PAGE_LIMIT: usize = 50;

/// The parameters of a call, by position. Missing ones count as null.
#[derive(Debug)]
pub(crate) struct Params(Vec<Value>);

impl Params {
    pub(super) fn new(params: Option<Value>) -> Result<Self, RpcError> {
        match params {
            None | Some(Value::Null) => Ok(Self(Vec::new())),
            Some(Value::Array(values)) => Ok(Self(values)),
            Some(_) => Err(RpcError::params("params must be an array, by position")),
        }
    }

    pub(super) fn required<T: DeserializeOwned>(
        &self,
        at: usize,
        name: &str,
    ) -> Result<T, RpcError> {
        self.optional(at, name)?
            .ok_or_else(|| RpcError::params(format!("parameter {at} ({name}) is missing")))
    }

    pub(super) fn optional<T: DeserializeOwned>(
        &self,
        at: usize,
        name: &str,
    ) -> Result<Option<T>, RpcError> {
        match self.0.get(at) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => T::deserialize(value)
                .map(Some)
                .map_err(|error| RpcError::params(format!("parameter {at} ({name}): {error}"))),
        }
    }

    /// A page size: absent, zero or too large means the largest.
    pub(super) fn limit(&self, at: usize) -> Result<usize, RpcError> {
        match self.optional::<usize>(at, "limit")? {
            Some(limit) if (1..=PAGE_LIMIT).contains(&limit) => Ok(limit),
            _ => Ok(PAGE_LIMIT),
        }
    }

    pub(super) fn address(&self, at: usize, name: &str) -> Result<Address, RpcError> {
        address(&self.required::<String>(at, name)?)
    }

    pub(super) fn base64(&self, at: usize, name: &str) -> Result<Vec<u8>, RpcError> {
        let text: String = self.required(at, name)?;
        STANDARD.decode(text).map_err(|error| {
            RpcError::params(format!("parameter {at} ({name}) is no base64: {error}"))
        })
    }

    pub(super) fn digest(&self, at: usize) -> Result<TransactionDigest, RpcError> {
        digest(&self.required::<String>(at, "digest")?)
    }
}

/// An address; short spellings such as `0x2` stand for zero-padded ones.
pub(super) fn address(text: &str) -> Result<Address, RpcError> {
    Address::from_short_hex(text)
        .map_err(|error| RpcError::params(format!("{text:?} is no address: {error}")))
}

pub(super) fn object_id(text: &str) -> Result<ObjectId, RpcError> {
    ObjectId::from_short_hex(text)
        .map_err(|error| RpcError::params(format!("{text:?} is no object id: {error}")))
}

pub(super) fn digest(text: &str) -> Result<TransactionDigest, RpcError> {
    TransactionDigest::from_base58(text)
        .map_err(|error| RpcError::params(format!("{text:?} is no transaction digest: {error}")))
}

/// A 64-bit number, as a JSON string or number.
#[derive(Clone, Copy, Debug)]
pub(super) struct BigInt(pub(super) u64);

impl<'de> Deserialize<'de> for BigInt {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Spelling {
            Number(u64),
            Text(String),
        }
        match Spelling::deserialize(deserializer)? {
            Spelling::Number(number) => Ok(Self(number)),
            Spelling::Text(text) => text
                .parse()
                .map(Self)
                .map_err(|_| serde::de::Error::custom(format!("{text:?} is no 64-bit number"))),
        }
    }
}

/// Which parts of a transaction the caller wants.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Show {
    pub(super) show_input: bool,
    pub(super) show_raw_input: bool,
    pub(super) show_effects: bool,
    pub(super) show_raw_effects: bool,
    pub(super) show_events: bool,
    pub(super) show_object_changes: bool,
    pub(super) show_balance_changes: bool,
}

/// Which parts of an object the caller wants.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ShowObject {
    pub(super) show_type: bool,
    pub(super) show_owner: bool,
    pub(super) show_previous_transaction: bool,
    pub(super) show_storage_rebate: bool,
    pub(super) show_content: bool,
    pub(super) show_bcs: bool,
}
