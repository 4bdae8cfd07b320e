//! Who runs the server. PostgreSQL refuses to run as root, so root lends it another account.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;

use super::PostgresError;

/// The user that owns the data folder and runs the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    /// Name in `/etc/passwd`, or the number where there is none.
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Whether this differs from the user that we run as.
    pub(super) lent: bool,
}

impl Account {
    /// Ourselves; as root `postgres`, else `nobody`.
    pub(super) fn choose() -> Result<Account, PostgresError> {
        let uid = rustix::process::geteuid().as_raw();
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        if uid != 0 {
            let gid = rustix::process::getegid().as_raw();
            let name = name_of(&passwd, uid).unwrap_or_else(|| uid.to_string());
            return Ok(Account {
                name,
                uid,
                gid,
                lent: false,
            });
        }
        ["postgres", "nobody"]
            .iter()
            .find_map(|name| named(&passwd, name))
            .ok_or(PostgresError::NoAccount)
    }

    /// Makes `command` run as this account.
    pub(super) fn apply(&self, command: &mut Command) {
        if self.lent {
            command.uid(self.uid).gid(self.gid);
        }
    }
}

/// The account of that name, unless it is root by another name.
fn named(passwd: &str, name: &str) -> Option<Account> {
    let fields = entries(passwd).find(|fields| fields[0] == name)?;
    let uid = fields[2].parse().ok().filter(|uid| *uid != 0)?;
    let gid = fields[3].parse().ok()?;
    Some(Account {
        name: name.to_owned(),
        uid,
        gid,
        lent: true,
    })
}

fn name_of(passwd: &str, uid: u32) -> Option<String> {
    let uid = uid.to_string();
    entries(passwd)
        .find(|fields| fields[2] == uid)
        .map(|fields| fields[0].to_owned())
}

/// Lines of `/etc/passwd` that have at least name, password, uid and gid.
fn entries(passwd: &str) -> impl Iterator<Item = Vec<&str>> {
    passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .filter(|fields| fields.len() >= 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0::/root:/bin/sh\n\
                          broken line\n\
                          toor:x:0:0::/root:/bin/sh\n\
                          postgres:x:101:104:admin,,,:/var/lib/postgresql:/bin/bash\n";

    #[test]
    fn an_account_is_read_from_passwd() {
        let account = named(PASSWD, "postgres").expect("postgres is listed");
        assert_eq!((account.uid, account.gid, account.lent), (101, 104, true));
        assert_eq!(name_of(PASSWD, 101).as_deref(), Some("postgres"));
    }

    #[test]
    fn a_second_name_of_root_is_no_account_to_drop_to() {
        assert_eq!(named(PASSWD, "toor"), None);
        assert_eq!(named(PASSWD, "nobody"), None);
    }

    #[test]
    fn the_chosen_account_is_never_root() {
        assert_ne!(
            Account::choose().expect("this machine has an account").uid,
            0
        );
    }
}
