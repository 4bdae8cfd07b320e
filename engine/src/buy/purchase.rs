//! A purchase, step by step. Each can be the last one before an interruption: the book says where
//! to go on.

use super::book::{Bond, Book, Login, Pending};
use super::catalogue::Catalogue;
use super::error::BuyError;
use super::line::{Gate, Line, LineError};
use super::login_file::{LoginFile, Signed};
use super::step::{Bought, Step, Tell, Wish};
use super::terms::{Caps, Price, Terms, TermsError};
use crate::control::Secret;
use crate::ledger::Node;
use crate::wallet::{Wallet, WalletError};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tanglegate_broker::login::{Cost, make_verifier};
use tanglegate_core::{Address, Nanos, Username};
use tanglegate_crypto::{
    AnswerError, Identity, KeyBody, Order, Outcome, PasswordWish, Receipt, ReplyKey, SealedMemo,
};
use tokio::time::{Instant, sleep, timeout_at};
use zeroize::Zeroizing;

const CREDENTIAL: &str = "$SYS/access/me/credential";
/// The pause before a lost gate is tried again, at first and at most.
const PAUSES: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(5)];

/// Whoever buys.
#[derive(Debug)]
pub struct Buyer {
    /// The gate.
    pub gate: Gate,
    /// What pays.
    pub wallet: Wallet,
    /// The node that the wallet pays through.
    pub node: Node,
    /// What was begun and bought before.
    pub book: Book,
    /// The name of the book's file, beside which logins are written.
    pub beside: PathBuf,
    /// How long an answer is awaited after the payment.
    pub patience: Duration,
}

impl Buyer {
    /// Buys, or goes on with the same purchase where one was begun.
    ///
    /// # Errors
    /// See [`BuyError`]. Whatever it is, the same call goes on from there.
    pub async fn buy(&mut self, wish: &Wish, tell: &mut Tell<'_>) -> Result<Bought, BuyError> {
        if self.book.pending().is_some() {
            self.same(wish)?;
            return self.resume(wish.out.clone(), tell).await;
        }
        let line = self.order(wish, tell).await?;
        self.pay(true, tell).await?;
        self.collect(Some(line), wish.out.clone(), tell).await
    }

    /// Goes on with the purchase that was begun, whichever it is.
    ///
    /// # Errors
    /// See [`BuyError`].
    pub async fn resume(
        &mut self,
        out: Option<PathBuf>,
        tell: &mut Tell<'_>,
    ) -> Result<Bought, BuyError> {
        let (pending, bond) = self.book.pending().ok_or(BuyError::NothingBegun)?;
        if let Some(out) = &out {
            LoginFile::may_stand(out, &bond.identity.to_string(), &pending.username)?;
        }
        tell(Step::Resumed {
            offer: pending.offer.clone(),
            amount: Nanos(pending.amount),
        })?;
        self.pay(false, tell).await?;
        self.collect(None, out, tell).await
    }

    /// Refuses to take another purchase than the one that was begun for the same.
    fn same(&self, wish: &Wish) -> Result<(), BuyError> {
        let (pending, _) = self.book.pending().ok_or(BuyError::NothingBegun)?;
        let name = wish.username.as_ref().map(Username::as_str);
        let amount = match wish.price {
            Price::Amount(amount) => amount.0 == pending.amount,
            // What the time costs is the seller's to say, and may have changed.
            Price::Time(_) => true,
        };
        let named = name.is_none_or(|it| it == pending.username);
        if amount && named && wish.offer == pending.offer {
            return self.may_go_on(wish.identity, wish.caps, wish.password.as_ref());
        }
        Err(BuyError::Unfinished {
            offer: pending.offer.clone(),
            username: pending.username.clone(),
        })
    }

    /// Refuses to go on with the purchase that was begun where another seller or another password
    /// is named now, or where it is beyond the caps and may still have to be sent.
    ///
    /// # Errors
    /// When that is so, and when nothing was begun.
    pub fn may_go_on(
        &self,
        identity: Option<Identity>,
        caps: Caps,
        password: Option<&Secret>,
    ) -> Result<(), BuyError> {
        let (pending, bond) = self.book.pending().ok_or(BuyError::NothingBegun)?;
        let kept = pending.password.as_ref().map(Secret::expose);
        let fields = [
            ("seller", identity.is_none_or(|it| it == bond.identity)),
            (
                "password",
                password.is_none_or(|it| Some(it.expose()) == kept),
            ),
        ];
        if let Some((field, _)) = fields.iter().find(|(_, same)| !same) {
            return Err(BuyError::OtherwiseBegun {
                offer: pending.offer.clone(),
                username: pending.username.clone(),
                field,
            });
        }
        if pending.checkpoint.is_some() {
            return Ok(());
        }
        let (cost, spent) = (Nanos(pending.amount), self.book.spent());
        if let Some(cap) = caps.each.filter(|cap| cost > *cap) {
            return Err(TermsError::BeyondCap { cost, cap }.into());
        }
        match caps.total.filter(|cap| spent > *cap) {
            Some(cap) => {
                // It was counted when it was signed.
                let spent = Nanos(spent.0.saturating_sub(cost.0));
                Err(TermsError::BeyondTotal { cost, spent, cap }.into())
            }
            None => Ok(()),
        }
    }

