//! Claiming a payment that waits: the payer says what it is for, and proves that he paid it
//! (`docs/PROTOCOL.md` §5.1).

use super::book::{Book, Login};
use super::catalogue::Catalogue;
use super::error::BuyError;
use super::line::{Gate, Line};
use super::login_file::LoginFile;
use super::purchase::{access, beside, by_key, hashed, random, word};
use crate::buyers::{Claim, read_claim_answer};
use crate::control::Secret;
use crate::wallet::Key;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tanglegate_core::{PaymentId, Username};
use tanglegate_crypto::{Identity, Order, Outcome, PasswordWish, Receipt, ReplyKey, SealedMemo};
use tokio::time::timeout;

const CLAIMS: &str = "$SYS/access/claims";
const CLAIM: &str = "$SYS/access/me/claim";
const CREDENTIAL: &str = "$SYS/access/me/credential";

/// What somebody wants for a payment of his.
#[derive(Debug, Clone)]
pub struct Demand {
    /// The payment.
    pub payment: PaymentId,
    /// The offer.
    pub offer: String,
    /// The login.
    pub username: Username,
    /// Its password; without one a login that was bought here keeps its own, and any other gets a
    /// random one, which the seller never sees.
    pub password: Option<Secret>,
    /// Who must be selling.
    pub identity: Option<Identity>,
    /// Where the login is written; without a place beside the book.
    pub out: Option<PathBuf>,
}

/// Whoever claims.
#[derive(Debug)]
pub struct Claimant {
    /// The gate.
    pub gate: Gate,
    /// The key that paid.
    pub key: Key,
    /// What was bought before.
    pub book: Book,
    /// The name of the book's file, beside which logins are written.
    pub beside: PathBuf,
    /// How long the answer is awaited.
    pub patience: Duration,
}

impl Claimant {
    /// Claims. The login file is written before anything is asked, and stays whatever is said: a
    /// refusal is not signed, and the file may be the only place that has the password.
    ///
    /// # Errors
    /// See [`BuyError`]. A claim that was accepted is not accepted again: the login file that was
    /// written has the login then.
    pub async fn claim(&mut self, demand: &Demand) -> Result<(LoginFile, PathBuf), BuyError> {
        let mut line = Line::connect(&self.gate).await?;
        let catalogue = self.catalogue(&mut line, demand.identity).await?;
        let identity = catalogue.identity;
        let username = demand.username.as_str();
        let path = demand.out.clone();
        let path = path.unwrap_or_else(|| beside(&self.beside, username));
        let there = LoginFile::may_stand(&path, &identity.to_string(), username)?;
        let (password, wish) = self.password(demand, &identity, there.as_ref())?;
        let mut login = self.asked(demand, &identity, password);

        for topic in [CREDENTIAL, CLAIM] {
            line.subscribe(topic).await?;
        }
        let known = self.book.newest_key(&identity);
        let key = catalogue.key(&mut line, known).await?;
        self.book.saw_key(&identity, key.issued_at)?;
        line.subscribe(&by_key(&key)).await?;
        let reply_key = ReplyKey::from_bytes(*random()?);
        let order = Order {
            offer: demand.offer.clone(),
            username: username.to_owned(),
            password: wish,
            reply_key: reply_key.public(),
        };
        let payer = self.key.address().0;
        let memo = SealedMemo::seal(&*random()?, &key, &identity, &payer, &order)?;
        let message = Claim::message(&identity, demand.payment, memo.as_bytes());
        let proof = self.key.sign_personal(message.as_bytes());
        let claim = Claim::new(demand.payment, memo.as_bytes(), &proof);

        match there {
            None => login.save(&path)?,
            Some(mut there) if there.password.is_none() => {
                there.password.clone_from(&login.password);
                there.save(&path)?;
            }
            // It may open something.
            Some(_) => {}
        }
        line.publish(CLAIMS, claim.to_bytes()).await?;
        let refused = |reason| BuyError::ClaimRefused {
            reason,
            path: path.clone(),
        };
        let hear = async {
            let mut accepted = false;
            loop {
                let message = line.next().await?;
                if message.topic == CLAIM && !accepted {
                    said(&message.payload).map_err(refused)?;
                    accepted = true;
                } else if message.topic.ends_with("/credential")
                    && let Ok(signed) = reply_key.unseal(&message.payload, &identity, key.key_id)
                    && let Ok(receipt) = identity.hear::<Receipt>(&signed)
                    && receipt.digest == demand.payment.digest.0
                {
                    return Ok((receipt, signed));
                }
            }
        };
        let heard = timeout(self.patience, hear).await;
        let heard = heard.unwrap_or_else(|_| {
            Err(BuyError::ClaimUnanswered {
                path: path.clone(),
                seconds: self.patience.as_secs(),
            })
        });
        let (receipt, signed) = heard?;
        fill(&mut login, &receipt, &signed);
        login.save(&path)?;
        if receipt.outcome != Outcome::Refused {
            let bought = Login {
                username: login.username.clone(),
                password: login.password.clone(),
            };
            self.book.keep(&identity, bought)?;
        }
        Ok((login, path))
    }

