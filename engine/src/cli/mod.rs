//! The command line.

mod access;
mod audit;
mod bench;
mod buy;
mod claim;
mod demo;
mod devnet;
mod lease;
mod log;
mod master_key;
mod offer;
mod offers;
mod pay;
mod plug;
mod quantity;
mod receipt;
mod rule;
mod serve;
mod subscriber;
mod table;

use crate::config::Config;
use crate::control::Control;
use crate::serve::control_socket;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// Sells access to MQTT topics and enforces exactly what was paid for.
#[derive(Parser)]
#[command(name = "tanglegate", version, about, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// What every command knows.
#[derive(Args, Clone)]
pub(crate) struct Common {
    /// The configuration file; without one everything has its usual value (see `config`)
    #[arg(long, global = true, env = "TANGLEGATE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the engine keeps its files; overrides data_dir of the configuration
    #[arg(
        long,
        global = true,
        env = "TANGLEGATE_DATA_DIR",
        value_name = "FOLDER"
    )]
    data_dir: Option<PathBuf>,
}

impl Common {
    fn config(&self) -> anyhow::Result<Config> {
        let mut config = Config::load(self.config.as_deref())?;
        if let Some(folder) = &self.data_dir {
            config.data_dir = Some(folder.clone());
        }
        Ok(config)
    }

    /// The running engine's door.
    fn control(&self) -> anyhow::Result<Control> {
        Ok(Control::new(&control_socket(&self.config()?)?)?)
    }
}

#[derive(Subcommand)]
enum Command {
    /// Run the engine: gate, event log and ledger's follower
    Serve,
    /// Watch a payment buy live data: everything in one process, nothing to set up
    Demo(demo::Demo),
    /// Run a development ledger that wallets cannot tell from an IOTA node
    Devnet(devnet::Devnet),
    /// Buy access as a stranger: order sealed, pay, and get a login that nobody else learns
    Buy(Box<buy::Buy>),
    /// Show what a gate sells to strangers
    Offers(offers::Offers),
    /// Say what a payment of yours is for that bought nothing yet
    Claim(Box<claim::Claim>),
    /// What a receipt says, proved by the seller's log
    #[command(subcommand)]
    Receipt(receipt::Receipt),
    /// Change the password or the name of a login that your wallet has bought
    ChangeLogin(Box<claim::ChangeLogin>),
    /// Pay for an offer from a key file
    Pay(pay::Pay),
    /// Keep a key file: make one, show its address and balance, ask a faucet
    #[command(subcommand)]
    Wallet(pay::Wallet),
    /// Sell: publish, withdraw and list offers
    #[command(subcommand)]
    Offer(offer::Offer),
    /// Logins: register, change, suspend and list them
    #[command(subcommand)]
    Subscriber(subscriber::Subscriber),
    /// Rights without end: give, remove and list them
    #[command(subcommand)]
    Rule(rule::Rule),
    /// What was bought: list leases and payments, revoke a lease
    #[command(subcommand)]
    Lease(lease::Lease),
    /// Ask what the gate would say
    #[command(subcommand)]
    Access(access::Access),
    /// Publish a real household's power readings as a smart plug would
    Plug(plug::Plug),
    /// Read the event log
    #[command(subcommand)]
    Log(log::Log),
    /// Ask the log: why, what, how much, at any past moment; and check it
    #[command(subcommand)]
    Audit(audit::Audit),
    /// The key that the engine's secrets are wrapped under
    #[command(subcommand)]
    MasterKey(master_key::MasterKeyCommand),
    /// How the running engine is, as JSON
    Status,
    /// Print the annotated example configuration
    Config,
    /// Measure, side by side with the floor of what is possible
    #[command(subcommand)]
    Bench(bench::Bench),
}

/// Runs the command line that this process was given.
pub async fn run() -> ExitCode {
    let cli = Cli::parse();
    match dispatch(cli).await {
        Ok(code) => code,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

#[expect(
    clippy::print_stderr,
    reason = "the one place where a command says why it failed"
)]
fn complain(error: &anyhow::Error) {
    // Others' words may be among ours: nothing in them moves the cursor.
    let mut story = whole_story(error.chain());
    story.retain(|it| !it.is_control() || it == '\n');
    eprintln!("tanglegate: {story}");
}

/// The messages of an error and its causes; a cause that was told already is not repeated.
fn whole_story<'a>(chain: impl Iterator<Item = &'a (dyn std::error::Error + 'static)>) -> String {
    let mut story = String::new();
    for cause in chain.map(ToString::to_string) {
        if !story.contains(&cause) {
            let colon = if story.is_empty() { "" } else { ": " };
            story.push_str(colon);
            story.push_str(&cause);
        }
    }
    story
}

async fn dispatch(cli: Cli) -> anyhow::Result<ExitCode> {
    let common = &cli.common;
    match cli.command {
        Command::Serve => serve::run(common).await?,
        Command::Demo(demo) => return demo.run().await,
        Command::Devnet(devnet) => devnet.run().await?,
        Command::Buy(buy) => return Ok(buy.run().await),
        Command::Claim(claim) => claim.run().await?,
        Command::ChangeLogin(change) => change.run().await?,
        Command::Offers(offers) => offers.run().await?,
        Command::Receipt(receipt) => return Ok(receipt.run().await),
        Command::Pay(pay) => pay.run().await?,
        Command::Wallet(wallet) => wallet.run().await?,
        Command::Offer(offer) => offer.run(common).await?,
        Command::Subscriber(subscriber) => subscriber.run(common).await?,
        Command::Rule(rule) => rule.run(common).await?,
        Command::Lease(lease) => lease.run(common).await?,
        Command::Audit(audit) => return Ok(audit.run(common).await),
        Command::Access(access) => return Ok(access.run(common).await),
        Command::Plug(plug) => plug.run().await?,
        Command::Log(log) => log.run(common).await?,
        Command::MasterKey(command) => command.run(common).await?,
        Command::Status => {
            let status: serde_json::Value = common.control()?.get(&["v1", "status"]).await?;
            println!("{}", serde_json::to_string_pretty(&status)?);
        }
        Command::Config => print!("{}", crate::config::EXAMPLE),
        Command::Bench(bench) => bench.run().await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Completes when a person or the system asks the process to end.
pub(crate) async fn asked_to_end() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        let cause = std::io::Error::other("no such file");
        let error = anyhow::Error::new(cause)
            .context("reading x: no such file")
            .context("start");
        assert_eq!(whole_story(error.chain()), "start: reading x: no such file");
    }

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
