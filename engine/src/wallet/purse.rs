//! The wallet at work: balance, payment, waiting until it is final.

use std::time::Duration;

use iota_sdk_types::{ObjectDigest, ObjectId, ObjectReference, Version};
use serde_json::json;
use tanglegate_core::{Address, Nanos};
use tokio::time::{Instant, sleep};

use super::key::Key;
use super::payment::{self, Coin, Order, PaymentError, SignedPayment};
use crate::ledger::{Backoff, Balance, Coins, DryRun, Look, Node, NodeError, Submitted};

/// The native coin as nodes spell it.
const COIN_TYPE: &str = "0x2::iota::IOTA";

/// The budget that a simulation is run with: the highest that the ledger accepts, in NANOS.
const SIMULATION_BUDGET: u64 = 50_000_000_000;

/// Units of computation by which the budget exceeds the simulation, times the gas price.
const BUDGET_MARGIN_UNITS: u64 = 1_000;

/// Pages of coins that are looked through: 50 coins each.
const MAX_COIN_PAGES: usize = 20;

const EXECUTE: &str = "iota_executeTransactionBlock";
const GET: &str = "iota_getTransactionBlock";

/// How patient the wallet is.
#[derive(Clone, Copy, Debug)]
pub struct WalletSettings {
    /// How long a payment may take until it is final.
    pub deadline: Duration,
    /// The pause between looks at a payment that is not final yet.
    pub poll: Duration,
    /// The pauses after failures.
    pub backoff: Backoff,
}

impl Default for WalletSettings {
    fn default() -> Self {
        let backoff = Backoff {
            first: Duration::from_millis(250),
            longest: Duration::from_secs(5),
        };
        Self {
            deadline: Duration::from_secs(60),
            poll: Duration::from_millis(250),
            backoff,
        }
    }
}

/// Why a payment did not come about.
#[derive(Debug, thiserror::Error)]
pub enum WalletError {
    /// The node gave no usable answer before anything was sent: nothing was paid.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The payment cannot be built: nothing was paid.
    #[error(transparent)]
    Payment(#[from] PaymentError),
    /// The ledger refused the transaction: nothing was paid.
    #[error("the ledger refused the payment {digest}: {reason}")]
    Refused {
        /// Its digest in base58.
        digest: String,
        /// The node's words.
        reason: String,
    },
    /// The transaction was executed and failed: gas was charged, nothing was paid.
    #[error("the payment {digest} failed on the ledger, only gas was charged: {reason}")]
    Failed {
        /// Its digest in base58.
        digest: String,
        /// The ledger's words.
        reason: String,
    },
    /// Time is up, and the payment may yet come about. Sending the same [`SignedPayment`] again
    /// is safe; building another one is not.
    #[error(
        "the payment {digest} is not final after {seconds} s ({reason}); it may still come: \
         send the same one again or look it up, do not pay anew"
    )]
    Unsettled {
        /// Its digest in base58.
        digest: String,
        /// How long we waited.
        seconds: u64,
        /// The last failure, or what is still missing.
        reason: String,
    },
}

/// What happens on the way of a payment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Progress {
    /// The transaction is signed and about to be sent.
    Signed {
        /// Its digest in base58.
        digest: String,
    },
    /// The node did not answer well; the same bytes are sent again.
    Retrying {
        /// What went wrong.
        reason: String,
    },
    /// The ledger has executed it; it is not final yet.
    Executed,
    /// It stands in this checkpoint.
    Final {
        /// The checkpoint's number.
        checkpoint: u64,
    },
}

/// A final payment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Receipt {
    /// The transaction's digest in base58.
    pub digest: String,
    /// The checkpoint in which it stands.
    pub checkpoint: u64,
    /// What the payer paid for gas and deposits on top of the amount.
    pub gas: Nanos,
}

/// A key and a node to pay through.
#[derive(Debug)]
pub struct Wallet {
    key: Key,
    node: Node,
    settings: WalletSettings,
}

