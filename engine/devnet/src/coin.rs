//! Coins of the native currency, the only objects that this ledger keeps.

use iota_sdk_types::{
    Address, MoveObjectType, MoveStruct, Object, ObjectData, ObjectDigest, ObjectId,
    ObjectReference, Owner, StructTag, TransactionDigest, Version,
};

/// The type of the native coin as the JSON-RPC interface spells it.
pub const COIN_TYPE: &str = "0x2::iota::IOTA";

/// The Move type of an object that holds native coins.
pub(crate) const COIN_OBJECT_TYPE: &str = "0x2::coin::Coin<0x2::iota::IOTA>";

/// One version of one coin object.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Coin {
    pub(crate) id: ObjectId,
    pub(crate) version: Version,
    pub(crate) owner: Address,
    /// In NANOS.
    pub(crate) balance: u64,
    /// The transaction that wrote this version.
    pub(crate) previous_transaction: TransactionDigest,
    /// NANOS locked in the storage fund while this object lives; given back when it is deleted.
    pub(crate) storage_rebate: u64,
}

impl Coin {
    /// The object in the form whose BCS bytes are hashed into its digest.
    pub(crate) fn to_object(&self) -> Object {
        let mut contents = Vec::with_capacity(ObjectId::LENGTH + 8);
        contents.extend_from_slice(self.id.as_bytes());
        contents.extend_from_slice(&self.balance.to_le_bytes());
        let object_type = MoveObjectType::new(StructTag::new_gas_coin());
        let data = MoveStruct::new(object_type, self.version, contents)
            .expect("contents begin with an object id");
        Object::new(
            ObjectData::Struct(data),
            Owner::Address(self.owner),
            self.previous_transaction,
            self.storage_rebate,
        )
    }

    pub(crate) fn digest(&self) -> ObjectDigest {
        self.to_object().digest()
    }

    pub(crate) fn reference(&self) -> ObjectReference {
        ObjectReference::new(self.id, self.version, self.digest())
    }
}
