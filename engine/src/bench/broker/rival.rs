//! Mosquitto, with an ACL file that gives the same rights.

use super::{READER, TOPIC, WRITER};
use anyhow::Context;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long it may take to start.
const START: Duration = Duration::from_secs(10);

/// A running Mosquitto; killed when dropped.
pub(super) struct Mosquitto {
    child: Child,
    address: SocketAddr,
    folder: PathBuf,
}

impl Mosquitto {
    /// Starts one on a free port; `None` when it is not installed.
    pub(super) async fn start() -> anyhow::Result<Option<Self>> {
        match find() {
            Some(binary) => {
                tokio::task::spawn_blocking(move || Self::spawn(&binary).map(Some)).await?
            }
            None => Ok(None),
        }
    }

    fn spawn(binary: &Path) -> anyhow::Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
            .local_addr()?
            .port();
        let folder =
            std::env::temp_dir().join(format!("tanglegate-bench-{}-{port}", std::process::id()));
        std::fs::create_dir(&folder)?;
        let (rights, config) = (folder.join("acl"), folder.join("mosquitto.conf"));
        std::fs::write(
            &rights,
            format!("user {WRITER}\ntopic write {TOPIC}\nuser {READER}\ntopic read {TOPIC}\n"),
        )?;
        // Nothing that would slow it down, and no bound that would make it drop what the gate
        // delivers. It keeps its file descriptors' rights as root only when told so.
        std::fs::write(
            &config,
            format!(
                "listener {port} 127.0.0.1\nallow_anonymous true\nacl_file {}\npersistence false\n\
             log_type none\nset_tcp_nodelay true\nmax_inflight_messages 1000\n\
             max_queued_messages 0\nuser root\n",
                rights.display()
            ),
        )?;
        let child = Command::new(binary)
            .arg("-c")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let started = Self {
            child,
            address,
            folder,
        };
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            anyhow::ensure!(
                begun.elapsed() < START,
                "Mosquitto does not listen on {address}"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(started)
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn process(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|it| it.join("mosquitto"))
        .find(|it| it.is_file())
}
