//! What was bought, for its owner: the login and the receipt that proves it, and beside them the
//! options with which Mosquitto's clients log in, so that no password stands among arguments.

use super::line::Gate;
use super::private_file::{self, PrivateFileError};
use crate::control::Secret;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use tanglegate_crypto::{Identity, Receipt};
use zeroize::Zeroizing;

/// A receipt under its signature; it may hold a password.
pub(super) type Signed = Zeroizing<Vec<u8>>;

/// A login file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoginFileError {
    /// It cannot be read or written.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// Something else stands where it should be written.
    #[error("{} holds something else: name another file with --out", .0.display())]
    Occupied(PathBuf),
}

/// The content of a login file. Instants are milliseconds since 1970, amounts NANOS.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoginFile {
    /// The gate that it was bought at.
    pub gate: String,
    /// Who sold it, in hexadecimal.
    pub identity: String,
    /// The offer.
    pub offer: String,
    /// The login.
    pub username: String,
    /// Its password, where it is known.
    pub password: Option<Secret>,
    /// Which topics.
    pub filter: Option<String>,
    /// `read`, `write` or `readwrite`.
    pub access: Option<String>,
    /// When the right begins.
    pub from: Option<u64>,
    /// Its exclusive end.
    pub until: Option<u64>,
    /// `time-bought`, `on-account` or `refused`.
    pub outcome: String,
    /// Why it was refused.
    pub reason: Option<String>,
    /// Digest of the paying transaction, in base58.
    pub digest: String,
    /// What was paid.
    pub amount: u64,
    /// What is on the login's account now.
    pub credit: u64,
    /// The receipt under the seller's signature, in hexadecimal: `signature ‖ body`
    /// (`docs/PROTOCOL.md` §6). It holds the password where the seller made it.
    pub receipt: Secret,
}

impl LoginFile {
    /// A login of which nothing but name and password is known yet.
    pub(super) fn unknown(
        gate: &Gate,
        identity: &Identity,
        username: &str,
        password: Option<Secret>,
    ) -> Self {
        Self {
            gate: gate.to_string(),
            identity: identity.to_string(),
            offer: String::new(),
            username: username.to_owned(),
            password,
            filter: None,
            access: None,
            from: None,
            until: None,
            outcome: "changed".to_owned(),
            reason: None,
            digest: String::new(),
            amount: 0,
            credit: 0,
            receipt: Secret::new(String::new()),
        }
    }

    /// Refuses a place where something else than a file for this login stands, or where none could
    /// be written. What comes back is the file that stands there.
    ///
    /// # Errors
    /// When that is so.
    pub(super) fn may_stand(
        path: &Path,
        identity: &str,
        username: &str,
    ) -> Result<Option<Self>, LoginFileError> {
        // The longest name of those that are written.
        private_file::may_write(&Self::options(path))?;
        let Some(bytes) = private_file::read(path)? else {
            return Ok(None);
        };
        match serde_json::from_slice::<Self>(&bytes) {
            Ok(there) if there.identity == identity && there.username == username => {
                Ok(Some(there))
            }
            _ => Err(LoginFileError::Occupied(path.to_owned())),
        }
    }

    /// The receipt of `identity` that a file holds, and the same under its signature; nothing where
    /// there is no such file.
    pub(super) fn receipt(path: &Path, identity: &Identity) -> Option<(Receipt, Signed)> {
        let bytes = private_file::read(path).ok()??;
        let there: Self = serde_json::from_slice(&bytes).ok()?;
        let signed = Zeroizing::new(hex::decode(there.receipt.expose()).ok()?);
        let receipt = identity.hear(&signed).ok()?;
        Some((receipt, signed))
    }

    /// Writes the file, and the options of Mosquitto's clients beside it where there is a
    /// password.
    ///
    /// # Errors
    /// When one of them cannot be written.
    pub(super) fn save(&self, path: &Path) -> Result<(), LoginFileError> {
        private_file::write_json(path, self)?;
        if let Some(password) = &self.password {
            let folder = Self::options(path);
            private_file::folder(&folder)?;
            let (name, password) = (&self.username, password.expose());
            let lines = Zeroizing::new(format!("-u {name}\n-P {password}\n"));
            for client in ["mosquitto_sub", "mosquitto_pub"] {
                private_file::write(&folder.join(client), lines.as_bytes())?;
            }
        }
        Ok(())
    }

    /// The folder with the options of Mosquitto's clients, which look for it by
    /// `XDG_CONFIG_HOME` (mosquitto_sub(1), "Files").
    #[must_use]
    pub fn options(path: &Path) -> PathBuf {
        let mut folder = path.as_os_str().to_owned();
        folder.push(".mosquitto");
        PathBuf::from(folder)
    }

    /// The Mosquitto client that uses the login, and its arguments, none of which is secret.
    #[must_use]
    pub fn client(&self, gate: &Gate) -> Vec<String> {
        let program = match self.access.as_deref() {
            Some("write") => "mosquitto_pub",
            _ => "mosquitto_sub",
        };
        let topic = self.filter.as_deref().unwrap_or("#");
        let port = gate.port.to_string();
        let mut words = vec![
            program, "-V", "5", "-h", &gate.host, "-p", &port, "-t", topic,
        ];
        if program == "mosquitto_pub" {
            words.push("-l");
        }
        words.into_iter().map(str::to_owned).collect()
    }
}
