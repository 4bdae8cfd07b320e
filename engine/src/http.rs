//! HTTP clients.

use std::sync::Once;

/// A client's beginnings, with the one TLS provider that this program carries (ring).
pub fn client() -> reqwest::ClientBuilder {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        // Somebody else in the process may have chosen before: then theirs is used.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    reqwest::Client::builder()
}
