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
        self.identity.hear(&key).map_err(unbelieved(KEY))
    }
}

fn unbelieved(topic: &'static str) -> impl FnOnce(AnnouncementError) -> CatalogueError {
    move |source| CatalogueError::Announcement { topic, source }
}
