//! Methods about coins and the objects that they are.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use iota_sdk_types::{Address, ObjectId};
use serde_json::{Map, Value, json};

use super::RpcError;
use super::params::{self, PAGE_LIMIT, Params, ShowObject};
use crate::checkpoint::SUPPLY;
use crate::coin::{COIN_OBJECT_TYPE, COIN_TYPE, Coin};
use crate::ledger::Ledger;
use crate::node::Node;

/// Coins of one type: owner, type, cursor, limit.
pub(super) fn coins(node: &Node, params: &Params) -> Result<Value, RpcError> {
    let native = coin_type_is_native(params, 1)?;
    page(node, params, 2, native)
}

/// Coins of all types, of which there is one here: owner, cursor, limit.
pub(super) fn all_coins(node: &Node, params: &Params) -> Result<Value, RpcError> {
    page(node, params, 1, true)
}

fn page(node: &Node, params: &Params, at: usize, native: bool) -> Result<Value, RpcError> {
    let owner = params.address(0, "owner")?;
    let cursor = params.optional::<String>(at, "cursor")?;
    let cursor = cursor.map(|text| params::object_id(&text)).transpose()?;
    let limit = params.limit(at + 1)?;
    Ok(node.read(|ledger| {
        let beyond = |coin: &&Coin| native && cursor.is_none_or(|cursor| coin.id > cursor);
        let mut found: Vec<&Coin> = ledger
            .coins_of(&owner)
            .filter(beyond)
            .take(limit + 1)
            .collect();
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().map(|coin| coin.id).or(cursor);
        json!({
            "data": found.into_iter().map(render).collect::<Vec<_>>(),
            "nextCursor": next.map(|id| id.to_string()),
            "hasNextPage": more,
        })
    }))
}

fn render(coin: &Coin) -> Value {
    json!({
        "coinType": COIN_TYPE,
        "coinObjectId": coin.id.to_string(),
        "version": coin.version.to_string(),
        "digest": coin.digest().to_string(),
        "balance": coin.balance.to_string(),
        "previousTransaction": coin.previous_transaction.to_string(),
    })
}

/// The sum over the coins of one type: owner, type.
pub(super) fn balance(node: &Node, params: &Params) -> Result<Value, RpcError> {
    let owner = params.address(0, "owner")?;
    if coin_type_is_native(params, 1)? {
        return Ok(node.read(|ledger| sum(ledger, &owner)));
    }
    let coin_type: String = params.required(1, "coin_type")?;
    Ok(json!({"coinType": coin_type, "coinObjectCount": 0, "totalBalance": "0"}))
}

/// The sums over the coins of every type that `owner` holds.
pub(super) fn all_balances(node: &Node, params: &Params) -> Result<Value, RpcError> {
    let owner = params.address(0, "owner")?;
    Ok(node.read(|ledger| match ledger.coins_of(&owner).next() {
        None => json!([]),
        Some(_) => json!([sum(ledger, &owner)]),
    }))
}

fn sum(ledger: &Ledger, owner: &Address) -> Value {
    json!({
        "coinType": COIN_TYPE,
        "coinObjectCount": ledger.coins_of(owner).count(),
        "totalBalance": ledger.balance(owner).to_string(),
    })
}

pub(super) fn metadata(params: &Params) -> Result<Value, RpcError> {
    if !coin_type_is_native(params, 0)? {
        return Ok(Value::Null);
    }
    Ok(json!({
        "decimals": 9,
        "name": "IOTA",
        "symbol": "IOTA",
        "description": "Play money of a development ledger",
        "iconUrl": null,
        "id": null,
    }))
}

pub(super) fn supply(params: &Params) -> Result<Value, RpcError> {
    if !coin_type_is_native(params, 0)? {
        return Err(RpcError::params(
            "this ledger knows the coin type 0x2::iota::IOTA only",
        ));
    }
    Ok(json!({"value": SUPPLY.to_string()}))
}

/// Whether the coin type at `at` is the native one, in any spelling of its address; absent
/// means native.
fn coin_type_is_native(params: &Params, at: usize) -> Result<bool, RpcError> {
    let Some(text) = params.optional::<String>(at, "coin_type")? else {
        return Ok(true);
    };
    let tag: iota_sdk_types::StructTag = text
        .parse()
        .map_err(|error| RpcError::params(format!("{text:?} is no coin type: {error}")))?;
    Ok(tag.is_gas())
}

pub(super) fn object(node: &Node, params: &Params) -> Result<Value, RpcError> {
    let id = params::object_id(&params.required::<String>(0, "object_id")?)?;
    let show = params.optional(1, "options")?.unwrap_or_default();
    Ok(node.read(|ledger| one_object(ledger, &id, show)))
}

pub(super) fn objects(node: &Node, params: &Params) -> Result<Value, RpcError> {
    let ids: Vec<String> = params.required(0, "object_ids")?;
    if ids.len() > PAGE_LIMIT {
        return Err(RpcError::params(format!(
            "{} objects, at most {PAGE_LIMIT}",
            ids.len()
        )));
    }
    let show = params.optional(1, "options")?.unwrap_or_default();
    let ids = ids
        .iter()
        .map(|id| params::object_id(id))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(node.read(|ledger| ids.iter().map(|id| one_object(ledger, id, show)).collect()))
}

fn one_object(ledger: &Ledger, id: &ObjectId, show: ShowObject) -> Value {
    let Some(coin) = ledger.coin(id) else {
        return json!({"error": {"code": "notExists", "object_id": id.to_string()}});
    };
    let mut data = Map::new();
    let mut set = |wanted: bool, key: &str, value: Value| {
        if wanted {
            data.insert(key.to_owned(), value);
        }
    };
    set(true, "objectId", coin.id.to_string().into());
    set(true, "version", coin.version.to_string().into());
    set(true, "digest", coin.digest().to_string().into());
    set(show.show_type, "type", COIN_OBJECT_TYPE.into());
    set(
        show.show_owner,
        "owner",
        json!({"AddressOwner": coin.owner.to_string()}),
    );
    set(
        show.show_previous_transaction,
        "previousTransaction",
        coin.previous_transaction.to_string().into(),
    );
    set(
        show.show_storage_rebate,
        "storageRebate",
        coin.storage_rebate.to_string().into(),
    );
    set(show.show_content, "content", content(coin));
    set(show.show_bcs, "bcs", raw(coin));
    json!({"data": data})
}

fn content(coin: &Coin) -> Value {
    json!({
        "dataType": "moveObject",
        "type": COIN_OBJECT_TYPE,
        "fields": {"balance": coin.balance.to_string(), "id": {"id": coin.id.to_string()}},
    })
}

fn raw(coin: &Coin) -> Value {
    let object = coin.to_object();
    let contents = object
        .as_opt_struct()
        .map(|data| STANDARD.encode(data.contents()));
    json!({
        "dataType": "moveObject",
        "type": COIN_OBJECT_TYPE,
        "version": coin.version.to_string(),
        "bcsBytes": contents,
    })
}
