//! `tanglegate buy`

use super::complain;
use super::offers::access;
use super::pay::{NODE, alone};
use super::quantity::{self, span};
use super::subscriber::read_password;
use super::table::printable;
use crate::buy::{Book, Bought, Buyer, Caps, Gate, LoginFile, Price, Step, Stopped, Terms, Wish};
use crate::control::Secret;
use crate::ledger::{Node, NodeLimits};
use crate::wallet::{Key, Progress, Wallet, WalletSettings};
use serde_json::json;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;
use tanglegate_core::{Nanos, Timestamp, Username};
use tanglegate_crypto::{Identity, Outcome};

/// Whatever stops it, the same command goes on where it was, and pays nothing twice.
/// The exit code is 0 when time was bought, 1 when the payment was final and bought none, and 2
/// when it did not come to its end
#[derive(clap::Args)]
pub(super) struct Buy {
    /// The offer (see `offers`). With --resume and --give-up it need not be named
    #[arg(required_unless_present_any = ["resume", "give_up"])]
    offer: Option<String>,
    /// The seller's gate, as HOST:PORT
    #[arg(long, value_name = "HOST:PORT")]
    broker: Gate,
    /// The key file that pays (see `wallet new`)
    #[arg(long, value_name = "FILE")]
    wallet: PathBuf,
    /// The JSON-RPC endpoint of an IOTA node or development ledger
    #[arg(long, default_value = NODE, env = "TANGLEGATE_NODE_URL")]
    node: String,
    /// The login. Without it the last one bought here, or else a random name
    #[arg(long, value_parser = Username::parse)]
    username: Option<Username>,
    /// A file whose first line is the login's password; - reads standard input. The seller never
    /// sees it. Without it a new login gets one that the seller makes
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    #[command(flatten)]
    price: PriceArgs,
    /// The most that this purchase may cost
    #[arg(long, value_parser = quantity::amount)]
    cap: Option<Nanos>,
    /// The most that all purchases with this --state may have cost, without gas
    #[arg(long, value_parser = quantity::amount)]
    cap_total: Option<Nanos>,
    /// Who must be selling: 64 hexadecimal digits that you have from the seller. Without it the
    /// first one that this gate shows is believed, and nobody else afterwards
    #[arg(long, value_name = "HEX")]
    identity: Option<Identity>,
    /// Where purchases are kept while they last, and what was spent; without it beside the wallet
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Where login and receipt are written; without it beside the state
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// How long the payment may take until it is final, and then the answer
    #[arg(long, default_value = "60s", value_parser = quantity::duration)]
    deadline: Duration,
    /// Go on with the purchase that was begun, whichever it is
    #[arg(long, conflicts_with = "give_up")]
    resume: bool,
    /// Forget the purchase that was begun. Its payment may have come about: its answer can then
    /// never be read
    #[arg(long)]
    give_up: bool,
    /// The outcome as JSON, without the password
    #[arg(long)]
    json: bool,
    /// Go on as the Mosquitto client that uses the login
    #[arg(long, conflicts_with = "json")]
    run: bool,
    /// Go on as this command instead. It finds the login in the file that TANGLEGATE_LOGIN names,
    /// and Mosquitto's clients find it by XDG_CONFIG_HOME
    #[arg(last = true, requires = "run")]
    command: Vec<String>,
}

#[derive(clap::Args)]
#[group(multiple = false)]
struct PriceArgs {
    /// How much to pay, with its unit, e.g. 0.5IOTA or 1000000NANOS
    #[arg(long, value_parser = quantity::amount)]
    amount: Option<Nanos>,
    /// How much time to buy, e.g. 1h; needs --cap or --cap-total
    #[arg(long = "for", value_name = "DURATION", value_parser = quantity::duration)]
    time: Option<Duration>,
}

impl Buy {
    /// What came of it is told by the exit code too, so that scripts can ask.
    pub(super) async fn run(self) -> ExitCode {
        self.buy().await.unwrap_or_else(|error| {
            complain(&error);
            ExitCode::from(2)
        })
    }

