//! Tests of admission, execution and bookkeeping, on a ledger in memory.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer, SigningKey};
use iota_sdk_types::{
    Address, Argument, Command, CommandArgumentError, Ed25519PublicKey, Ed25519Signature,
    ExecutionError, ExecutionStatus, GasPayment, Input, ObjectReference, ProgrammableTransaction,
    SignedTransaction, SimpleSignature, StructTag, Transaction, TransactionDigest,
    TransactionExpiration, TransactionKind, TransactionV1, TypeTag, UserSignature,
};
use proptest::prelude::*;

use crate::admission::{self, Refusal};
use crate::checkpoint::{Genesis, SUPPLY};
use crate::faucet;
use crate::gas::{COIN_DEPOSIT, REFERENCE_GAS_PRICE};
use crate::ledger::Ledger;

const BUDGET: u64 = 20_000_000;
const COMPUTATION: u64 = 1_000_000;

/// Somebody with a key.
struct Account(SigningKey);

impl Account {
    fn new(seed: u8) -> Self {
        Self(SigningKey::from_bytes(&[seed; 32]))
    }

    fn address(&self) -> Address {
        self.public_key().derive_address()
    }

    fn public_key(&self) -> Ed25519PublicKey {
        Ed25519PublicKey::new(self.0.verifying_key().to_bytes())
    }

    fn sign(&self, transaction: &Transaction) -> UserSignature {
        let signature = self.0.sign(&transaction.signing_digest());
        UserSignature::Simple(SimpleSignature::Ed25519 {
            signature: Ed25519Signature::new(signature.to_bytes()),
            public_key: self.public_key(),
        })
    }

    /// A signed transaction of this account, paid from `gas`.
    fn transaction(
        &self,
        gas: Vec<ObjectReference>,
        budget: u64,
        inputs: Vec<Input>,
        commands: Vec<Command>,
    ) -> SignedTransaction {
        let transaction = Transaction::V1(TransactionV1 {
            kind: TransactionKind::Programmable(ProgrammableTransaction { inputs, commands }),
            sender: self.address(),
            gas_payment: GasPayment {
                objects: gas,
                owner: self.address(),
                price: REFERENCE_GAS_PRICE,
                budget,
            },
            expiration: TransactionExpiration::None,
        });
        let signatures = vec![self.sign(&transaction)];
        SignedTransaction {
            transaction,
            signatures,
        }
    }

    fn payment(&self, ledger: &Ledger, to: Address, amount: u64) -> SignedTransaction {
        let (inputs, commands) = pay(to, amount);
        self.transaction(references(ledger, self.address()), BUDGET, inputs, commands)
    }
}

fn pay(to: Address, amount: u64) -> (Vec<Input>, Vec<Command>) {
    let inputs = vec![Input::pure(&amount), Input::pure(&to)];
    let commands = vec![
        Command::new_split_coins(Argument::Gas, vec![Argument::Input(0)]),
        Command::new_transfer_objects(vec![Argument::NestedResult(0, 0)], Argument::Input(1)),
    ];
    (inputs, commands)
}

fn references(ledger: &Ledger, owner: Address) -> Vec<ObjectReference> {
    ledger
        .coins_of(&owner)
        .map(|coin| coin.reference())
        .collect()
}

fn genesis() -> Genesis {
    Genesis {
        seed: [7; 32],
        timestamp_ms: 1_000,
    }
}

/// A ledger on which `account` holds one coin per amount.
fn ledger_with(account: &Account, amounts: &[u64]) -> Ledger {
    let mut ledger = Ledger::new(genesis());
    for amount in amounts {
        let grant = faucet::payment(&ledger, account.address(), *amount).unwrap();
        submit(&mut ledger, grant);
    }
    ledger
}

/// Executes and commits; the status tells whether the program succeeded.
fn submit(ledger: &mut Ledger, signed: SignedTransaction) -> ExecutionStatus {
    let execution = ledger.execute(&signed).unwrap();
    let status = execution.effects.status.clone();
    ledger.commit(signed, execution);
    assert_conserved(ledger);
    status
}

fn submit_payment(ledger: &mut Ledger, by: &Account, to: Address, amount: u64) -> ExecutionStatus {
    let signed = by.payment(ledger, to, amount);
    submit(ledger, signed)
}

fn assert_conserved(ledger: &Ledger) {
    let totals = ledger.totals();
    assert_eq!(
        totals.coins + totals.storage_fund + totals.burnt + totals.tips,
        SUPPLY
    );
}

