//! The tools' side of the operator's door.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The engine did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Nobody answers.
    #[error(
        "no engine answers at {}: start one with `tanglegate serve`, or name its data folder with \
         --data-dir ({source})",
        path.display()
    )]
    Absent {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: reqwest::Error,
    },
    /// The engine says no.
    #[error("{0}")]
    Refused(String),
    /// The engine says something else than it should.
    #[error("the engine's answer is not understood: {0}; do both have the same version?")]
    Foreign(String),
}

/// A client of one engine.
pub struct Control {
    path: PathBuf,
    http: reqwest::Client,
}

impl Control {
    /// A client of the engine behind the socket at `path`. Nothing is sent yet.
    ///
    /// # Errors
    /// When the HTTP client cannot be made.
    pub fn new(path: &Path) -> Result<Self, ControlError> {
        let http = crate::http::client()
            .unix_socket(path)
            .timeout(Duration::from_secs(30))
            .build()
            .map_err(|it| ControlError::Foreign(it.to_string()))?;
        Ok(Self {
            path: path.to_owned(),
            http,
        })
    }

    /// Looks something up.
    ///
    /// # Errors
    /// When the engine is absent or refuses.
    pub async fn get<T: DeserializeOwned>(&self, path: &[&str]) -> Result<T, ControlError> {
        self.answer(self.http.get(url(path)?)).await
    }

    /// Events after a position, at most `most`; without a position the newest ones.
    ///
    /// # Errors
    /// When the engine is absent or refuses.
    pub async fn events(
        &self,
        after: Option<u64>,
        most: u64,
    ) -> Result<Vec<super::EventLine>, ControlError> {
        let mut url = url(&["v1", "events"])?;
        url.query_pairs_mut().append_pair("most", &most.to_string());
        if let Some(after) = after {
            url.query_pairs_mut()
                .append_pair("after", &after.to_string());
        }
        self.answer(self.http.get(url)).await
    }

    /// Asks for something. Tried twice under one idempotency key: it happens once.
    ///
    /// # Errors
    /// When the engine is absent or refuses.
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &impl Serialize,
    ) -> Result<T, ControlError> {
        let url = url(path)?;
        self.twice(|| self.http.post(url.clone()).json(body)).await
    }

    /// Takes something away. Tried twice under one idempotency key: it happens once.
    ///
    /// # Errors
    /// When the engine is absent or refuses.
    pub async fn delete<T: DeserializeOwned>(&self, path: &[&str]) -> Result<T, ControlError> {
        let url = url(path)?;
        self.twice(|| self.http.delete(url.clone())).await
    }

    async fn twice<T: DeserializeOwned>(
        &self,
        request: impl Fn() -> reqwest::RequestBuilder,
    ) -> Result<T, ControlError> {
        let key = uuid::Uuid::new_v4().to_string();
        let keyed = || request().header("idempotency-key", &key);
        match self.answer(keyed()).await {
            Err(ControlError::Absent { source, .. }) if !source.is_connect() => {
                self.answer(keyed()).await
            }
            answered => answered,
        }
    }

    async fn answer<T: DeserializeOwned>(
        &self,
        request: reqwest::RequestBuilder,
    ) -> Result<T, ControlError> {
        let absent = |source| ControlError::Absent {
            path: self.path.clone(),
            source,
        };
        let response = request.send().await.map_err(absent)?;
        let (status, body) = (response.status(), response.bytes().await.map_err(absent)?);
        if !status.is_success() {
            let said: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
            let reason = said["error"]
                .as_str()
                .map_or_else(|| status.to_string(), str::to_owned);
            return Err(ControlError::Refused(reason));
        }
        serde_json::from_slice(&body).map_err(|it| ControlError::Foreign(it.to_string()))
    }
}

/// The socket is the address; the host in the URL means nothing. Usernames stand in bodies only:
/// a path cannot hold every name (`..` would vanish from it).
fn url(path: &[&str]) -> Result<reqwest::Url, ControlError> {
    let mut url = reqwest::Url::parse("http://engine").expect("a constant URL");
    url.path_segments_mut()
        .map_err(|()| ControlError::Foreign("the address has no path".to_owned()))?
        .extend(path);
    Ok(url)
}