    async fn buy(self) -> anyhow::Result<ExitCode> {
        let lock = alone(&self.wallet)?;
        let mut buyer = self.buyer()?;
        if self.give_up {
            buyer.book.give_up()?;
            println!("nothing is begun any more");
            return Ok(ExitCode::SUCCESS);
        }
        let quiet = self.json;
        let mut tell = |step: Step| {
            if !quiet {
                say(&step);
            }
            Ok::<(), Stopped>(())
        };
        let wish = match self.resume {
            true => None,
            false => self.wish()?,
        };
        let bought = match (self.resume, wish) {
            (false, Some(wish)) => buyer.buy(&wish, &mut tell).await?,
            (true, _) => {
                let password = self.password()?;
                buyer.may_go_on(self.identity, self.caps(), password.as_ref())?;
                buyer.resume(self.out.clone(), &mut tell).await?
            }
            (false, None) => {
                anyhow::bail!("say how much: --amount 0.5IOTA, or --for 1h --cap 0.5IOTA")
            }
        };
        self.show(&bought)?;
        if bought.outcome != Outcome::TimeBought {
            return Ok(ExitCode::from(1));
        }
        if self.run {
            // The next program must not hold the wallet's lock.
            drop(lock);
            return Err(self.go_on(&bought));
        }
        Ok(ExitCode::SUCCESS)
    }

    fn buyer(&self) -> anyhow::Result<Buyer> {
        let key = Key::load(&self.wallet)?;
        let node = Node::new(&self.node, NodeLimits::default())?;
        let settings = WalletSettings {
            deadline: self.deadline,
            ..WalletSettings::default()
        };
        let state = self.state.clone().unwrap_or_else(|| {
            let mut path = self.wallet.as_os_str().to_owned();
            path.push(".purchases");
            PathBuf::from(path)
        });
        let book = Book::open(&state, key.address())?;
        Ok(Buyer {
            gate: self.broker.clone(),
            wallet: Wallet::new(key, node.clone(), settings),
            node,
            book,
            beside: state,
            patience: self.deadline,
        })
    }

    fn wish(&self) -> anyhow::Result<Option<Wish>> {
        let price = match (self.price.amount, self.price.time) {
            (Some(amount), _) => Price::Amount(amount),
            (None, Some(time)) => Price::Time(time),
            (None, None) => return Ok(None),
        };
        let Some(offer) = self.offer.clone() else {
            return Ok(None);
        };
        Ok(Some(Wish {
            offer,
            username: self.username.clone(),
            password: self.password()?,
            price,
            caps: self.caps(),
            identity: self.identity,
            out: self.out.clone(),
        }))
    }

    fn caps(&self) -> Caps {
        Caps {
            each: self.cap,
            total: self.cap_total,
        }
    }

    fn password(&self) -> anyhow::Result<Option<Secret>> {
        let password = self.password_file.as_deref().map(read_password);
        let password = password.transpose()?;
        let empty = password.as_ref().is_some_and(|it| it.expose().is_empty());
        anyhow::ensure!(!empty, "the password file's first line is empty");
        Ok(password)
    }

