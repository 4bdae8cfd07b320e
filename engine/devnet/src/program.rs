//! Runs the commands of a programmable transaction over coins.
//!
//! Pure: from the coins that the transaction names to the coins that it leaves, or the error
//! that the ledger records. Nothing here reads or writes the ledger.

use std::collections::BTreeMap;

use iota_sdk_types::{
    Address, Argument, Command, CommandArgumentError, ExecutionError, Input, MakeMoveVector,
    MergeCoins, ObjectId, ProgrammableTransaction, SplitCoins, TransactionDigest, TransferObjects,
    TypeTag, Version,
};

use crate::coin::Coin;

/// Why a run failed, and at which command.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: Box<ExecutionError>,
    /// `None` when no single command is to blame.
    pub(crate) command: Option<usize>,
}

impl Failure {
    pub(crate) fn new(error: ExecutionError, command: Option<usize>) -> Self {
        Self {
            error: Box::new(error),
            command,
        }
    }
}

/// What an input, a result or the gas slot holds.
#[derive(Clone, Debug)]
enum Value {
    /// Bytes whose type is decided where they are used. They can be used any number of times.
    Pure(Vec<u8>),
    Coin(ObjectId),
    /// A made vector. Only Move calls could take it; coins inside it are therefore stuck.
    Vector {
        holds_coins: bool,
    },
    /// Was taken by value.
    Taken,
}

/// The state of one run.
pub(crate) struct Run {
    /// Every coin that the transaction may touch, as it stands now.
    coins: BTreeMap<ObjectId, Coin>,
    gas: Value,
    inputs: Vec<Value>,
    results: Vec<Vec<Value>>,
    digest: TransactionDigest,
    version: Version,
    created: u64,
}

type Outcome<T> = Result<T, ExecutionError>;

impl Run {
    /// Prepares a run over `coins` (gas coin included), whose writes carry `version`.
    pub(crate) fn new(
        coins: BTreeMap<ObjectId, Coin>,
        gas: ObjectId,
        program: &ProgrammableTransaction,
        digest: TransactionDigest,
        version: Version,
    ) -> Self {
        let inputs = program.inputs.iter().map(|input| match input {
            Input::Pure(bytes) => Value::Pure(bytes.clone()),
            Input::ImmutableOrOwned(reference) => Value::Coin(reference.object_id),
            _ => Value::Taken,
        });
        Self {
            coins,
            gas: Value::Coin(gas),
            inputs: inputs.collect(),
            results: Vec::with_capacity(program.commands.len()),
            digest,
            version,
            created: 0,
        }
    }

    /// Runs all commands and returns the coins that exist afterwards.
    pub(crate) fn finish(
        mut self,
        program: &ProgrammableTransaction,
    ) -> Result<BTreeMap<ObjectId, Coin>, Failure> {
        for (index, command) in program.commands.iter().enumerate() {
            let results = self
                .command(command)
                .map_err(|error| Failure::new(error, Some(index)))?;
            self.results.push(results);
        }
        self.refuse_forgotten_coins()?;
        Ok(self.coins)
    }

    fn command(&mut self, command: &Command) -> Outcome<Vec<Value>> {
        match command {
            Command::SplitCoins(split) => self.split(split),
            Command::MergeCoins(merge) => self.merge(merge),
            Command::TransferObjects(transfer) => self.transfer(transfer),
            Command::MakeMoveVector(vector) => self.make_vector(vector),
            _ => Err(ExecutionError::FeatureNotYetSupported),
        }
    }

    fn split(&mut self, split: &SplitCoins) -> Outcome<Vec<Value>> {
        let from = self.coin_by_reference(0, split.coin)?;
        let mut results = Vec::with_capacity(split.amounts.len());
        for (place, amount) in split.amounts.iter().enumerate() {
            let amount = self.amount(place + 1, *amount)?;
            let source = self.coin_mut(from);
            source.balance = source
                .balance
                .checked_sub(amount)
                .ok_or(ExecutionError::InsufficientCoinBalance)?;
            let owner = source.owner;
            results.push(Value::Coin(self.create(owner, amount)));
        }
        Ok(results)
    }

