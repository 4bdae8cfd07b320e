//! Changing a login that was bought: its password, its name (`docs/PROTOCOL.md` §5.2).

use super::claim::{Claimant, answered};
use super::error::BuyError;
use super::line::Line;
use super::login_file::LoginFile;
use super::purchase::{beside, hashed, random};
use crate::buyers;
use crate::control::Secret;
use std::path::PathBuf;
use tanglegate_core::Username;
use tanglegate_crypto::{Identity, KeyBody, Order, PasswordWish, ReplyKey, SealedMemo};

const LOGINS: &str = "$SYS/access/logins";
const LOGIN: &str = "$SYS/access/me/login";

/// How a login shall change.
#[derive(Debug, Clone)]
pub struct Alteration {
    /// The login.
    pub username: Username,
    /// Its new name.
    pub renamed: Option<Username>,
    /// Its new password.
    pub password: Option<Secret>,
    /// Who sold it.
    pub identity: Option<Identity>,
    /// Where the login is written; without a place beside the book.
    pub out: Option<PathBuf>,
}

impl Claimant {
    /// Changes a login that this key has bought. A file under a new name is written before anything
    /// is asked, and stays whatever is said: a refusal is not signed. Receipt and terms are those of
    /// the file under the old name.
    ///
    /// # Errors
    /// See [`BuyError`].
    pub async fn change(&mut self, wanted: &Alteration) -> Result<PathBuf, BuyError> {
        let mut line = Line::connect(&self.gate).await?;
        let catalogue = self.catalogue(&mut line, wanted.identity).await?;
        let identity = catalogue.identity;
        let username = wanted.username.as_str();
        let name = wanted.renamed.as_ref().map_or(username, Username::as_str);
        let owned = self.book.login(&identity, Some(username));
        let password = match (&wanted.password, owned) {
            (Some(chosen), _) => Some(chosen.clone()),
            (None, Some(owned)) => owned.password.clone(),
            (None, None) => None,
        };
        let path = wanted.out.clone();
        let path = path.unwrap_or_else(|| beside(&self.beside, name));
        let there = LoginFile::may_stand(&path, &identity.to_string(), name)?;
        let known = there.is_some();
        let login = self.changed(&identity, username, name, password, there);

        line.subscribe(LOGIN).await?;
        let newest = self.book.newest_key(&identity);
        let key = catalogue.key(&mut line, newest).await?;
        self.book.saw_key(&identity, key.issued_at)?;
        let wish = match &wanted.password {
            Some(chosen) => hashed(chosen.expose())?,
            None => PasswordWish::Keep,
        };
        let memo = self.sealed(&key, &identity, username, wish)?;
        let renamed = wanted.renamed.as_ref().map(|it| {
            let name = it.as_str();
            self.sealed(&key, &identity, name, PasswordWish::Keep)
        });
        let renamed = renamed.transpose()?;
        let name = renamed.as_ref().map(SealedMemo::as_bytes);
        let message =
            buyers::Change::message(&identity, memo.as_bytes(), name.map(<[u8; 256]>::as_slice));
        let proof = self.key.sign_personal(message.as_bytes());
        let change = buyers::Change::new(memo.as_bytes(), name, &proof);
        if !known {
            login.save(&path)?;
        }
        line.publish(LOGINS, change.to_bytes()).await?;
        answered(&mut line, LOGIN, self.patience, &path).await?;
        if known {
            login.save(&path)?;
        }
        self.book
            .keep_instead(&identity, username, &login.username, login.password)?;
        Ok(path)
    }

    /// What is known of the login, from the file under its old name before the one that stands
    /// where it is written, with another name and password.
    fn changed(
        &self,
        identity: &Identity,
        username: &str,
        name: &str,
        password: Option<Secret>,
        there: Option<LoginFile>,
    ) -> LoginFile {
        let seller = identity.to_string();
        let old = LoginFile::may_stand(&beside(&self.beside, username), &seller, username);
        let (old, there) = (old.ok().flatten(), there);
        let known = match name == username {
            true => there.or(old),
            false => old.or(there),
        };
        let known = known
            .unwrap_or_else(|| LoginFile::unknown(&self.gate, identity, name, password.clone()));
        LoginFile {
            username: name.to_owned(),
            password: password.or(known.password.clone()),
            ..known
        }
    }

    fn sealed(
        &self,
        key: &KeyBody,
        identity: &Identity,
        username: &str,
        password: PasswordWish,
    ) -> Result<SealedMemo, BuyError> {
        let order = Order {
            // Nothing is bought.
            offer: "-".to_owned(),
            username: username.to_owned(),
            password,
            reply_key: ReplyKey::from_bytes(*random()?).public(),
        };
        let payer = self.key.address().0;
        Ok(SealedMemo::seal(
            &*random()?,
            key,
            identity,
            &payer,
            &order,
        )?)
    }
}
