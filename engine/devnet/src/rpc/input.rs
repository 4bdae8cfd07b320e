//! What a transaction asked for, in the JSON of the wire.

use iota_sdk_types::{
    Address, Argument, Command, Input, ProgrammableTransaction, SignedTransaction, Transaction,
    TypeTag,
};
use serde_json::{Value, json};

use super::render::reference;
use crate::admission;

/// A transaction block: data and signatures.
pub(super) fn block(signed: &SignedTransaction) -> Value {
    let signatures: Vec<String> = signed.signatures.iter().map(|s| s.to_base64()).collect();
    json!({"data": data(&signed.transaction), "txSignatures": signatures})
}

/// The data of a transaction block; null for kinds that admission never lets in.
pub(super) fn data(transaction: &Transaction) -> Value {
    let Ok((body, program)) = admission::parts(transaction) else {
        return Value::Null;
    };
    let gas = &body.gas_payment;
    json!({
        "messageVersion": "v1",
        "transaction": {
            "kind": "ProgrammableTransaction",
            "inputs": inputs(program),
            "transactions": program.commands.iter().map(command).collect::<Vec<_>>(),
        },
        "sender": body.sender.to_string(),
        "gasData": {
            "payment": gas.objects.iter().map(reference).collect::<Vec<_>>(),
            "owner": gas.owner.to_string(),
            "price": gas.price.to_string(),
            "budget": gas.budget.to_string(),
        },
    })
}

fn inputs(program: &ProgrammableTransaction) -> Vec<Value> {
    let render = |(index, input): (usize, &Input)| match input {
        Input::Pure(bytes) => pure(bytes, type_of_use(program, index).as_ref()),
        Input::ImmutableOrOwned(object) => json!({
            "type": "object",
            "objectType": "immOrOwnedObject",
            "objectId": object.object_id.to_string(),
            "version": object.version.to_string(),
            "digest": object.digest.to_string(),
        }),
        _ => Value::Null,
    };
    program.inputs.iter().enumerate().map(render).collect()
}

/// The type that the first command using the input gives it.
fn type_of_use(program: &ProgrammableTransaction, index: usize) -> Option<TypeTag> {
    let is_it = |argument: &Argument| {
        argument
            .as_opt_input()
            .is_some_and(|input| usize::from(input) == index)
    };
    program.commands.iter().find_map(|command| match command {
        Command::SplitCoins(split) => split.amounts.iter().any(is_it).then_some(TypeTag::U64),
        Command::TransferObjects(transfer) => is_it(&transfer.address).then_some(TypeTag::Address),
        Command::MakeMoveVector(vector) => vector
            .elements
            .iter()
            .any(is_it)
            .then(|| vector.type_tag.clone())
            .flatten(),
        _ => None,
    })
}

/// A pure input: typed where its use tells the type, else its bytes as numbers.
fn pure(bytes: &[u8], tag: Option<&TypeTag>) -> Value {
    let value = match tag {
        Some(TypeTag::U64) => bytes
            .try_into()
            .ok()
            .map(|b| u64::from_le_bytes(b).to_string().into()),
        Some(TypeTag::Address) => Address::from_bytes(bytes)
            .ok()
            .map(|a| a.to_string().into()),
        Some(TypeTag::Vector(inner)) if **inner == TypeTag::U8 => {
            bcs::from_bytes::<Vec<u8>>(bytes).ok().map(Value::from)
        }
        _ => None,
    };
    let value_type = value.as_ref().and(tag).map(ToString::to_string);
    let value: Value = value.unwrap_or_else(|| bytes.to_vec().into());
    json!({"type": "pure", "valueType": value_type, "value": value})
}

fn command(command: &Command) -> Value {
    match command {
        Command::SplitCoins(split) => {
            json!({"SplitCoins": [argument(&split.coin), arguments(&split.amounts)]})
        }
        Command::MergeCoins(merge) => {
            json!({"MergeCoins": [argument(&merge.coin), arguments(&merge.coins_to_merge)]})
        }
        Command::TransferObjects(transfer) => json!({
            "TransferObjects": [arguments(&transfer.objects), argument(&transfer.address)]
        }),
        Command::MakeMoveVector(vector) => {
            let tag = vector.type_tag.as_ref().map(ToString::to_string);
            json!({"MakeMoveVec": [tag, arguments(&vector.elements)]})
        }
        _ => Value::Null,
    }
}

fn arguments(list: &[Argument]) -> Vec<Value> {
    list.iter().map(argument).collect()
}

fn argument(argument: &Argument) -> Value {
    match argument {
        Argument::Input(index) => json!({"Input": index}),
        Argument::Result(index) => json!({"Result": index}),
        Argument::NestedResult(index, sub) => json!({"NestedResult": [index, sub]}),
        _ => "GasCoin".into(),
    }
}