fn failure(status: ExecutionStatus) -> (ExecutionError, Option<u64>) {
    assert!(status.is_failure(), "the program should have failed");
    status.unwrap_err()
}

fn fixture() -> (Vec<u8>, UserSignature) {
    let text = include_str!("../tests/fixtures/ts_sdk_payment_memo.execute_params.json");
    let fixture: serde_json::Value = serde_json::from_str(text).unwrap();
    let bytes = STANDARD
        .decode(fixture["tx_bytes"].as_str().unwrap())
        .unwrap();
    (
        bytes,
        UserSignature::from_base64(fixture["signature"].as_str().unwrap()).unwrap(),
    )
}

#[test]
fn a_payment_signed_by_the_typescript_sdk_is_decoded_and_verifies() {
    let (bytes, signature) = fixture();
    let transaction = admission::decode(&bytes).unwrap();
    let digest = TransactionDigest::from_base58("CCrir9AhyZ7LAbucCFvfTyDD7a5MhFLMCjsbvFGUdSyb");
    assert_eq!(transaction.digest(), digest.unwrap());
    admission::check_form(&transaction, false).unwrap();
    let signed = SignedTransaction {
        transaction,
        signatures: vec![signature],
    };
    admission::check_signatures(&signed).unwrap();
    let (_, program) = admission::parts(&signed.transaction).unwrap();
    let Input::Pure(memo) = &program.inputs[2] else {
        panic!("the memo is a pure input")
    };
    assert_eq!(memo[..2], [200, 1], "a length of 200 in ULEB128");
    assert_eq!(memo[2..], [0xab; 200]);
}

#[test]
fn a_changed_byte_makes_the_signature_worthless() {
    let (mut bytes, signature) = fixture();
    let amount = bytes.iter().position(|byte| *byte == 0xf4).unwrap();
    bytes[amount] = 0xf5;
    let transaction = admission::decode(&bytes).unwrap();
    let signed = SignedTransaction {
        transaction,
        signatures: vec![signature],
    };
    assert!(matches!(
        admission::check_signatures(&signed),
        Err(Refusal::BadSignature(_))
    ));
}

#[test]
fn trailing_bytes_are_no_transaction() {
    let (mut bytes, _) = fixture();
    bytes.push(0);
    assert!(matches!(
        admission::decode(&bytes),
        Err(Refusal::Malformed { .. })
    ));
}

#[test]
fn a_payment_moves_the_amount_and_the_payer_bears_gas() {
    let (buyer, seller) = (Account::new(1), Account::new(2).address());
    let mut ledger = ledger_with(&buyer, &[1_000_000_000]);
    let status = submit_payment(&mut ledger, &buyer, seller, 500);
    assert!(status.is_success());
    let gas = COMPUTATION + COIN_DEPOSIT;
    assert_eq!(ledger.balance(&seller), 500);
    assert_eq!(ledger.balance(&buyer.address()), 1_000_000_000 - 500 - gas);
    let execution = &ledger.entries().last().unwrap().execution;
    let net = -i128::from(500 + gas);
    assert_eq!(execution.balance_changes[&seller], 500);
    assert_eq!(execution.balance_changes[&buyer.address()], net);
    assert_eq!(execution.balance_changes.len(), 2);
}

#[test]
fn spending_the_same_coin_version_twice_is_refused() {
    let (buyer, seller) = (Account::new(1), Account::new(2).address());
    let mut ledger = ledger_with(&buyer, &[1_000_000_000]);
    let second = buyer.payment(&ledger, seller, 600);
    submit_payment(&mut ledger, &buyer, seller, 500);
    let refusal = ledger.execute(&second).unwrap_err();
    assert!(matches!(refusal, Refusal::StaleObject { .. }), "{refusal}");
}

#[test]
fn a_stranger_cannot_spend_a_coin() {
    let (buyer, thief) = (Account::new(1), Account::new(3));
    let ledger = ledger_with(&buyer, &[1_000_000_000]);
    let (inputs, commands) = pay(thief.address(), 500);
    let coins = references(&ledger, buyer.address());
    let stolen = thief.transaction(coins.clone(), BUDGET, inputs, commands);
    assert!(matches!(
        ledger.execute(&stolen),
        Err(Refusal::ForeignObject { .. })
    ));

    let mut forged = buyer.payment(&ledger, thief.address(), 500);
    forged.signatures = vec![thief.sign(&forged.transaction)];
    assert!(matches!(
        ledger.execute(&forged),
        Err(Refusal::Signatures(_))
    ));
}