    fn merge(&mut self, merge: &MergeCoins) -> Outcome<Vec<Value>> {
        let into = self.coin_by_reference(0, merge.coin)?;
        for (place, argument) in merge.coins_to_merge.iter().enumerate() {
            let id = self.take_coin(place + 1, *argument, GasUse::Refused)?;
            if id == into {
                return Err(argument_error(
                    place + 1,
                    CommandArgumentError::InvalidValueUsage,
                ));
            }
            let merged = self
                .coins
                .remove(&id)
                .expect("a coin that could be taken exists");
            let target = self.coin_mut(into);
            target.balance = target
                .balance
                .checked_add(merged.balance)
                .ok_or(ExecutionError::CoinBalanceOverflow)?;
        }
        Ok(Vec::new())
    }

    fn transfer(&mut self, transfer: &TransferObjects) -> Outcome<Vec<Value>> {
        let recipient = self.address(transfer.objects.len(), transfer.address)?;
        for (place, argument) in transfer.objects.iter().enumerate() {
            let id = self.take_coin(place, *argument, GasUse::Allowed)?;
            self.coin_mut(id).owner = recipient;
        }
        Ok(Vec::new())
    }

    fn make_vector(&mut self, vector: &MakeMoveVector) -> Outcome<Vec<Value>> {
        let holds_coins = match &vector.type_tag {
            None => true,
            Some(tag) => matches!(tag, TypeTag::Struct(_)),
        };
        for (place, argument) in vector.elements.iter().enumerate() {
            match &vector.type_tag {
                Some(tag) if !holds_coins => {
                    let bytes = self.pure(place, *argument)?;
                    if !is_encoded(tag, bytes) {
                        return Err(argument_error(place, CommandArgumentError::InvalidBcsBytes));
                    }
                }
                _ => {
                    self.take_coin(place, *argument, GasUse::Refused)?;
                }
            }
        }
        Ok(vec![Value::Vector {
            holds_coins: holds_coins && !vector.elements.is_empty(),
        }])
    }

    /// A result that nobody took must be droppable, and a coin is not.
    fn refuse_forgotten_coins(&self) -> Result<(), Failure> {
        for (result, values) in self.results.iter().enumerate() {
            for (subresult, value) in values.iter().enumerate() {
                if matches!(value, Value::Coin(_) | Value::Vector { holds_coins: true }) {
                    let error = ExecutionError::UnusedValueWithoutDrop {
                        result: small(result),
                        subresult: small(subresult),
                    };
                    return Err(Failure::new(error, None));
                }
            }
        }
        Ok(())
    }

    fn create(&mut self, owner: Address, balance: u64) -> ObjectId {
        let id = ObjectId::derive_id(self.digest, self.created);
        self.created += 1;
        let coin = Coin {
            id,
            version: self.version,
            owner,
            balance,
            previous_transaction: self.digest,
            storage_rebate: 0,
        };
        self.coins.insert(id, coin);
        id
    }

    fn coin_mut(&mut self, id: ObjectId) -> &mut Coin {
        self.coins
            .get_mut(&id)
            .expect("a value that names a coin outlives the coin")
    }

    /// The value that `argument` names; `place` is its index among the command's arguments.
    fn value(&mut self, place: usize, argument: Argument) -> Outcome<&mut Value> {
        use CommandArgumentError as Wrong;
        match argument {
            Argument::Gas => Ok(&mut self.gas),
            Argument::Input(index) => self
                .inputs
                .get_mut(usize::from(index))
                .ok_or_else(|| argument_error(place, Wrong::IndexOutOfBounds { index })),
            Argument::Result(index) => match self.results.get_mut(usize::from(index)) {
                None => Err(argument_error(place, Wrong::IndexOutOfBounds { index })),
                Some(values) if values.len() == 1 => Ok(&mut values[0]),
                Some(_) => Err(argument_error(
                    place,
                    Wrong::InvalidResultArity { result: index },
                )),
            },
            Argument::NestedResult(index, sub) => match self.results.get_mut(usize::from(index)) {
                None => Err(argument_error(place, Wrong::IndexOutOfBounds { index })),
                Some(values) => values.get_mut(usize::from(sub)).ok_or_else(|| {
                    argument_error(
                        place,
                        Wrong::SecondaryIndexOutOfBounds {
                            result: index,
                            subresult: sub,
                        },
                    )
                }),
            },
            _ => Err(argument_error(place, Wrong::TypeMismatch)),
        }
    }