impl Wallet {
    /// A wallet that has not asked anything yet.
    pub fn new(key: Key, node: Node, settings: WalletSettings) -> Self {
        Self {
            key,
            node,
            settings,
        }
    }

    /// The wallet's address.
    pub fn address(&self) -> Address {
        self.key.address()
    }

    /// What the wallet holds.
    ///
    /// # Errors
    /// Where the node gives no usable answer.
    pub async fn balance(&self) -> Result<Nanos, WalletError> {
        let method = "iotax_getBalance";
        let params = json!([self.address().to_string(), COIN_TYPE]);
        let balance: Balance = self.node.call(method, params).await?;
        let total = balance.total_balance.parse();
        Ok(Nanos(total.map_err(|_| {
            self.node.nonsense(method, "a balance beyond 64 bits")
        })?))
    }

    /// Pays and waits until the payment is final.
    ///
    /// # Errors
    /// See [`WalletError`]; after [`WalletError::Unsettled`] use [`Self::prepare`] and
    /// [`Self::submit`] rather than paying anew.
    pub async fn pay(
        &self,
        recipient: Address,
        amount: Nanos,
        memo: &[u8],
        progress: impl FnMut(Progress),
    ) -> Result<Receipt, WalletError> {
        let payment = self.prepare(recipient, amount, memo).await?;
        self.submit(&payment, progress).await
    }

    /// Puts a memo on the ledger and waits until it is final. Nobody is paid: it costs the gas.
    ///
    /// # Errors
    /// As for [`Self::pay`].
    pub async fn note(
        &self,
        memo: &[u8],
        progress: impl FnMut(Progress),
    ) -> Result<Receipt, WalletError> {
        self.pay(self.address(), Nanos::ZERO, memo, progress).await
    }

    /// Builds and signs a payment; nothing is paid yet. Only one prepared payment at a time can
    /// succeed, because each spends the wallet's coins.
    ///
    /// # Errors
    /// Where the node gives no usable answer or the coins do not suffice.
    pub async fn prepare(
        &self,
        recipient: Address,
        amount: Nanos,
        memo: &[u8],
    ) -> Result<SignedPayment, WalletError> {
        let order = Order {
            sender: self.address(),
            recipient,
            amount,
            memo,
        };
        let price = self.gas_price().await?;
        let budget = self.gas_budget(&order, price).await?;
        let gas = payment::choose(self.coins().await?, amount, budget)?;
        let transaction = order.transaction(gas, price, budget)?;
        Ok(payment::sign(&self.key, &transaction))
    }

    /// Sends a signed payment, again and again where the answer is lost, and waits until it is
    /// final. The same payment may be submitted any number of times.
    ///
    /// # Errors
    /// See [`WalletError`].
    pub async fn submit(
        &self,
        payment: &SignedPayment,
        mut progress: impl FnMut(Progress),
    ) -> Result<Receipt, WalletError> {
        let deadline = Instant::now() + self.settings.deadline;
        progress(Progress::Signed {
            digest: payment.digest.clone(),
        });
        self.execute(payment, deadline, &mut progress).await?;
        progress(Progress::Executed);
        let receipt = self
            .wait_until_final(payment, deadline, &mut progress)
            .await?;
        progress(Progress::Final {
            checkpoint: receipt.checkpoint,
        });
        Ok(receipt)
    }

