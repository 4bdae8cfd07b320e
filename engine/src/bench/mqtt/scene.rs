//! Who may do what while a load runs: written down once for both servers.

use anyhow::{Context, bail};
use std::fmt::Write;
use tanglegate_core::{Access, Timestamp};

/// Who publishes under `bench/`.
pub(super) const WRITER: &str = "writer";
/// Who reads everything under `bench/`.
pub(super) const READER: &str = "reader";
/// Where all loads take place.
pub(super) const ROOM: &str = "bench/#";

/// The password of all costly logins; the others have their name for one.
pub(super) const COSTLY_PASSWORD: &str = "storm";

/// A login and its rights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Login {
    pub(super) name: String,
    /// The gate keeps its password as in production, and checking it costs what that costs.
    pub(super) costly: bool,
    pub(super) rights: Vec<Right>,
}

impl Login {
    pub(super) fn password(&self) -> &str {
        if self.costly {
            COSTLY_PASSWORD
        } else {
            &self.name
        }
    }
}

/// A right of a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Right {
    pub(super) access: Access,
    pub(super) filter: String,
    /// The end of a lease; a rule has none.
    pub(super) until: Option<Timestamp>,
}

/// All logins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Scene {
    pub(super) logins: Vec<Login>,
}

impl Scene {
    /// A writer, a reader, `storming` logins with costly passwords, and `others` with one right
    /// each, half of them rules and half of them leases until `tomorrow`.
    pub(super) fn new(others: usize, storming: usize, tomorrow: Timestamp) -> Self {
        let mut scene = Self::default();
        scene.add(WRITER, false, Access::Write, ROOM, None);
        scene.add(READER, false, Access::Read, ROOM, Some(tomorrow));
        for number in 0..storming {
            scene.add(&storming_name(number), true, Access::Read, ROOM, None);
        }
        for number in 0..others {
            let until = (number % 2 == 0).then_some(tomorrow);
            let (name, filter) = (format!("other-{number}"), format!("other/{number}/#"));
            scene.add(&name, false, Access::Read, &filter, until);
        }
        scene
    }

    /// Adds a login with one right.
    pub(super) fn add(
        &mut self,
        name: &str,
        costly: bool,
        access: Access,
        filter: &str,
        until: Option<Timestamp>,
    ) {
        self.logins.push(Login {
            name: name.to_owned(),
            costly,
            rights: vec![Right {
                access,
                filter: filter.to_owned(),
                until,
            }],
        });
    }

    /// As the gate reads it: a line for each login, followed by those of its rights.
    pub(super) fn to_text(&self) -> String {
        let mut text = String::new();
        for login in &self.logins {
            let cost = if login.costly { "costly" } else { "cheap" };
            line(&mut text, &["login", &login.name, cost]);
            for right in &login.rights {
                let until = right.until.map_or(String::new(), |it| it.0.to_string());
                line(&mut text, &[right.access.as_str(), &right.filter, &until]);
            }
        }
        text
    }

    /// Reads what [`Scene::to_text`] wrote.
    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        let mut scene = Self::default();
        for (number, line) in (1..).zip(text.lines()) {
            scene
                .read_line(line)
                .with_context(|| format!("line {number}: {line}"))?;
        }
        Ok(scene)
    }

    fn read_line(&mut self, line: &str) -> anyhow::Result<()> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (word, filter, until) = match *words {
            ["login", name, cost @ ("costly" | "cheap")] => {
                self.logins.push(Login {
                    name: name.to_owned(),
                    costly: cost == "costly",
                    rights: vec![],
                });
                return Ok(());
            }
            [word, filter] => (word, filter, None),
            [word, filter, until] => (word, filter, Some(until)),
            _ => bail!("is neither a login nor a right"),
        };
        let access = Access::parse(word).context("no such access")?;
        let until = until.map(|it| it.parse().map(Timestamp)).transpose()?;
        let login = self.logins.last_mut().context("a right of nobody")?;
        login.rights.push(Right {
            access,
            filter: filter.to_owned(),
            until,
        });
        Ok(())
    }

    /// Mosquitto's ACL file.
    pub(super) fn to_acl_file(&self) -> String {
        let mut text = String::new();
        for login in &self.logins {
            line(&mut text, &["user", &login.name]);
            for right in &login.rights {
                line(&mut text, &["topic", right.access.as_str(), &right.filter]);
            }
        }
        text
    }

    /// Mosquitto's password file, before it is hashed.
    pub(super) fn to_password_file(&self) -> String {
        let mut text = String::new();
        for login in &self.logins {
            writeln!(text, "{}:{}", login.name, login.password())
                .expect("writing to a String cannot fail");
        }
        text
    }
}

/// The name of a login whose password is kept as in production.
pub(super) fn storming_name(number: usize) -> String {
    format!("storm-{number}")
}

fn line(text: &mut String, words: &[&str]) {
    text.push_str(words.join(" ").trim_end());
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scene_is_read_as_it_was_written() {
        let scene = Scene::new(4, 2, Timestamp(86_400_000));
        let text = scene.to_text();
        assert_eq!(Scene::parse(&text).unwrap(), scene);
        assert!(text.contains("login storm-1 costly\n"), "{text}");
        assert!(text.contains("read other/2/# 86400000\n"), "{text}");
        assert!(
            scene
                .to_acl_file()
                .contains("user writer\ntopic write bench/#\n")
        );
        for wrong in ["read a", "login ana", "write", "login a cheap\nread a b"] {
            assert!(Scene::parse(wrong).is_err(), "{wrong}");
        }
    }
}
