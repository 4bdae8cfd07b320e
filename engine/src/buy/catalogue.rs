//! Who a gate belongs to and what is for sale there, by announcements whose signatures hold.

use super::line::{Line, LineError};
use std::time::Duration;
use tanglegate_crypto::{
    AnnouncementError, Identity, IdentityBody, KeyBody, OfferLine, OffersBody,
};
use tokio::time::timeout;

const IDENTITY: &str = "$SYS/access/identity";
const OFFERS: &str = "$SYS/access/offers";
const KEY: &str = "$SYS/access/me/key";

/// Why nothing that the gate says is believed.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// It cannot be heard.
    #[error(transparent)]
    Line(#[from] LineError),
    /// It is not signed, or by somebody else.
    #[error("{topic} is not to be believed: {source}")]
    Announcement {
        /// Where it came.
        topic: &'static str,
        /// Why.
        source: AnnouncementError,
    },
    /// Not who was expected.
    #[error(
        "this gate shows the identity {shown}, expected was {expected}: nothing was ordered. If \
         the seller says that he has a new one, name it with --identity"
    )]
    OtherIdentity {
        /// Whom the gate shows.
        shown: Box<Identity>,
        /// Who was expected.
        expected: Box<Identity>,
    },
    /// Older offers than were seen before.
    #[error(
        "the offers were signed at {found} (milliseconds since 1970), and newer ones, of {known}, \
         were seen before: somebody may be showing old prices"
    )]
    Replayed {
        /// What came.
        found: u64,
        /// What was seen.
        known: u64,
    },
    /// A key that is older than what was seen before it was asked for.
    #[error(
        "the key was signed at {key} (milliseconds since 1970), before the offers or a key that \
         were seen earlier, of {known}, and is made when it is asked for: somebody may be showing \
         an old one"
    )]
    OldKey {
        /// When the key was signed.
        key: u64,
        /// When the newest of the offers and of earlier keys was.
        known: u64,
    },
    /// Which ledger is meant is not known.
    #[error("the seller's engine does not know its ledger yet: try again in a moment")]
    NoLedger,
}

/// What a gate shows to everybody.
#[derive(Debug, Clone)]
pub struct Catalogue {
    /// Who signed it.
    pub identity: Identity,
    /// The name of his log.
    pub origin: String,
    /// The ledger that he takes money on, where he says it.
    pub chain: Option<String>,
    /// When the offers were signed, in milliseconds since 1970.
    pub issued_at: u64,
    /// What is for sale, by name.
    pub offers: Vec<OfferLine>,
}

impl Catalogue {
    /// Reads it. Where nobody is expected, whom the gate shows is believed.
    ///
    /// # Errors
    /// When the gate says nothing, or something that is not signed by whom was expected.
    pub async fn read(line: &mut Line, expected: Option<Identity>) -> Result<Self, CatalogueError> {
        let introduction = line.ask(IDENTITY).await?;
        let (identity, body) =
            IdentityBody::introduced(&introduction).map_err(unbelieved(IDENTITY))?;
        if let Some(expected) = expected.filter(|it| *it != identity) {
            let (shown, expected) = (Box::new(identity), Box::new(expected));
            return Err(CatalogueError::OtherIdentity { shown, expected });
        }
        let offers = line.ask(OFFERS).await?;
        let offers: OffersBody = identity.hear(&offers).map_err(unbelieved(OFFERS))?;
        Ok(Self {
            identity,
            origin: body.origin,
            chain: body.chain,
            issued_at: offers.issued_at,
            offers: offers.offers,
        })
    }

    /// Refuses older offers than those of `known`, in milliseconds since 1970.
    ///
    /// # Errors
    /// When they are.
    pub(super) fn not_before(&self, known: u64) -> Result<(), CatalogueError> {
        let found = self.issued_at;
        match found < known {
            true => Err(CatalogueError::Replayed { found, known }),
            false => Ok(()),
        }
    }