    /// Whether the ledger has executed this payment, as far as the node knows.
    ///
    /// # Errors
    /// Where the node gives no usable answer.
    pub async fn knows(&self, payment: &SignedPayment) -> Result<bool, WalletError> {
        match self.look(payment).await {
            Ok(_) => Ok(true),
            // A node that is not well says nothing about the ledger.
            Err(error @ NodeError::Rpc { .. }) if !error.is_transient() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn gas_price(&self) -> Result<u64, WalletError> {
        let method = "iotax_getReferenceGasPrice";
        let price: String = self.node.call(method, json!([])).await?;
        Ok(price
            .parse()
            .map_err(|_| self.node.nonsense(method, "a price that is no number"))?)
    }

    /// What the ledger may charge: what a simulation costs, and a margin.
    async fn gas_budget(&self, order: &Order<'_>, price: u64) -> Result<u64, WalletError> {
        let transaction = order.transaction(Vec::new(), price, SIMULATION_BUDGET)?;
        let method = "iota_dryRunTransactionBlock";
        let params = json!([payment::encode(&transaction)]);
        let outcome: DryRun = self.node.call(method, params).await?;
        if let Err(reason) = outcome.effects.status.success() {
            let (digest, reason) = (transaction.digest().to_base58(), reason.to_owned());
            return Err(WalletError::Refused {
                digest,
                reason: format!("simulation: {reason}"),
            });
        }
        let gas = outcome.effects.gas_used;
        let storage = gas.storage_cost.saturating_sub(gas.storage_rebate);
        let budget = gas
            .computation_cost
            .saturating_add(price.saturating_mul(BUDGET_MARGIN_UNITS))
            .saturating_add(storage);
        Ok(budget)
    }

    async fn coins(&self) -> Result<Vec<Coin>, WalletError> {
        let method = "iotax_getCoins";
        let mut coins = Vec::new();
        let mut cursor = None;
        for _ in 0..MAX_COIN_PAGES {
            let params = json!([self.address().to_string(), COIN_TYPE, cursor, 50]);
            let page: Coins = self.node.call(method, params).await?;
            for coin in &page.data {
                let unreadable = || self.node.nonsense(method, "a coin that cannot be read");
                coins.push(read_coin(coin).ok_or_else(unreadable)?);
            }
            if !page.has_next_page {
                break;
            }
            cursor = page.next_cursor;
        }
        Ok(coins)
    }

    /// Sends the bytes until the ledger has them, or refuses them.
    async fn execute(
        &self,
        payment: &SignedPayment,
        deadline: Instant,
        progress: &mut impl FnMut(Progress),
    ) -> Result<(), WalletError> {
        let params = json!([payment.transaction, [payment.signature], {"showEffects": true}]);
        let mut failures = 0;
        loop {
            let error = match self.node.call::<Submitted>(EXECUTE, params.clone()).await {
                Ok(answer) if answer.digest == payment.digest => {
                    return check_status(payment, answer.effects.as_ref());
                }
                Ok(_) => self.node.nonsense(EXECUTE, "another transaction's digest"),
                Err(error) => error,
            };
            // The ledger may have executed it although the answer did not reach us.
            if let Ok(look) = self.look(payment).await {
                return check_status(payment, look.effects.as_ref());
            }
            if !error.is_transient() {
                let (digest, reason) = (payment.digest.clone(), error.to_string());
                return Err(match failures {
                    0 => WalletError::Refused { digest, reason },
                    // An earlier attempt may still be on its way.
                    _ => self.unsettled(payment, reason),
                });
            }
            failures += 1;
            progress(Progress::Retrying {
                reason: error.to_string(),
            });
            self.pause(payment, deadline, failures, &error).await?;
        }
    }

    async fn wait_until_final(
        &self,
        payment: &SignedPayment,
        deadline: Instant,
        progress: &mut impl FnMut(Progress),
    ) -> Result<Receipt, WalletError> {
        let mut failures = 0;
        loop {
            match self.look(payment).await {
                Ok(Look {
                    checkpoint: Some(checkpoint),
                    effects,
                    ..
                }) => {
                    check_status(payment, effects.as_ref())?;
                    let gas = effects.map_or(0, |effects| {
                        let gas = effects.gas_used;
                        gas.computation_cost
                            .saturating_add(gas.storage_cost)
                            .saturating_sub(gas.storage_rebate)
                    });
                    let digest = payment.digest.clone();
                    return Ok(Receipt {
                        digest,
                        checkpoint,
                        gas: Nanos(gas),
                    });
                }
                Ok(_) => {
                    failures = 0;
                    if Instant::now() + self.settings.poll > deadline {
                        return Err(self.unsettled(payment, "no checkpoint yet".to_owned()));
                    }
                    sleep(self.settings.poll).await;
                }
                Err(error) => {
                    failures += 1;
                    progress(Progress::Retrying {
                        reason: error.to_string(),
                    });
                    self.pause(payment, deadline, failures, &error).await?;
                }
            }
        }
    }

    async fn look(&self, payment: &SignedPayment) -> Result<Look, NodeError> {
        self.node
            .call(GET, json!([payment.digest, {"showEffects": true}]))
            .await
    }

    /// Waits as the failure demands, unless the deadline would pass meanwhile.
    async fn pause(
        &self,
        payment: &SignedPayment,
        deadline: Instant,
        failures: u32,
        error: &NodeError,
    ) -> Result<(), WalletError> {
        let pause = self.settings.backoff.after(failures, error);
        if Instant::now() + pause > deadline {
            return Err(self.unsettled(payment, error.to_string()));
        }
        sleep(pause).await;
        Ok(())
    }

    fn unsettled(&self, payment: &SignedPayment, reason: String) -> WalletError {
        let seconds = self.settings.deadline.as_secs();
        WalletError::Unsettled {
            digest: payment.digest.clone(),
            seconds,
            reason,
        }
    }
}

fn check_status(
    payment: &SignedPayment,
    effects: Option<&crate::ledger::Effects>,
) -> Result<(), WalletError> {
    match effects.map(|effects| effects.status.success()) {
        Some(Err(reason)) => {
            let (digest, reason) = (payment.digest.clone(), reason.to_owned());
            Err(WalletError::Failed { digest, reason })
        }
        _ => Ok(()),
    }
}

fn read_coin(coin: &crate::ledger::Coin) -> Option<Coin> {
    let id = ObjectId::from_short_hex(&coin.coin_object_id).ok()?;
    let digest = ObjectDigest::from_base58(&coin.digest).ok()?;
    let reference = ObjectReference::new(id, Version::from_u64(coin.version), digest);
    Some(Coin {
        reference,
        balance: coin.balance,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::NodeLimits;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    /// A node that answers one call with an error of this code.
    fn failing(code: i64) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("it has one");
        std::thread::spawn(move || {
            let (mut client, _) = listener.accept().expect("a call");
            // A call is short: it comes in one or two pieces.
            let (mut said, mut piece) = (Vec::new(), [0; 4096]);
            while !said.ends_with(b"}") {
                let read = client.read(&mut piece).expect("it speaks");
                said.extend_from_slice(&piece[..read]);
            }
            let start = said.iter().position(|it| *it == b'{').expect("JSON");
            let call: serde_json::Value = serde_json::from_slice(&said[start..]).expect("JSON");
            let error = json!({"code": code, "message": "no"});
            let body = json!({"jsonrpc": "2.0", "id": call["id"], "error": error}).to_string();
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close";
            let length = body.len();
            let answer = format!("{head}\r\ncontent-length: {length}\r\n\r\n{body}");
            client.write_all(answer.as_bytes()).expect("it listens");
        });
        format!("http://{address}")
    }

    #[tokio::test]
    async fn a_node_that_is_not_well_does_not_say_that_nothing_was_paid() {
        let payment = SignedPayment {
            digest: "11111111111111111111111111111111".to_owned(),
            transaction: String::new(),
            signature: String::new(),
        };
        for (code, answers) in [(-32602, true), (-32603, false), (-32050, false)] {
            let node = Node::new(&failing(code), NodeLimits::default()).expect("a node");
            let key = Key::from_seed(&[3; 32]);
            let known = Wallet::new(key, node, WalletSettings::default())
                .knows(&payment)
                .await;
            match known {
                Ok(known) => assert!(answers && !known, "{code}"),
                Err(error) => assert!(!answers, "{code}: {error}"),
            }
        }
    }
}
