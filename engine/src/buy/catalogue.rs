//! Who a gate belongs to and what is for sale there, by announcements whose signatures hold.

use super::line::{Line, LineError};
use tanglegate_crypto::{
    AnnouncementError, Identity, IdentityBody, KeyBody, OfferLine, OffersBody,
};

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
    /// A key that is older than the offers, which were asked for before it.
    #[error(
        "the key was signed at {key} (milliseconds since 1970), before the offers, of {offers}, and \
         is made when it is asked for: somebody may be showing an old one"
    )]
    OldKey {
        /// When the key was signed.
        key: u64,
        /// When the offers were.
        offers: u64,
    },
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

    /// Asks for a key that is made for this connection alone.
    ///
    /// # Errors
    /// As for [`Catalogue::read`].
    pub(super) async fn key(&self, line: &mut Line) -> Result<KeyBody, CatalogueError> {
        let key = line.ask(KEY).await?;
        let key = self.identity.hear(&key).map_err(unbelieved(KEY))?;
        self.made_since(key)
    }

    /// Refuses a key that was made before the offers: what is sealed to an old one may never be
    /// opened.
    fn made_since(&self, key: KeyBody) -> Result<KeyBody, CatalogueError> {
        let (key_at, offers) = (key.issued_at, self.issued_at);
        match key_at < offers {
            true => Err(CatalogueError::OldKey {
                key: key_at,
                offers,
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
    use tanglegate_crypto::{IdentityKey, KeyId};

    #[test]
    fn what_is_older_than_what_was_seen_is_a_replay() {
        let catalogue = Catalogue {
            identity: IdentityKey::from_bytes(&[7; 32]).identity(),
            origin: "shop".to_owned(),
            chain: None,
            issued_at: 1_000,
            offers: Vec::new(),
        };
        for (known, believed) in [(0, true), (1_000, true), (1_001, false)] {
            assert_eq!(catalogue.not_before(known).is_ok(), believed, "{known}");
        }
        for (issued_at, believed) in [(999, false), (1_000, true), (5_000, true)] {
            let key = KeyBody {
                key_id: KeyId::from_bytes([1; 16]),
                public: [2; 32],
                issued_at,
                valid_until: 9_000,
            };
            assert_eq!(catalogue.made_since(key).is_ok(), believed, "{issued_at}");
        }
    }
}