#[test]
fn a_wrong_object_digest_is_refused() {
    let buyer = Account::new(1);
    let ledger = ledger_with(&buyer, &[1_000_000_000]);
    let mut coins = references(&ledger, buyer.address());
    coins[0].digest = iota_sdk_types::ObjectDigest::new([1; 32]);
    let (inputs, commands) = pay(buyer.address(), 500);
    let signed = buyer.transaction(coins, BUDGET, inputs, commands);
    assert!(matches!(
        ledger.execute(&signed),
        Err(Refusal::WrongObjectDigest(_))
    ));
}

#[test]
fn several_gas_coins_are_merged_and_their_deposits_come_back() {
    let (buyer, seller) = (Account::new(1), Account::new(2).address());
    let mut ledger = ledger_with(&buyer, &[30_000_000, 40_000_000, 50_000_000]);
    let status = submit_payment(&mut ledger, &buyer, seller, 70_000_000);
    assert!(status.is_success());
    // Two coins went, one came: one deposit less than before.
    let left = 120_000_000 - 70_000_000 - COMPUTATION + COIN_DEPOSIT;
    assert_eq!(ledger.balance(&buyer.address()), left);
    assert_eq!(ledger.coins_of(&buyer.address()).count(), 1);
}

#[test]
fn a_payment_beyond_the_balance_fails_and_costs_gas() {
    let (buyer, seller) = (Account::new(1), Account::new(2).address());
    let mut ledger = ledger_with(&buyer, &[100_000_000]);
    let status = submit_payment(&mut ledger, &buyer, seller, 100_000_000);
    assert_eq!(
        failure(status),
        (ExecutionError::InsufficientCoinBalance, Some(0))
    );
    assert_eq!(ledger.balance(&seller), 0);
    assert_eq!(ledger.balance(&buyer.address()), 100_000_000 - COMPUTATION);
}

#[test]
fn a_budget_below_the_storage_cost_fails_with_insufficient_gas() {
    let (buyer, seller) = (Account::new(1), Account::new(2).address());
    let mut ledger = ledger_with(&buyer, &[100_000_000]);
    let (inputs, commands) = pay(seller, 500);
    let coins = references(&ledger, buyer.address());
    let status = submit(
        &mut ledger,
        buyer.transaction(coins, COMPUTATION, inputs, commands),
    );
    assert_eq!(failure(status), (ExecutionError::InsufficientGas, None));
    assert_eq!(ledger.balance(&buyer.address()), 100_000_000 - COMPUTATION);
}

#[test]
fn failed_transactions_stand_in_checkpoints_too() {
    let (buyer, seller) = (Account::new(1), Account::new(2).address());
    let mut ledger = ledger_with(&buyer, &[100_000_000]);
    submit_payment(&mut ledger, &buyer, seller, 100_000_000);
    let checkpoint = ledger.next_checkpoint(2_000).unwrap();
    assert_eq!(checkpoint.transactions.len(), 2);
    ledger.seal(checkpoint);
    assert!(
        ledger
            .entries()
            .iter()
            .all(|entry| entry.checkpoint == Some(1))
    );
    assert!(ledger.next_checkpoint(3_000).is_none());
}

#[test]
fn the_whole_gas_coin_can_be_sent_away() {
    let (buyer, seller) = (Account::new(1), Account::new(2).address());
    let mut ledger = ledger_with(&buyer, &[100_000_000]);
    let signed = buyer.transaction(
        references(&ledger, buyer.address()),
        BUDGET,
        vec![Input::pure(&seller)],
        vec![Command::new_transfer_objects(
            vec![Argument::Gas],
            Argument::Input(0),
        )],
    );
    assert!(submit(&mut ledger, signed).is_success());
    assert_eq!(ledger.balance(&buyer.address()), 0);
    assert_eq!(ledger.balance(&seller), 100_000_000 - COMPUTATION);
}

#[test]
fn coins_merge_and_the_merged_one_is_deleted() {
    let buyer = Account::new(1);
    let mut ledger = ledger_with(&buyer, &[50_000_000, 7, 8]);
    let coins: Vec<_> = ledger.coins_of(&buyer.address()).cloned().collect();
    let gas = coins.iter().find(|coin| coin.balance > 8).unwrap();
    let small = coins.iter().filter(|coin| coin.balance <= 8);
    let signed = buyer.transaction(
        vec![gas.reference()],
        BUDGET,
        small
            .map(|coin| Input::ImmutableOrOwned(coin.reference()))
            .collect(),
        vec![Command::new_merge_coins(
            Argument::Input(0),
            vec![Argument::Input(1)],
        )],
    );
    assert!(submit(&mut ledger, signed).is_success());
    let mut balances: Vec<_> = ledger
        .coins_of(&buyer.address())
        .map(|c| c.balance)
        .collect();
    balances.sort_unstable();
    assert_eq!(balances, [15, 50_000_000 - COMPUTATION + COIN_DEPOSIT]);
}

