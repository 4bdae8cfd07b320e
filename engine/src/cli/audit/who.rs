//! Whom a question is about.

use crate::audit::Archive;
use anyhow::{Context, bail};
use clap::Args;
use tanglegate_core::SubscriberId;

#[derive(Args)]
#[group(required = true, multiple = false)]
pub(super) struct Who {
    /// The login
    #[arg(long, alias = "username", value_name = "NAME")]
    user: Option<String>,
    /// The login by its opaque identity, as the log shows it: all that is left of an erased one
    #[arg(long, value_name = "ID")]
    subscriber: Option<String>,
    /// A client without a login
    #[arg(long)]
    anonymous: bool,
}

impl Who {
    /// Somebody with a login.
    pub(super) fn of(user: Option<String>, subscriber: Option<String>) -> Self {
        Self {
            user,
            subscriber,
            anonymous: false,
        }
    }

    /// Whose identity it is; `None` is a client without a login.
    pub(super) async fn find(&self, archive: &mut Archive) -> anyhow::Result<Option<SubscriberId>> {
        if let Some(id) = &self.subscriber {
            let id = SubscriberId::parse(id);
            return id
                .map(Some)
                .context("--subscriber takes an identity of 32 hexadecimal digits");
        }
        let Some(name) = &self.user else {
            return Ok(None);
        };
        match archive.named(name).await? {
            Some(id) => Ok(Some(id)),
            None => bail!(
                "no login is named '{name}'. One that was erased can be asked about by its \
                 identity, with --subscriber; `tanglegate subscriber list` shows all"
            ),
        }
    }

    /// As it is shown, with the identity that was found.
    pub(super) fn shown(&self, found: Option<SubscriberId>) -> String {
        match (&self.user, found) {
            (Some(name), Some(id)) => format!("'{name}' (subscriber {id})"),
            (None, Some(id)) => format!("subscriber {id}"),
            _ => "a client without a login".to_owned(),
        }
    }
}
