//! Who a client is: by its password, by its certificate, or by neither.

use super::handshake::Refusal;
use crate::decision::{TOO_SOON, WRONG_LOGIN};
use crate::gate::Context;
use crate::login::LoginRefused;
use crate::wire::{LoginRequest, Reason};
use std::net::IpAddr;
use tanglegate_core::{Position, SubscriberId};

/// Whose login it is, and the event that set the password: when that is not the last one any
/// more, the session ends, however the client had logged in.
pub(super) type Identity = (SubscriberId, Position);

/// What a client shows of itself.
pub(super) struct Shown {
    /// The user name in the certificate that TLS has checked.
    pub(super) certified: Option<String>,
    /// What the CONNECT says.
    pub(super) login: Option<LoginRequest>,
}

/// Who it is that came from the address `from`. `None` is an anonymous client.
pub(super) async fn identify(
    from: IpAddr,
    shown: Shown,
    context: &Context,
) -> Result<Option<Identity>, Refusal> {
    match shown {
        Shown {
            certified: None,
            login: None,
        } => Ok(None),
        Shown {
            certified: None,
            login: Some(login),
        } => by_password(from, login, context).await.map(Some),
        Shown {
            certified: Some(name),
            login,
        } => by_certificate(from, &name, login, context).await.map(Some),
    }
}

async fn by_password(
    from: IpAddr,
    login: LoginRequest,
    context: &Context,
) -> Result<Identity, Refusal> {
    let LoginRequest { username, password } = login;
    let checked = context
        .logins
        .check(&context.view, from, &username, password);
    match checked.await {
        Ok(login) => Ok((login.subscriber, login.password_set_at)),
        Err(LoginRefused::Wrong) => Err(Refusal::new(Reason::BadLogin, WRONG_LOGIN)),
        Err(LoginRefused::Busy) => {
            let why = "too many logins are being checked; try again later";
            Err(Refusal::new(Reason::ServerBusy, why))
        }
        Err(LoginRefused::TooSoon) => Err(Refusal::new(Reason::ConnectionRateExceeded, TOO_SOON)),
        Err(LoginRefused::Denied(denied)) => Err(Refusal::denied(&denied)),
    }
}

/// The certificate is enough for a login that the operator registered; what is said besides must
/// not contradict it. Buyers choose their names themselves, also one that an authority of the
/// operator's certifies to somebody else: theirs are entered with the password only.
async fn by_certificate(
    from: IpAddr,
    name: &str,
    login: Option<LoginRequest>,
    context: &Context,
) -> Result<Identity, Refusal> {
    if let Some(login) = login {
        if login.username != name {
            let why = "the user name is not the one in the client's certificate";
            return Err(Refusal::new(Reason::BadLogin, why));
        }
        if !login.password.is_empty() {
            return by_password(from, login, context).await;
        }
    }
    let found = context.view.login(name);
    match found.map_err(|it| Refusal::denied(&it))? {
        Some(login) if login.is_bought => {
            let why = "the login of the name in the client's certificate was bought: it is \
                       entered with its password";
            Err(Refusal::new(Reason::BadLogin, why))
        }
        Some(login) => Ok((login.subscriber, login.password_set_at)),
        None => {
            let why = "there is no subscriber of the name in the client's certificate";
            Err(Refusal::new(Reason::BadLogin, why))
        }
    }
}
