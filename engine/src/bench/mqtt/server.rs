//! The two servers: a gate in a process of its own, and Mosquitto with the same rights.

use super::process::processor_time;
use super::scene::Scene;
use anyhow::{Context, bail, ensure};
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take to start: Mosquitto reads its ACL file in quadratic time.
const START: Duration = Duration::from_secs(60);

/// How a server treats sessions whose client is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Memory {
    /// Nothing outlives the process.
    None,
    /// They survive its end. The gate answers once the operating system has what is to be kept,
    /// Mosquitto at once: it writes its file now and then.
    System,
    /// The same, but the gate answers once the disk has it.
    Disk,
}

impl Memory {
    /// As the gate that is measured is told; `None` without a store.
    fn safety(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::System => Some("system"),
            Self::Disk => Some("disk"),
        }
    }
}

/// Where the files of the servers lie; removed when dropped.
pub(super) struct Ground {
    folder: PathBuf,
    /// The `tanglegate` program.
    program: PathBuf,
    /// Mosquitto's, if it is installed.
    rival: Option<PathBuf>,
}

impl Ground {
    /// Writes the files for the gate, and for Mosquitto if it is `compared` and installed.
    pub(super) fn prepare(program: PathBuf, scene: &Scene, compared: bool) -> anyhow::Result<Self> {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
        let name = format!(
            "tanglegate-bench-{}-{}",
            std::process::id(),
            since.as_nanos()
        );
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder)?;
        let rival = find("mosquitto").filter(|_| compared);
        let ground = Self {
            folder,
            program,
            rival,
        };
        std::fs::write(ground.folder.join("scene"), scene.to_text())?;
        std::fs::write(ground.folder.join("acl"), scene.to_acl_file())?;
        if ground.rival.is_some() {
            let passwords = ground.folder.join("passwords");
            std::fs::write(&passwords, scene.to_password_file())?;
            let hasher = find("mosquitto_passwd").context("mosquitto_passwd is not installed")?;
            let hashed = Command::new(hasher).arg("-U").arg(&passwords).status()?;
            ensure!(hashed.success(), "mosquitto_passwd: {hashed}");
        }
        Ok(ground)
    }

    /// The command lines of what is started, and Mosquitto's configuration.
    pub(super) fn describe(&self) -> String {
        let (program, folder) = (self.program.display(), self.folder.display());
        let gate = format!("gate: {program} bench gate --scene {folder}/scene\n");
        let Some(rival) = &self.rival else {
            let missing =
                "Mosquitto is not installed: no comparison. With Debian: apt install mosquitto\n";
            return gate + missing;
        };
        let configuration = self.configuration(1883, Memory::None, &self.folder);
        format!(
            "{gate}Mosquitto: {} -c {folder}/mosquitto-1.conf, which is\n    {}\n\n",
            rival.display(),
            configuration.trim_end().replace('\n', "\n    ")
        )
    }

    /// Starts the gate.
    pub(super) fn start_gate(&self, memory: Memory) -> anyhow::Result<Server> {
        let mut command = Command::new(&self.program);
        command.args(["bench", "gate", "--scene"]);
        command.arg(self.folder.join("scene"));
        if let Some(safety) = memory.safety() {
            let (store, _) = self.numbered("store")?;
            command.arg("--store").arg(store).args(["--safety", safety]);
        }
        let text = words(&command);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start {text}"))?;
        let mut line = String::new();
        if let Some(output) = child.stdout.take() {
            BufReader::new(output).read_line(&mut line)?;
        }
        let mut server = Server {
            name: "gate",
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            command: text,
            child,
        };
        server.address = match line.trim().parse() {
            Ok(address) => address,
            Err(_) => bail!("{} does not say where it listens: {line:?}", server.command),
        };
        Ok(server)
    }

    /// Starts Mosquitto, if it is installed.
    pub(super) fn start_rival(&self, memory: Memory) -> anyhow::Result<Option<Server>> {
        let Some(binary) = &self.rival else {
            return Ok(None);
        };
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
            .local_addr()?
            .port();
        let (folder, config) = self.numbered("mosquitto")?;
        std::fs::write(&config, self.configuration(port, memory, &folder))?;
        let mut command = Command::new(binary);
        command.arg("-c").arg(&config);
        let text = words(&command);
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {text}"))?;
        let server = Server {
            name: "Mosquitto",
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            command: text,
            child,
        };
        let begun = Instant::now();
        while TcpStream::connect(server.address).is_err() {
            ensure!(
                begun.elapsed() < START,
                "{} does not listen",
                server.command
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(Some(server))
    }

    /// Nothing that would slow Mosquitto down, and no bound that would make it drop what the
    /// gate delivers. Started by root it keeps root's bound on open files only when told so.
    fn configuration(&self, port: u16, memory: Memory, folder: &Path) -> String {
        let persistence = match memory {
            Memory::None => "persistence false".to_owned(),
            Memory::System | Memory::Disk => format!(
                "persistence true\npersistence_location {}/\nautosave_interval 1800",
                folder.display()
            ),
        };
        format!(
            "listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {0}/passwords\n\
             acl_file {0}/acl\n{persistence}\nlog_type none\nset_tcp_nodelay true\n\
             max_inflight_messages 1000\nmax_queued_messages 0\nuser root\n",
            self.folder.display()
        )
    }

    /// A new folder of that name, and the name of a file beside it.
    fn numbered(&self, name: &str) -> anyhow::Result<(PathBuf, PathBuf)> {
        let mut number = 1;
        loop {
            let folder = self.folder.join(format!("{name}-{number}"));
            match std::fs::create_dir(&folder) {
                Ok(()) => {
                    let file = self.folder.join(format!("{name}-{number}.conf"));
                    return Ok((folder, file));
                }
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        // What stays behind lies in the folder for such things.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A running server; killed when dropped.
pub(super) struct Server {
    pub(super) name: &'static str,
    pub(super) address: SocketAddr,
    /// How it was started.
    pub(super) command: String,
    child: Child,
}

impl Server {
    pub(super) fn process(&self) -> u32 {
        self.child.id()
    }

    /// Seconds of processor time so far.
    pub(super) fn processor_time(&self) -> anyhow::Result<f64> {
        processor_time(self.process())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Both servers with the same rights.
pub(super) struct Pair {
    pub(super) gate: Server,
    pub(super) rival: Option<Server>,
}

impl Pair {
    pub(super) fn start(ground: &Ground, memory: Memory) -> anyhow::Result<Self> {
        Ok(Self {
            gate: ground.start_gate(memory)?,
            rival: ground.start_rival(memory)?,
        })
    }
}

/// The address of a gate that was started as a server of a measurement, for [`Ground`] to read.
///
/// # Errors
/// When nobody reads it.
pub(super) fn announce(address: SocketAddr) -> std::io::Result<()> {
    let mut output = std::io::stdout();
    writeln!(output, "{address}")?;
    output.flush()
}

fn words(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|it| it.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|it| it.join(program))
        .find(|it| it.is_file())
}