#[test]
fn a_memo_may_lie_in_a_vector_or_in_an_unused_input() {
    let (buyer, seller) = (Account::new(1), Account::new(2).address());
    for in_vector in [true, false] {
        let mut ledger = ledger_with(&buyer, &[100_000_000]);
        let (mut inputs, mut commands) = pay(seller, 500);
        inputs.push(Input::pure(&b"TGLM and more".to_vec()));
        if in_vector {
            let bytes = TypeTag::Vector(Box::new(TypeTag::U8));
            commands.push(Command::new_make_move_vector(
                Some(bytes),
                vec![Argument::Input(2)],
            ));
        }
        let coins = references(&ledger, buyer.address());
        let signed = buyer.transaction(coins, BUDGET, inputs, commands);
        assert!(submit(&mut ledger, signed).is_success());
        assert_eq!(ledger.balance(&seller), 500);
    }
}

#[test]
fn commands_that_misuse_their_arguments_fail_as_on_the_real_ledger() {
    use CommandArgumentError as Wrong;
    let argument_error = |argument, kind| ExecutionError::CommandArgumentError { argument, kind };
    let coin_vector = TypeTag::Struct(Box::new(StructTag::new_gas_coin()));
    let split = || Command::new_split_coins(Argument::Gas, vec![Argument::Input(0)]);
    let send = |what| Command::new_transfer_objects(vec![what], Argument::Input(1));
    let cases = [
        (
            vec![split()],
            ExecutionError::UnusedValueWithoutDrop {
                result: 0,
                subresult: 0,
            },
        ),
        (
            vec![
                split(),
                Command::new_make_move_vector(Some(coin_vector), vec![Argument::Result(0)]),
            ],
            ExecutionError::UnusedValueWithoutDrop {
                result: 1,
                subresult: 0,
            },
        ),
        (
            vec![send(Argument::Input(0))],
            argument_error(0, Wrong::InvalidUsageOfPureArgument),
        ),
        (
            vec![send(Argument::Input(9))],
            argument_error(0, Wrong::IndexOutOfBounds { index: 9 }),
        ),
        (
            vec![split(), send(Argument::NestedResult(0, 1))],
            argument_error(
                0,
                Wrong::SecondaryIndexOutOfBounds {
                    result: 0,
                    subresult: 1,
                },
            ),
        ),
        (
            vec![
                split(),
                send(Argument::Result(0)),
                send(Argument::Result(0)),
            ],
            argument_error(0, Wrong::InvalidValueUsage),
        ),
        (
            vec![Command::new_split_coins(
                Argument::Gas,
                vec![Argument::Input(1)],
            )],
            argument_error(1, Wrong::InvalidBcsBytes),
        ),
        (
            vec![Command::new_make_move_vector(None, vec![Argument::Gas])],
            argument_error(0, Wrong::InvalidGasCoinUsage),
        ),
        (
            vec![Command::new_make_move_vector(
                Some(TypeTag::Bool),
                vec![Argument::Input(0)],
            )],
            argument_error(0, Wrong::InvalidBcsBytes),
        ),
    ];
    for (commands, expected) in cases {
        let buyer = Account::new(1);
        let mut ledger = ledger_with(&buyer, &[100_000_000]);
        let inputs = vec![
            Input::pure(&500u64),
            Input::pure(&Account::new(2).address()),
        ];
        let coins = references(&ledger, buyer.address());
        let status = submit(
            &mut ledger,
            buyer.transaction(coins, BUDGET, inputs, commands),
        );
        assert_eq!(failure(status).0, expected);
    }
}

#[test]
fn what_exceeds_a_limit_is_refused_before_it_runs() {
    let buyer = Account::new(1);
    let ledger = ledger_with(&buyer, &[100_000_000]);
    let coins = references(&ledger, buyer.address());
    let refusal = |budget, inputs, commands| {
        let signed = buyer.transaction(coins.clone(), budget, inputs, commands);
        ledger.execute(&signed).unwrap_err().to_string()
    };
    let (inputs, commands) = pay(buyer.address(), 1);
    let too_big = vec![Input::Pure(vec![0; admission::MAX_PURE_BYTES])];
    assert!(refusal(BUDGET, too_big, Vec::new()).contains("16384, the limit is 16383"));
    assert!(refusal(999_999, inputs.clone(), commands.clone()).contains("gas budget 999999"));
    assert!(refusal(100_000_001, inputs, commands).contains("hold 100000000 NANOS"));
    let call = Command::new_move_call(
        iota_sdk_types::ObjectId::from_u16(2),
        "coin".parse().unwrap(),
        "zero".parse().unwrap(),
        Vec::new(),
        Vec::new(),
    );
    assert!(refusal(BUDGET, Vec::new(), vec![call]).contains("::coin::zero"));
    let nothing = Command::new_split_coins(Argument::Gas, Vec::new());
    assert!(refusal(BUDGET, Vec::new(), vec![nothing]).contains("command 0 has no amounts"));
}

