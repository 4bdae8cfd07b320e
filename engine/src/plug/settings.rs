//! What a plug needs to know, and what it refuses before it connects.

use std::path::{Path, PathBuf};
use std::time::Duration;

use zeroize::Zeroizing;

use super::{Between, Recording};

/// The environment variable that may hold the password.
const PASSWORD: &str = "TANGLEGATE_PASSWORD";

/// Fastest rate at which a plug publishes.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);

/// Longest topic that MQTT can carry, in bytes (MQTT 5.0 §1.5.4).
const TOPIC_LIMIT: usize = 65_535;

/// A plug cannot run with these settings.
#[derive(Debug, thiserror::Error)]
pub enum PlugError {
    /// Not a topic that one can publish on.
    #[error(
        "{topic:?} is no topic to publish on: name one such as sensor/live, without `+`, `#` and a \
         leading `$`"
    )]
    Topic {
        /// The topic.
        topic: String,
    },
    /// Both values on one topic could not be told apart.
    #[error("the live value and the mean must go to two topics, and both are {topic:?}")]
    SameTopic {
        /// The topic.
        topic: String,
    },
    /// Too fast.
    #[error("publishing every {interval:?} is too often: the shortest interval is 10 ms")]
    Interval {
        /// The interval.
        interval: Duration,
    },
    /// The recording would stand still.
    #[error("a speed of 0 replays nothing: 1 is real time, 60 a minute per second")]
    Speed,
    /// The password file cannot be read.
    #[error("cannot read the password from {}: {source}", path.display())]
    PasswordFile {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// No password anywhere.
    #[error(
        "there is no password for {username:?}: put it into a file and name that, or set {PASSWORD}"
    )]
    NoPassword {
        /// The user.
        username: String,
    },
}

/// A user name and its password, which is wiped from memory and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The user name.
    pub username: String,
    /// The password.
    pub password: Zeroizing<String>,
}

impl Login {
    /// Takes the password from the first line of `password_file`, or without one from the
    /// environment variable `TANGLEGATE_PASSWORD`.
    ///
    /// # Errors
    /// [`PlugError::PasswordFile`] or [`PlugError::NoPassword`].
    pub fn read(username: &str, password_file: Option<&Path>) -> Result<Login, PlugError> {
        let text = match password_file {
            Some(path) => {
                std::fs::read_to_string(path).map_err(|source| PlugError::PasswordFile {
                    path: path.to_owned(),
                    source,
                })?
            }
            None => std::env::var(PASSWORD).unwrap_or_default(),
        };
        let text = Zeroizing::new(text);
        let password = Zeroizing::new(text.lines().next().unwrap_or_default().to_owned());
        if password.is_empty() {
            return Err(PlugError::NoPassword {
                username: username.to_owned(),
            });
        }
        Ok(Login {
            username: username.to_owned(),
            password,
        })
    }
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// How a plug runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Host name or address of the gate.
    pub host: String,
    /// Its port for MQTT without TLS.
    pub port: u16,
    /// The plug's MQTT client identifier.
    pub client_id: String,
    /// Who the plug is. None where the gate lets anybody publish.
    pub login: Option<Login>,
    /// Topic of the instant power.
    pub live_topic: String,
    /// Topic of the mean over the last minute.
    pub mean_topic: String,
    /// Time between two publications of each, at least 10 ms.
    pub interval: Duration,
    /// What is replayed.
    pub recording: Recording,
    /// What the power is between two rows of it.
    pub between: Between,
    /// Where in the recording to begin.
    pub begin: Duration,
    /// Seconds of the recording per second, at least 1. The mean is over a minute of the
    /// recording.
    pub speed: u32,
}

impl Settings {
    /// The built-in household in real time, from its beginning, twice a second on `sensor/live`
    /// and `sensor/1m`, without a login.
    pub fn new(host: &str, port: u16) -> Settings {
        Settings {
            host: host.to_owned(),
            port,
            client_id: "plug".to_owned(),
            login: None,
            live_topic: "sensor/live".to_owned(),
            mean_topic: "sensor/1m".to_owned(),
            interval: Duration::from_millis(500),
            recording: Recording::household(),
            between: Between::Hold,
            begin: Duration::ZERO,
            speed: 1,
        }
    }

    /// Refuses what could not work.
    pub(super) fn check(&self) -> Result<(), PlugError> {
        for topic in [&self.live_topic, &self.mean_topic] {
            let wild = topic.contains(['+', '#', '\0']) || topic.starts_with('$');
            if topic.is_empty() || topic.len() > TOPIC_LIMIT || wild {
                return Err(PlugError::Topic {
                    topic: topic.clone(),
                });
            }
        }
        if self.live_topic == self.mean_topic {
            return Err(PlugError::SameTopic {
                topic: self.live_topic.clone(),
            });
        }
        if self.interval < SHORTEST_INTERVAL {
            return Err(PlugError::Interval {
                interval: self.interval,
            });
        }
        if self.speed == 0 {
            Err(PlugError::Speed)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut Settings)) -> String {
        let mut settings = Settings::new("localhost", 1883);
        change(&mut settings);
        settings.check().expect_err("it cannot work").to_string()
    }

    #[test]
    fn settings_that_cannot_work_are_refused_with_a_right_value() {
        Settings::new("localhost", 1883)
            .check()
            .expect("the usual ones work");
        for topic in ["", "sensor/#", "a/+/b", "$SYS/x", "nul\0"] {
            let error = refused(|it| it.live_topic = topic.to_owned());
            assert!(error.contains("sensor/live"), "{error}");
        }
        assert!(refused(|it| it.mean_topic = it.live_topic.clone()).contains("two topics"));
        assert!(refused(|it| it.interval = Duration::ZERO).contains("10 ms"));
        assert!(refused(|it| it.speed = 0).contains("1 is real time"));
    }

    #[test]
    fn a_password_comes_from_the_first_line_of_its_file_and_is_not_shown() {
        let folder = crate::postgres::testing::TestFolder::create().expect("a folder");
        let file = folder.path().join("password");
        std::fs::write(&file, "correct horse\nsecond line\n").expect("written");
        let login = Login::read("plug", Some(&file)).expect("read");
        assert_eq!(login.password.as_str(), "correct horse");
        assert_eq!(format!("{login:?}"), "Login { username: \"plug\", .. }");
        std::fs::write(&file, "\n").expect("written");
        let error = Login::read("plug", Some(&file))
            .expect_err("it is empty")
            .to_string();
        assert!(error.contains("TANGLEGATE_PASSWORD"), "{error}");
    }
}