    /// The ledger that the seller takes money on. An engine that has just started announces it
    /// once its node answers: so long, but not longer than `patience`, it is awaited.
    ///
    /// # Errors
    /// When it is not announced, or the connection is lost.
    pub(super) async fn ledger(
        &self,
        line: &mut Line,
        patience: Duration,
    ) -> Result<String, CatalogueError> {
        if let Some(chain) = &self.chain {
            return Ok(chain.clone());
        }
        let announced = async {
            loop {
                let message = line.next().await?;
                if message.topic == IDENTITY
                    && let Ok(IdentityBody {
                        chain: Some(it), ..
                    }) = self.identity.hear(&message.payload)
                {
                    return Ok(it);
                }
            }
        };
        let announced = timeout(patience, announced).await;
        announced.unwrap_or(Err(CatalogueError::NoLedger))
    }

    /// Asks for a key that is made for this connection alone. `known` is when the newest key that
    /// was seen before was signed, in milliseconds since 1970.
    ///
    /// # Errors
    /// As for [`Catalogue::read`], and when it is older than the offers or that key.
    pub(super) async fn key(&self, line: &mut Line, known: u64) -> Result<KeyBody, CatalogueError> {
        let key = line.ask(KEY).await?;
        let key = self.identity.hear(&key).map_err(unbelieved(KEY))?;
        self.made_since(key, known)
    }

    /// Refuses a key that was made before the offers, or before an earlier key: what is sealed to
    /// an old one may never be opened.
    fn made_since(&self, key: KeyBody, known: u64) -> Result<KeyBody, CatalogueError> {
        let known = known.max(self.issued_at);
        match key.issued_at < known {
            true => Err(CatalogueError::OldKey {
                key: key.issued_at,
                known,
            }),
            false => Ok(key),
        }
    }
}

fn unbelieved(topic: &'static str) -> impl FnOnce(AnnouncementError) -> CatalogueError {
    move |source| CatalogueError::Announcement { topic, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buy::fake_gate::FakeGate;
    use tanglegate_crypto::{IdentityKey, KeyId};

    fn catalogue() -> Catalogue {
        Catalogue {
            identity: IdentityKey::from_bytes(&[7; 32]).identity(),
            origin: "shop".to_owned(),
            chain: None,
            issued_at: 1_000,
            offers: Vec::new(),
        }
    }

    #[tokio::test]
    async fn a_ledger_is_awaited_and_only_its_seller_names_it() {
        let said = |seed: u8, chain: Option<&str>| {
            let body = IdentityBody {
                origin: "shop".to_owned(),
                issued_at: 1_000,
                chain: chain.map(str::to_owned),
            };
            let signed = IdentityKey::from_bytes(&[seed; 32]).announce(&body);
            (IDENTITY.to_owned(), signed)
        };
        let (unknown, stranger) = (said(7, None), said(8, Some("another")));
        for (more, expected) in [(None, None), (Some(said(7, Some("mine"))), Some("mine"))] {
            let mut all = vec![unknown.clone(), stranger.clone()];
            all.extend(more);
            let gate = FakeGate::start(vec![all]);
            let mut line = Line::connect(&gate).await.expect("it lets us in");
            line.subscribe(IDENTITY).await.expect("granted");
            let patience = Duration::from_millis(300);
            let ledger = catalogue().ledger(&mut line, patience).await;
            match (&ledger, expected) {
                (Ok(found), Some(expected)) => assert_eq!(found, expected),
                (Err(CatalogueError::NoLedger), None) => {}
                _ => panic!("{ledger:?}"),
            }
        }
    }

    #[test]
    fn what_is_older_than_what_was_seen_is_a_replay() {
        let catalogue = catalogue();
        for (known, believed) in [(0, true), (1_000, true), (1_001, false)] {
            assert_eq!(catalogue.not_before(known).is_ok(), believed, "{known}");
        }
        let cases = [
            (999, 0, false),
            (1_000, 0, true),
            (5_000, 5_000, true),
            (4_999, 5_000, false),
        ];
        for (issued_at, known, believed) in cases {
            let key = KeyBody {
                key_id: KeyId::from_bytes([1; 16]),
                public: [2; 32],
                issued_at,
                valid_until: 9_000,
            };
            let made = catalogue.made_since(key, known);
            assert_eq!(made.is_ok(), believed, "{issued_at} after {known}");
        }
    }
}