#[test]
fn a_simulation_needs_no_coin_and_leaves_no_trace() {
    let (buyer, seller) = (Account::new(1), Account::new(2).address());
    let ledger = ledger_with(&buyer, &[]);
    let (inputs, commands) = pay(seller, 500);
    let signed = buyer.transaction(Vec::new(), BUDGET, inputs, commands);
    let execution = ledger.simulate(&signed.transaction).unwrap();
    assert!(execution.effects.status.is_success());
    assert_eq!(
        execution.effects.gas_cost_summary.computation_cost,
        COMPUTATION
    );
    assert_eq!(ledger.entries().len(), 0);
    assert!(matches!(
        ledger.execute(&signed),
        Err(Refusal::NoGasCoin(_))
    ));
}

/// One step of a random history: who, to whom, how much, how, and whether a checkpoint follows.
type Step = (u8, u8, u64, u8, bool);

fn step() -> impl Strategy<Value = Step> {
    let amount = prop_oneof![0u64..3, 0u64..60_000_000, Just(u64::MAX)];
    (0u8..3, 0u8..3, amount, 0u8..6, any::<bool>())
}

/// A transaction of the given shape. Many of them fail, which is part of the property.
fn shaped(
    ledger: &Ledger,
    from: &Account,
    to: Address,
    amount: u64,
    shape: u8,
) -> SignedTransaction {
    let coins = references(ledger, from.address());
    let (mut inputs, mut commands) = pay(to, amount);
    let mut gas = coins.clone();
    let mut budget = BUDGET;
    match shape {
        0 => {}
        // Pay with the first coin, merge the second into it.
        1 if coins.len() > 1 => {
            gas = vec![coins[0]];
            inputs.push(Input::ImmutableOrOwned(coins[1]));
            commands.push(Command::new_merge_coins(
                Argument::Gas,
                vec![Argument::Input(2)],
            ));
        }
        // Send everything, gas coin included.
        2 => commands.push(Command::new_transfer_objects(
            vec![Argument::Gas],
            Argument::Input(1),
        )),
        // Split into two, of which one is forgotten.
        3 => {
            commands[0] = Command::new_split_coins(
                Argument::Gas,
                vec![Argument::Input(0), Argument::Input(0)],
            );
        }
        4 => budget = COMPUTATION,
        _ => commands.truncate(0),
    }
    from.transaction(gas, budget, inputs, commands)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_history_creates_or_loses_money(steps in prop::collection::vec(step(), 1..25)) {
        let accounts = [Account::new(1), Account::new(2), Account::new(3)];
        let mut ledger = Ledger::new(genesis());
        for (from, to, amount, shape, seal) in steps {
            let (from, to) = (&accounts[usize::from(from)], &accounts[usize::from(to)]);
            if ledger.coins_of(&from.address()).next().is_none() {
                let grant = faucet::payment(&ledger, from.address(), 90_000_000).unwrap();
                submit(&mut ledger, grant);
            }
            let signed = shaped(&ledger, from, to.address(), amount, shape);
            let before = ledger.totals();
            match ledger.execute(&signed) {
                Err(refusal) => {
                    let poor = matches!(refusal, Refusal::GasBalance { .. });
                    prop_assert!(poor, "{}", refusal);
                }
                Ok(execution) => {
                    let moved: i128 = execution.balance_changes.values().sum();
                    ledger.commit(signed, execution);
                    let gained = i128::from(ledger.totals().coins) - i128::from(before.coins);
                    prop_assert_eq!(moved, gained);
                }
            }
            assert_conserved(&ledger);
            if seal && let Some(checkpoint) = ledger.next_checkpoint(0) {
                ledger.seal(checkpoint);
            }
        }
        let faucet = ledger.genesis.faucet_address();
        let owners = accounts.iter().map(Account::address).chain([faucet]);
        let held: u64 = owners.map(|owner| ledger.balance(&owner)).sum();
        prop_assert_eq!(held, ledger.totals().coins);
    }
}