    /// Everything up to a signed payment on the disk. Nothing is sent.
    async fn order(&mut self, wish: &Wish, tell: &mut Tell<'_>) -> Result<Line, BuyError> {
        let mut line = Line::connect(&self.gate).await?;
        let catalogue = self.catalogue(&mut line, wish.identity, tell).await?;
        let identity = catalogue.identity;
        let wanted = catalogue.ledger(&mut line, self.patience).await?;
        let found = self.node.chain_identifier().await?;
        if found != wanted {
            return Err(BuyError::OtherLedger { wanted, found });
        }
        let terms = Terms::of(&catalogue.offers, &wish.offer, wish.price)?;
        let (login, password) = self.login(wish, &identity)?;
        tell(Step::Agreed {
            terms: Box::new(terms.clone()),
            username: login.username.clone(),
        })?;
        terms.allowed(wish.price, wish.caps, self.book.spent())?;
        let out = wish
            .out
            .clone()
            .unwrap_or_else(|| self.beside(&login.username));
        LoginFile::may_stand(&out, &identity.to_string(), &login.username)?;

        line.subscribe(CREDENTIAL).await?;
        let told_at = now();
        let known = self.book.newest_key(&identity);
        let key = catalogue.key(&mut line, known).await?;
        self.book.saw_key(&identity, key.issued_at)?;
        terms.sold_at(key.issued_at)?;
        line.subscribe(&by_key(&key)).await?;
        let bond = Bond {
            identity,
            key_id: key.key_id,
            reply_key: ReplyKey::from_bytes(*random()?),
            seller: Address(terms.offer.seller),
        };
        let order = Order {
            offer: terms.offer.name.clone(),
            username: login.username.clone(),
            password,
            reply_key: bond.reply_key.public(),
        };
        let payer = self.wallet.address().0;
        let memo = SealedMemo::seal(&*random()?, &key, &identity, &payer, &order)?;
        let prepared = self
            .wallet
            .prepare(bond.seller, terms.cost, memo.as_bytes());
        let payment = prepared.await?;
        let digest = payment.digest.clone();
        let key_ends = told_at.saturating_add(key.valid_until.saturating_sub(key.issued_at));
        let pending = Pending::new(&bond, key_ends, login, &terms, payment);
        self.book.begin(pending)?;
        tell(Step::Signed { digest })?;
        Ok(line)
    }

    async fn catalogue(
        &mut self,
        line: &mut Line,
        named: Option<Identity>,
        tell: &mut Tell<'_>,
    ) -> Result<Catalogue, BuyError> {
        let gate = self.gate.to_string();
        let trusted = self.book.trusted(&gate)?;
        let expected = named.or(trusted);
        let catalogue = Catalogue::read(line, expected).await?;
        let identity = catalogue.identity;
        catalogue.not_before(self.book.newest_offers(&identity))?;
        self.book.trust(&gate, &identity, catalogue.issued_at)?;
        let first_seen = expected.is_none();
        tell(Step::Found {
            identity,
            first_seen,
        })?;
        Ok(catalogue)
    }

    /// Whose time it will be, and what his password should be.
    fn login(&self, wish: &Wish, identity: &Identity) -> Result<(Login, PasswordWish), BuyError> {
        let wanted = wish.username.as_ref().map(Username::as_str);
        let owned = self.book.login(identity, wanted);
        let username = match (wanted, owned) {
            (Some(name), _) => name.to_owned(),
            (None, Some(owned)) => owned.username.clone(),
            (None, None) => format!("buyer-{}", hex::encode(&random()?[..6])),
        };
        let (password, order) = match (&wish.password, owned) {
            (Some(chosen), _) => {
                let order = hashed(chosen.expose())?;
                (Some(chosen.clone()), order)
            }
            (None, Some(owned)) => (owned.password.clone(), PasswordWish::Keep),
            (None, None) => (None, PasswordWish::Make),
        };
        Ok((Login { username, password }, order))
    }