    fn coin_by_reference(&mut self, place: usize, argument: Argument) -> Outcome<ObjectId> {
        match self.value(place, argument)? {
            Value::Coin(id) => Ok(*id),
            Value::Pure(_) => Err(argument_error(
                place,
                CommandArgumentError::InvalidUsageOfPureArgument,
            )),
            Value::Vector { .. } => Err(argument_error(place, CommandArgumentError::TypeMismatch)),
            Value::Taken => Err(argument_error(
                place,
                CommandArgumentError::InvalidValueUsage,
            )),
        }
    }

    fn take_coin(&mut self, place: usize, argument: Argument, gas: GasUse) -> Outcome<ObjectId> {
        if argument == Argument::Gas && gas == GasUse::Refused {
            return Err(argument_error(
                place,
                CommandArgumentError::InvalidGasCoinUsage,
            ));
        }
        let id = self.coin_by_reference(place, argument)?;
        *self.value(place, argument)? = Value::Taken;
        Ok(id)
    }

    fn pure(&mut self, place: usize, argument: Argument) -> Outcome<&[u8]> {
        match self.value(place, argument)? {
            Value::Pure(bytes) => Ok(bytes),
            Value::Taken => Err(argument_error(
                place,
                CommandArgumentError::InvalidValueUsage,
            )),
            _ => Err(argument_error(place, CommandArgumentError::TypeMismatch)),
        }
    }

    fn amount(&mut self, place: usize, argument: Argument) -> Outcome<u64> {
        let bytes = self.pure(place, argument)?;
        let bytes = bytes.try_into();
        bytes
            .map(u64::from_le_bytes)
            .map_err(|_| argument_error(place, CommandArgumentError::InvalidBcsBytes))
    }

    fn address(&mut self, place: usize, argument: Argument) -> Outcome<Address> {
        let bytes = self.pure(place, argument)?;
        Address::from_bytes(bytes)
            .map_err(|_| argument_error(place, CommandArgumentError::InvalidBcsBytes))
    }
}

/// The gas coin can be taken by value only to be transferred.
#[derive(Clone, Copy, Eq, PartialEq)]
enum GasUse {
    Allowed,
    Refused,
}

fn argument_error(place: usize, kind: CommandArgumentError) -> ExecutionError {
    ExecutionError::CommandArgumentError {
        argument: small(place),
        kind,
    }
}

/// Places and result indices are bounded by admission far below 65,536.
fn small(index: usize) -> u16 {
    u16::try_from(index).unwrap_or(u16::MAX)
}

/// Whether `bytes` are exactly one BCS value of the primitive type or vector `tag`.
fn is_encoded(tag: &TypeTag, bytes: &[u8]) -> bool {
    skip_value(tag, bytes).is_some_and(<[u8]>::is_empty)
}

/// What follows one BCS value of type `tag` at the start of `bytes`.
fn skip_value<'a>(tag: &TypeTag, bytes: &'a [u8]) -> Option<&'a [u8]> {
    let width = match tag {
        TypeTag::Bool => {
            return bytes
                .split_first()
                .filter(|(b, _)| **b < 2)
                .map(|(_, rest)| rest);
        }
        TypeTag::U8 => 1,
        TypeTag::U16 => 2,
        TypeTag::U32 => 4,
        TypeTag::U64 => 8,
        TypeTag::U128 => 16,
        TypeTag::U256 | TypeTag::Address => 32,
        TypeTag::Vector(inner) => {
            let (length, mut rest) = uleb128(bytes)?;
            for _ in 0..length {
                rest = skip_value(inner, rest)?;
            }
            return Some(rest);
        }
        _ => return None,
    };
    bytes.get(width..)
}

/// A canonical ULEB128 number below 2³², as BCS writes lengths.
fn uleb128(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let mut value: u64 = 0;
    for (place, byte) in bytes.iter().enumerate().take(5) {
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            let canonical = place == 0 || *byte != 0;
            return match u32::try_from(value) {
                Ok(value) if canonical => Some((value, &bytes[place + 1..])),
                _ => None,
            };
        }
    }
    None
}