    pub(super) async fn catalogue(
        &mut self,
        line: &mut Line,
        named: Option<Identity>,
    ) -> Result<Catalogue, BuyError> {
        let gate = self.gate.to_string();
        let expected = named.or(self.book.trusted(&gate)?);
        let catalogue = Catalogue::read(line, expected).await?;
        catalogue.not_before(self.book.newest_offers(&catalogue.identity))?;
        self.book
            .trust(&gate, &catalogue.identity, catalogue.issued_at)?;
        Ok(catalogue)
    }

    fn password(
        &self,
        demand: &Demand,
        identity: &Identity,
        there: Option<&LoginFile>,
    ) -> Result<(Option<Secret>, PasswordWish), BuyError> {
        if let Some(chosen) = &demand.password {
            return Ok((Some(chosen.clone()), hashed(chosen.expose())?));
        }
        let owned = self.book.login(identity, Some(demand.username.as_str()));
        if let Some(owned) = owned {
            return Ok((owned.password.clone(), PasswordWish::Keep));
        }
        // Proposed before, and it may have been accepted.
        if let Some(proposed) = there.and_then(|it| it.password.as_ref()) {
            return Ok((Some(proposed.clone()), hashed(proposed.expose())?));
        }
        let fresh = Secret::new(hex::encode(&random()?[..16]));
        let wish = hashed(fresh.expose())?;
        Ok((Some(fresh), wish))
    }

    /// What is known before the answer.
    fn asked(&self, demand: &Demand, identity: &Identity, password: Option<Secret>) -> LoginFile {
        let username = demand.username.as_str();
        LoginFile {
            offer: demand.offer.clone(),
            outcome: "claimed".to_owned(),
            digest: demand.payment.digest.to_string(),
            ..LoginFile::unknown(&self.gate, identity, username, password)
        }
    }
}

/// What the engine says of a request, on the client's own `topic`.
pub(super) async fn answered(
    line: &mut Line,
    topic: &str,
    patience: Duration,
    path: &Path,
) -> Result<(), BuyError> {
    let hear = async {
        loop {
            let message = line.next().await?;
            if message.topic == topic {
                let said = said(&message.payload);
                return said.map_err(|reason| BuyError::ChangeRefused {
                    reason,
                    path: path.to_owned(),
                });
            }
        }
    };
    let heard = timeout(patience, hear).await;
    heard.unwrap_or_else(|_| {
        Err(BuyError::ClaimUnanswered {
            path: path.to_owned(),
            seconds: patience.as_secs(),
        })
    })
}

fn said(answer: &[u8]) -> Result<(), String> {
    let said = read_claim_answer(answer);
    said.unwrap_or_else(|| Err("it cannot be read".to_owned()))
}

fn fill(login: &mut LoginFile, receipt: &Receipt, signed: &[u8]) {
    login.filter.clone_from(&receipt.filter);
    login.access = receipt.access.map(|it| access(it).to_owned());
    (login.from, login.until) = (receipt.from, receipt.until);
    word(receipt.outcome).clone_into(&mut login.outcome);
    login.reason.clone_from(&receipt.reason);
    (login.amount, login.credit) = (receipt.amount, receipt.credit);
    login.receipt = Secret::new(hex::encode(signed));
}