    /// Sends the signed payment until it is final. `fresh`: it was never sent before.
    async fn pay(&mut self, fresh: bool, tell: &mut Tell<'_>) -> Result<(), BuyError> {
        let (pending, _) = self.book.pending().ok_or(BuyError::NothingBegun)?;
        if pending.checkpoint.is_some() {
            return Ok(());
        }
        let payment = pending.payment.clone();
        if !fresh && now() >= pending.key_ends && !self.wallet.knows(&payment).await? {
            let digest = payment.digest;
            return Err(BuyError::KeyExpired { digest });
        }
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let mut stop = Some(stop);
        let submitted = self.wallet.submit(&payment, |progress| {
            if tell(Step::Paying(progress)).is_err() {
                stop.take().map(|it| it.send(()));
            }
        });
        let outcome = tokio::select! {
            biased;
            Ok(()) = stopped => return Err(BuyError::Stopped),
            outcome = submitted => outcome,
        };
        // Stopped at the very last step.
        if stop.is_none() {
            return Err(BuyError::Stopped);
        }
        match outcome {
            Ok(receipt) => {
                self.book.paid(receipt.checkpoint, receipt.gas)?;
                Ok(tell(Step::Paid { gas: receipt.gas })?)
            }
            Err(source @ WalletError::Refused { .. }) if !fresh => {
                Err(BuyError::RefusedAgain { source })
            }
            Err(error @ (WalletError::Refused { .. } | WalletError::Failed { .. })) => {
                self.book.not_paid()?;
                Err(error.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Waits for the answer, wherever it can be heard, and writes down what it says.
    async fn collect(
        &mut self,
        mut line: Option<Line>,
        out: Option<PathBuf>,
        tell: &mut Tell<'_>,
    ) -> Result<Bought, BuyError> {
        if let Some((receipt, signed)) = self.written(out.as_ref()) {
            return self.write_down(&receipt, &signed, out, tell);
        }
        let deadline = Instant::now() + self.patience;
        let mut reason = "nothing was heard".to_owned();
        let mut pause = PAUSES[0];
        loop {
            let heard = timeout_at(deadline, self.answer(line.take())).await;
            let Ok(heard) = heard else {
                return Err(self.no_answer(reason));
            };
            match heard {
                Ok((receipt, signed)) => return self.write_down(&receipt, &signed, out, tell),
                Err(BuyError::Line(lost @ LineError::Lost { .. })) => {
                    reason = lost.to_string();
                    tell(Step::Waiting {
                        reason: reason.clone(),
                    })?;
                }
                Err(error) => return Err(error),
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSES[1]);
        }
    }

    /// The receipt, where it was written down before. Whoever has used the login since is told it
    /// no more.
    fn written(&self, out: Option<&PathBuf>) -> Option<(Receipt, Signed)> {
        let (pending, bond) = self.book.pending()?;
        let digest = &pending.payment.digest;
        let usual = out
            .cloned()
            .unwrap_or_else(|| self.beside(&pending.username));
        let places = [usual, self.beside(&format!("refused-{digest}"))];
        let mut found = places
            .iter()
            .filter_map(|it| LoginFile::receipt(it, &bond.identity));
        found.find(|(receipt, _)| {
            bs58::encode(receipt.digest).into_string() == *digest
                && differs(receipt, pending, &bond).is_none()
        })
    }

    fn no_answer(&self, reason: String) -> BuyError {
        let pending = self.book.pending();
        BuyError::NoAnswer {
            digest: pending.map_or_else(String::new, |(it, _)| it.payment.digest.clone()),
            seconds: self.patience.as_secs(),
            reason,
        }
    }

    /// The receipt of the payment that was begun, from this connection or a new one.
    async fn answer(&self, line: Option<Line>) -> Result<(Receipt, Signed), BuyError> {
        let (pending, bond) = self.book.pending().ok_or(BuyError::NothingBegun)?;
        let mut line = match line {
            Some(line) => line,
            None => {
                let mut line = Line::connect(&self.gate).await?;
                line.subscribe(&format!("$SYS/access/keys/{}/credential", bond.key_id))
                    .await?;
                line
            }
        };
        loop {
            let message = line.next().await?;
            if !message.topic.ends_with("/credential") {
                continue;
            }
            let opened = bond
                .reply_key
                .unseal(&message.payload, &bond.identity, bond.key_id);
            // Another answer to this connection, or nobody's.
            let Ok(signed) = opened else { continue };
            let receipt: Receipt = match bond.identity.hear(&signed) {
                Ok(receipt) => receipt,
                Err(error) => {
                    tracing::debug!(error = %AnswerError::from(error), "an answer is not believed");
                    continue;
                }
            };
            if bs58::encode(receipt.digest).into_string() != pending.payment.digest {
                continue;
            }
            return match differs(&receipt, pending, &bond) {
                None => Ok((receipt, signed)),
                Some(field) => Err(BuyError::OtherReceipt {
                    digest: pending.payment.digest.clone(),
                    field,
                }),
            };
        }
    }

    fn write_down(
        &mut self,
        receipt: &Receipt,
        signed: &[u8],
        out: Option<PathBuf>,
        tell: &mut Tell<'_>,
    ) -> Result<Bought, BuyError> {
        tell(Step::Answered)?;
        let (pending, bond) = self.book.pending().ok_or(BuyError::NothingBegun)?;
        let refused = receipt.outcome == Outcome::Refused;
        let made = receipt.password.as_ref();
        let made = made.map(|it| Secret::new(it.as_str().to_owned()));
        let password = made.or_else(|| pending.password.clone());
        let login = LoginFile {
            gate: self.gate.to_string(),
            identity: bond.identity.to_string(),
            offer: receipt.offer.clone(),
            username: receipt.username.clone(),
            // Of a refused order nobody knows whose login it is.
            password: password.filter(|_| !refused),
            filter: receipt.filter.clone(),
            access: receipt.access.map(|it| access(it).to_owned()),
            from: receipt.from,
            until: receipt.until,
            outcome: word(receipt.outcome).to_owned(),
            reason: receipt.reason.clone(),
            digest: pending.payment.digest.clone(),
            amount: receipt.amount,
            credit: receipt.credit,
            receipt: Secret::new(hex::encode(signed)),
        };
        // A refusal does not replace the login that it may be about.
        let path = match refused {
            true => self.beside(&format!("refused-{}", pending.payment.digest)),
            false => out.unwrap_or_else(|| self.beside(&login.username)),
        };
        let (checkpoint, gas) = (pending.checkpoint.unwrap_or_default(), Nanos(pending.gas));
        login.save(&path)?;
        tell(Step::Written { path: path.clone() })?;
        let bought = (!refused).then(|| Login {
            username: login.username.clone(),
            password: login.password.clone(),
        });
        self.book.finish(&bond.identity, bought)?;
        Ok(Bought {
            login,
            path,
            checkpoint,
            gas,
            outcome: receipt.outcome,
        })
    }

    fn beside(&self, name: &str) -> PathBuf {
        beside(&self.beside, name)
    }
}

/// The usual place of a login file: no two names share one.
pub(super) fn beside(book: &Path, name: &str) -> PathBuf {
    let mut path = book.as_os_str().to_owned();
    path.push(".");
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => {
                path.push(char::from(byte).to_string());
            }
            _ => path.push(format!("%{byte:02x}")),
        }
    }
    path.push(".json");
    PathBuf::from(path)
}

/// What a receipt says otherwise than the order that was paid.
fn differs(receipt: &Receipt, pending: &Pending, bond: &Bond) -> Option<&'static str> {
    let fields = [
        ("seller", receipt.seller == bond.seller.0),
        ("amount", receipt.amount == pending.amount),
        ("offer", receipt.offer == pending.offer),
        ("username", receipt.username == pending.username),
    ];
    fields
        .iter()
        .find(|(_, same)| !same)
        .map(|(field, _)| *field)
}

/// The wish for a password that the seller never sees.
pub(super) fn hashed(password: &str) -> Result<PasswordWish, BuyError> {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).map_err(BuyError::Random)?;
    let verifier = make_verifier(password.as_bytes(), salt, Cost::OWASP)
        .expect("the cost of the specification is one");
    let (salt, tag) = (verifier.salt, verifier.tag);
    Ok(PasswordWish::Verifier { salt, tag })
}

pub(super) fn by_key(key: &KeyBody) -> String {
    format!("$SYS/access/keys/{}/credential", key.key_id)
}

pub(super) fn random() -> Result<Zeroizing<[u8; 32]>, BuyError> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(bytes.as_mut_slice()).map_err(BuyError::Random)?;
    Ok(bytes)
}

/// Milliseconds since 1970, by the buyer's clock.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |it| u64::try_from(it.as_millis()).unwrap_or(u64::MAX))
}

pub(super) fn access(code: u8) -> &'static str {
    match code {
        1 => "read",
        2 => "write",
        _ => "readwrite",
    }
}

pub(super) fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::TimeBought => "time-bought",
        Outcome::OnAccount => "on-account",
        Outcome::Refused => "refused",
    }
}
