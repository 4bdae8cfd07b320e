//! Against a real Mosquitto, which is not ours: the plug must work with any broker.

use super::*;
use crate::plug::Login;
use crate::postgres::testing::TestFolder;
use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use tokio::sync::oneshot;

const PASSWORD: &str = "correct horse";

/// A Mosquitto that knows the users `plug` and `reader`; it ends with this value.
struct Mosquitto {
    folder: TestFolder,
    process: Child,
    port: u16,
}

impl Mosquitto {
    async fn start() -> Mosquitto {
        let folder = TestFolder::create().expect("a folder");
        // As root it drops to another account, which must read these files.
        let passwords = folder.path().join("passwords");
        fs::write(&passwords, format!("plug:{PASSWORD}\nreader:{PASSWORD}\n")).expect("written");
        let hashed = Command::new("mosquitto_passwd")
            .arg("-U")
            .arg(&passwords)
            .status();
        assert!(
            hashed
                .expect("Mosquitto is installed, ./test does so")
                .success()
        );
        let acl = "user plug\ntopic write sensor/#\nuser reader\ntopic read sensor/#\n";
        fs::write(folder.path().join("acl"), acl).expect("written");
        for name in ["passwords", "acl"] {
            set_mode(&folder.path().join(name), 0o644);
        }
        // Mosquitto does not choose a port itself, so somebody else may take it first.
        for _ in 0..10 {
            let free = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr());
            let port = free.expect("a free port").port();
            if let Some(process) = launch(&folder, port).await {
                return Mosquitto {
                    folder,
                    process,
                    port,
                };
            }
        }
        panic!("no Mosquitto came up");
    }

    fn kill(&mut self) {
        self.process
            .kill()
            .and_then(|()| self.process.wait())
            .expect("our child");
    }

    async fn restart(&mut self) {
        self.process = launch(&self.folder, self.port)
            .await
            .expect("its port is still free");
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.kill();
    }
}

fn set_mode(path: &std::path::Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
}

