//! `tanglegate subscriber`

use super::offer::say;
use super::{Common, table};
use crate::control::{Outcome, PasswordAnswer, Secret, SubscriberRequest, UsernameRequest};
use anyhow::Context;
use clap::Subcommand;
use std::io::Read;
use std::path::{Path, PathBuf};

#[derive(Subcommand)]
pub(super) enum Subscriber {
    /// Register a login. Without a password file the engine makes a password and shows it once
    Add {
        /// Its name
        username: String,
        /// A file whose first line is the password; - reads standard input
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// Change a password; sessions that logged in with the old one are cut
    Password {
        /// Whose
        username: String,
        /// A file whose first line is the password; - reads standard input
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// Close a login until it is reinstated; its sessions are cut
    Suspend {
        /// Whose
        username: String,
    },
    /// Open a login again
    Reinstate {
        /// Whose
        username: String,
    },
    /// Forget a person for ever: end the login's rights and destroy the key to its name, its
    /// password and its memos. Payments stay in the log under an opaque identity, and credit is
    /// lost to the login. Backups made before still hold the key
    Erase {
        /// Whose
        username: String,
        /// Say that you mean it: nobody can take this back
        #[arg(long, required = true)]
        yes: bool,
    },
    /// Show all logins and what they have on account
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

impl Subscriber {
    pub(super) async fn run(self, common: &Common) -> anyhow::Result<()> {
        let control = common.control()?;
        match self {
            Self::Add {
                username,
                password_file,
            } => {
                let password = password_file.as_deref().map(read_password).transpose()?;
                let request = SubscriberRequest { username, password };
                tell(&control.post(&["v1", "subscribers"], &request).await?);
            }
            Self::Password {
                username,
                password_file,
            } => {
                let password = password_file.as_deref().map(read_password).transpose()?;
                let request = SubscriberRequest { username, password };
                let path = ["v1", "subscribers", "password"];
                tell(&control.post(&path, &request).await?);
            }
            Self::Suspend { username } => {
                let path = ["v1", "subscribers", "suspend"];
                let request = UsernameRequest { username };
                say(&control.post::<Outcome>(&path, &request).await?);
            }
            Self::Reinstate { username } => {
                let path = ["v1", "subscribers", "reinstate"];
                let request = UsernameRequest { username };
                say(&control.post::<Outcome>(&path, &request).await?);
            }
            Self::Erase { username, yes: _ } => {
                let path = ["v1", "subscribers", "erase"];
                let request = UsernameRequest { username };
                say(&control.post::<Outcome>(&path, &request).await?);
            }
            Self::List { json } => {
                let rows = control.get(&["v1", "subscribers"]).await?;
                table::print(
                    &rows,
                    &["username", "suspended", "erased", "credit", "subscriber"],
                    json,
                )?;
            }
        }
        Ok(())
    }
}

fn tell(answer: &PasswordAnswer) {
    say(&answer.outcome);
    if let Some(password) = &answer.password {
        println!(
            "password: {}   (shown this once, kept nowhere)",
            password.expose()
        );
    }
}

/// The first line of a file or of standard input: a password never stands among the arguments,
/// which everybody on the machine can read.
pub(super) fn read_password(path: &Path) -> anyhow::Result<Secret> {
    let mut text = zeroize::Zeroizing::new(String::new());
    if path == Path::new("-") {
        std::io::stdin()
            .read_to_string(&mut text)
            .context("cannot read standard input")?;
    } else {
        let mut file = std::fs::File::open(path)
            .with_context(|| format!("cannot open the password file {}", path.display()))?;
        file.read_to_string(&mut text)
            .with_context(|| format!("cannot read the password file {}", path.display()))?;
    }
    Ok(Secret::new(
        text.lines().next().unwrap_or_default().to_owned(),
    ))
}