    fn show(&self, bought: &Bought) -> anyhow::Result<()> {
        let login = &bought.login;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&summary(bought))?);
            return Ok(());
        }
        let (amount, file) = (Nanos(login.amount), bought.path.display());
        println!("paid     {amount}, and {} for gas", bought.gas);
        match bought.outcome {
            Outcome::TimeBought => {
                let filter = login.filter.as_deref().unwrap_or("a long filter");
                let until = Timestamp(login.until.unwrap_or_default());
                println!("bought   {} until {until}", printable(filter));
                println!(
                    "login    {}; it and the receipt are in {file}",
                    login.username
                );
                println!("use      {}", self.line(bought));
            }
            Outcome::OnAccount => println!(
                "bought   no time: {} are on the account of {}, the receipt is in {file}",
                Nanos(login.credit),
                login.username
            ),
            Outcome::Refused => {
                let reason = login.reason.as_deref().unwrap_or("no reason");
                println!("refused  {}; the receipt is in {file}", printable(reason));
                println!("         the money is not spent; say what else it shall be for:");
                println!(
                    "         tanglegate claim {} --offer NAME --username NAME --broker {} --wallet {}",
                    login.digest,
                    self.broker,
                    quoted(&self.wallet.to_string_lossy())
                );
            }
        }
        Ok(())
    }

    /// The command line that reads what was bought. The password is in none of its words.
    fn line(&self, bought: &Bought) -> String {
        let words = bought.login.client(&self.broker);
        let words: Vec<String> = words.iter().map(|it| quoted(it)).collect();
        let options = LoginFile::options(&bought.path);
        let options = quoted(&options.to_string_lossy());
        format!("XDG_CONFIG_HOME={options} {}", words.join(" "))
    }

    /// Becomes the client; what comes back is why it could not.
    fn go_on(&self, bought: &Bought) -> anyhow::Error {
        let words = match self.command.as_slice() {
            [] => bought.login.client(&self.broker),
            words => words.to_vec(),
        };
        let Some((program, arguments)) = words.split_first() else {
            return anyhow::anyhow!("no command to run");
        };
        let error = Command::new(program)
            .args(arguments)
            .env("XDG_CONFIG_HOME", LoginFile::options(&bought.path))
            .env("TANGLEGATE_LOGIN", &bought.path)
            .exec();
        anyhow::Error::new(error).context(format!("cannot run {program}"))
    }
}

/// Without the password, and without the receipt that may hold it.
fn summary(bought: &Bought) -> serde_json::Value {
    let login = &bought.login;
    json!({
        "outcome": login.outcome,
        "reason": login.reason,
        "offer": login.offer,
        "username": login.username,
        "filter": login.filter,
        "access": login.access,
        "from": login.from,
        "until": login.until,
        "credit": login.credit,
        "digest": login.digest,
        "checkpoint": bought.checkpoint,
        "amount": login.amount,
        "gas": bought.gas.0,
        "identity": login.identity,
        "login_file": bought.path.display().to_string(),
        "options": LoginFile::options(&bought.path).display().to_string(),
    })
}

fn say(step: &Step) {
    match step {
        Step::Resumed { offer, amount } => println!("resumed  {} for {amount}", printable(offer)),
        Step::Found {
            identity,
            first_seen,
        } => {
            println!("seller   {identity}");
            if *first_seen {
                println!(
                    "         seen here for the first time and believed from now on: compare it \
                     with what the seller published"
                );
            }
        }
        Step::Agreed { terms, username } => agreed(terms, username),
        Step::Signed { .. } | Step::Answered | Step::Written { .. } => {}
        Step::Paying(Progress::Signed { digest }) => println!("signed   {digest}"),
        Step::Paying(Progress::Retrying { reason }) => println!("retrying {}", printable(reason)),
        Step::Paying(Progress::Executed) => println!("executed, waiting for its checkpoint"),
        Step::Paying(Progress::Final { checkpoint }) => {
            println!("final    in checkpoint {checkpoint}");
        }
        Step::Paid { .. } => println!("waiting  for the seller's answer"),
        Step::Waiting { reason } => println!("retrying {}", printable(reason)),
    }
}

fn agreed(terms: &Terms, username: &str) {
    let offer = &terms.offer;
    let filter = printable(&offer.filter);
    let (price, per) = (Nanos(offer.price), span(offer.period_ms));
    println!(
        "offer    {}: {} {filter}, {price} for {per}",
        printable(&offer.name),
        access(offer.access)
    );
    println!(
        "order    {} for {}, login {username}",
        terms.cost,
        span(terms.time_ms)
    );
}

/// A word for a POSIX shell.
fn quoted(word: &str) -> String {
    let plain = |it: char| it.is_ascii_alphanumeric() || "-_./:,@%+=".contains(it);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", printable(word).replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_a_shell() {
        assert_eq!(quoted("sensor/live"), "sensor/live");
        assert_eq!(quoted("sensor/#"), "'sensor/#'");
        assert_eq!(quoted("a'b; rm"), r"'a'\''b; rm'");
        assert_eq!(quoted(""), "''");
    }
}