async fn launch(folder: &TestFolder, port: u16) -> Option<Child> {
    let path = |name: &str| folder.path().join(name).display().to_string();
    let configuration = format!(
        "listener {port} 127.0.0.1\nallow_anonymous false\nmax_inflight_messages 0\n\
         password_file {}\nacl_file {}\n",
        path("passwords"),
        path("acl")
    );
    fs::write(path("conf"), configuration).expect("written");
    let program = ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"].map(PathBuf::from);
    let program = program
        .into_iter()
        .find(|it| it.exists())
        .unwrap_or("mosquitto".into());
    let mut process = Command::new(program)
        .args(["-c", &path("conf")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("Mosquitto is installed, ./test does so");
    for _ in 0..500 {
        if process.try_wait().expect("our child").is_some() {
            return None;
        }
        if tokio::net::TcpStream::connect(("127.0.0.1", port))
            .await
            .is_ok()
        {
            return Some(process);
        }
        sleep(Duration::from_millis(10)).await;
    }
    process
        .kill()
        .and_then(|()| process.wait())
        .expect("our child");
    None
}

fn login(username: &str) -> Option<Login> {
    let password = PASSWORD.to_owned().into();
    Some(Login {
        username: username.to_owned(),
        password,
    })
}

fn settings(broker: &Mosquitto) -> Settings {
    Settings {
        login: login("plug"),
        interval: Duration::from_millis(20),
        ..Settings::new("127.0.0.1", broker.port)
    }
}

/// A plug that runs until the returned sender is used or dropped.
fn plug(settings: Settings) -> (oneshot::Sender<()>, tokio::task::JoinHandle<()>) {
    let (stop, stopped) = oneshot::channel();
    let shutdown = async move { drop(stopped.await) };
    let running = tokio::spawn(async { run(settings, shutdown).await.expect("right settings") });
    (stop, running)
}

/// Whoever has subscribed to `sensor/#`.
struct Reader(EventLoop);

impl Reader {
    async fn subscribe(broker: &Mosquitto) -> Reader {
        let reader = Settings {
            login: login("reader"),
            client_id: "reader".to_owned(),
            ..Settings::new("127.0.0.1", broker.port)
        };
        let (client, events) = AsyncClient::new(options(&reader), WAITING);
        client
            .subscribe("sensor/#", QoS::AtLeastOnce)
            .await
            .expect("queued");
        Reader(events)
    }

    /// The next message: topic, whether it was retained, text.
    async fn next(&mut self) -> (String, bool, String) {
        let message = async {
            loop {
                if let Event::Incoming(Packet::Publish(publish)) =
                    self.0.poll().await.expect("the broker serves")
                {
                    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                    return (text(&publish.topic), publish.retain, text(&publish.payload));
                }
            }
        };
        timeout(Duration::from_secs(20), message)
            .await
            .expect("a message comes")
    }

    async fn next_on(&mut self, topic: &str) -> (bool, String) {
        loop {
            let (on, retained, text) = self.next().await;
            if on == topic {
                return (retained, text);
            }
        }
    }
}

#[tokio::test]
async fn the_power_goes_out_live_and_its_mean_is_retained() {
    let broker = Mosquitto::start().await;
    let (stop, running) = plug(settings(&broker));
    let mut reader = Reader::subscribe(&broker).await;
    for _ in 0..3 {
        assert_eq!(
            reader.next_on("sensor/live").await,
            (false, "326000".to_owned())
        );
        assert_eq!(reader.next_on("sensor/1m").await.1, "326000");
    }
    drop(stop);
    running.await.expect("no panic");
    let mut late = Reader::subscribe(&broker).await;
    assert_eq!(
        late.next().await,
        ("sensor/1m".to_owned(), true, "326000".to_owned())
    );
}

#[tokio::test]
async fn at_a_higher_speed_the_mean_follows_the_recording() {
    let broker = Mosquitto::start().await;
    let mut reader = Reader::subscribe(&broker).await;
    let csv = "power\n1\n3\n";
    let recording = crate::plug::Recording::parse(
        csv,
        "power",
        crate::plug::Unit::Watt,
        Duration::from_secs(30),
    );
    let recording = recording.expect("parsed");
    // A minute of the recording passes in 0.6 s: by then the mean is that of both rows.
    let (stop, running) = plug(Settings {
        recording,
        speed: 100,
        ..settings(&broker)
    });
    let deadline = Instant::now() + Duration::from_secs(20);
    let near = 1900..=2100;
    while !near.contains(
        &reader
            .next_on("sensor/1m")
            .await
            .1
            .parse()
            .expect("a number"),
    ) {
        assert!(Instant::now() < deadline, "the mean does not settle");
    }
    let lives = [
        reader.next_on("sensor/live").await.1,
        reader.next_on("sensor/live").await.1,
    ];
    assert!(
        lives.iter().all(|live| live == "1000" || live == "3000"),
        "{lives:?}"
    );
    drop(stop);
    running.await.expect("no panic");
}

#[tokio::test]
async fn after_the_broker_died_the_plug_comes_back() {
    let mut broker = Mosquitto::start().await;
    let (stop, running) = plug(settings(&broker));
    Reader::subscribe(&broker)
        .await
        .next_on("sensor/live")
        .await;
    broker.kill();
    sleep(Duration::from_millis(300)).await;
    broker.restart().await;
    Reader::subscribe(&broker)
        .await
        .next_on("sensor/live")
        .await;
    drop(stop);
    running.await.expect("no panic");
}

#[tokio::test]
async fn a_plug_that_is_not_let_in_still_ends_when_asked() {
    let broker = Mosquitto::start().await;
    let wrong = Login {
        username: "plug".to_owned(),
        password: "wrong".to_owned().into(),
    };
    let (stop, running) = plug(Settings {
        login: Some(wrong),
        ..settings(&broker)
    });
    let mut reader = Reader::subscribe(&broker).await;
    let silence = timeout(Duration::from_millis(500), reader.next_on("sensor/live")).await;
    assert!(
        silence.is_err(),
        "nobody publishes without the right password"
    );
    drop(stop);
    timeout(Duration::from_secs(1), running)
        .await
        .expect("at once")
        .expect("no panic");
}

#[test]
fn waiting_grows_to_half_a_minute_and_differs_between_plugs() {
    assert_eq!(back_off(0, 0), Duration::from_millis(250));
    assert_eq!(back_off(0, 255), Duration::from_millis(500));
    assert_eq!(back_off(3, 255), Duration::from_secs(4));
    assert_eq!(back_off(u32::MAX, 255), Duration::from_secs(30));
    assert_eq!(back_off(u32::MAX, 0), Duration::from_secs(15));
}
