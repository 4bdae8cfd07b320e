//! The log answers, and convinces people who do not trust us.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use tanglegate::control::{AnchorRequest, Control, Outcome};
use tanglegate_core::Digest;
use tanglegate_crypto::{Frontier, HeadKey, TreeHead};

use crate::client::told;
use crate::metrics::ask;
use crate::process::eventually;
use crate::raw::{Raw, V5};
use crate::shop::{Said, Shop, finish, path};

/// A shop in which ana has bought an hour, and whose heads are signed every second.
struct Audited {
    shop: Shop,
    /// Her identity.
    ana: String,
    /// The transaction of her payment, and where its lease stands in the log.
    digest: String,
    granted: u64,
    /// The public key of tree heads.
    key: String,
}

impl Audited {
    fn new() -> Self {
        let mut shop = Shop::closed();
        let config = fs::read_to_string(shop.config()).unwrap();
        let heads = "[heads]\norigin = \"log.example.org\"\nevery_s = 1\n";
        let metrics = "[metrics]\nlisten = \"127.0.0.1:0\"\n";
        fs::write(shop.config(), config + heads + metrics).unwrap();
        shop.start();
        shop.register("ana");
        shop.open_for_business();
        shop.buy("ana", 3_600);
        shop.lease_end("ana");
        let logins = shop.rows(&["subscriber", "list"]);
        let ana = logins.iter().find(|it| it["username"] == "ana").unwrap();
        let ana = text(ana, "subscriber");
        let digest = text(&shop.payments()[0], "digest");
        let mut audited = Self {
            shop,
            ana,
            digest,
            granted: 0,
            key: String::new(),
        };
        audited.granted = audited.chain("lease_granted");
        audited.covered(audited.granted);
        audited.key = audited.shop.say(&["audit", "key"]).trim().to_owned();
        audited
    }

    fn audit(&self, arguments: &[&str]) -> Said {
        self.shop.run(&[&["audit"], arguments].concat())
    }

    /// What an audit says, and whether it says yes.
    fn answer(&self, arguments: &[&str]) -> (String, bool) {
        told_by(arguments, self.audit(arguments))
    }

    fn yes(&self, arguments: &[&str]) -> String {
        let (said, yes) = self.answer(arguments);
        assert!(yes, "{arguments:?}: {said}");
        said
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let said = self.answer(&[arguments, &["--json"]].concat()).0;
        serde_json::from_str(&said).unwrap_or_else(|it| panic!("{arguments:?}: {it}: {said}"))
    }

    /// Where the last event of a kind stands behind ana's right.
    fn chain(&self, kind: &str) -> u64 {
        let answer = self.json(&["explain", "--user=ana", "--topic=sensor/live"]);
        let chain = answer["chain"].as_array().unwrap();
        let event = chain.iter().rfind(|it| it["kind"] == kind);
        event.expect(kind)["position"].as_u64().unwrap()
    }

    /// Waits for a tree head over an event.
    fn covered(&self, position: u64) {
        eventually("a tree head covers it", || {
            let heads = self.json(&["heads"]);
            let newest = heads[0]["size"].as_u64()?;
            (newest >= position).then_some(())
        });
    }

    fn file(&self, name: &str) -> PathBuf {
        self.shop.folder.path().join(name)
    }

    /// Writes a file of the auditor's.
    fn keep(&self, name: &str, content: &str) -> PathBuf {
        let file = self.file(name);
        fs::write(&file, content).unwrap();
        file
    }

    fn mosquitto(&self, topic: &str) -> String {
        let arguments = ["-t", topic, "-C", "1", "-W", "20"];
        let said = told("mosquitto_sub", self.shop.port(), "5", None, &arguments);
        let said = said.strip_suffix(" [exit status: 0]");
        said.expect("it is told, to somebody without a login")
            .to_owned()
    }

    fn database(&self, statement: &str) -> Result<(), sqlx::Error> {
        run_at(&self.shop, &self.shop.database_url(), statement)
    }
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().expect(field).to_owned()
}

/// 0 is yes, 1 is no, and anything else is no answer.
fn told_by(arguments: &[&str], said: Said) -> (String, bool) {
    let answered = matches!(said.code, Some(0 | 1)) && said.err.is_empty();
    assert!(answered, "{arguments:?}: {said:?}");
    (said.out, said.success)
}

fn run_at(shop: &Shop, url: &str, statement: &str) -> Result<(), sqlx::Error> {
    let statement = sqlx::AssertSqlSafe(statement.to_owned());
    shop.block_on(async {
        let mut connection = PgConnection::connect(url).await?;
        sqlx::raw_sql(statement).execute(&mut connection).await?;
        connection.close().await
    })
}

/// What the example for Python says about a file; `-S` hides what is not in its standard library.
fn python(options: &[&str], arguments: &[&str]) -> Said {
    // Debian's own, for which `./test` installs the package that checks signatures.
    let debian = Path::new("/usr/bin/python3");
    let program = if debian.exists() {
        debian
    } else {
        Path::new("python3")
    };
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../docs/examples/verify_export.py"
    );
    let mut command = Command::new(program);
    finish(command.args(options).arg(script).args(arguments), "")
}

/// What has to hold at any time, whoever asks; `ask` runs an audit.
fn everything_holds(ask: impl Fn(&[&str]) -> (String, bool), granted: u64, who: &[&str]) {
    let at = granted.to_string();
    let then = ["--topic=sensor/live", "--at", &at];
    for question in [
        [&["explain"], who, &then].concat(),
        vec!["money", "--accounts"],
        vec!["replay"],
        vec!["state"],
        vec!["verify"],
        vec!["heads"],
        vec!["key"],
        vec!["prove", "--event", &at],
    ] {
        let (said, yes) = ask(&question);
        assert!(yes, "{question:?}: {said}");
    }
}

#[test]
fn ana_asks_why_and_the_operator_where_the_money_is() {
    let audited = Audited::new();
    let (granted, ana) = (audited.granted, &audited.ana);
    let ask = ["explain", "--user=ana", "--topic=sensor/live"];

    let said = audited.yes(&ask);
    assert!(said.starts_with("yes: a lease of plug-hour gave read on sensor/live until "));
    let asked = format!("asked about 'ana' (subscriber {ana}) at ");
    assert!(said.contains(&asked), "{said}");
    let transaction = format!("ledger transaction {}\n", audited.digest);
    assert!(said.contains(&transaction), "{said}");
    let answer = audited.json(&ask);
    let chain = answer["chain"].as_array().unwrap();
    let kinds: Vec<String> = chain.iter().map(|it| text(it, "kind")).collect();
    let bought = ["payment_confirmed", "payment_applied", "lease_granted"];
    assert_eq!(kinds[2..], bought);
    assert_eq!(text(&chain[2], "transaction"), audited.digest);

    // Before the payment, by position and by instant; and before she was known.
    let before = (granted - 3).to_string();
    let instant = text(&chain[1], "recorded_at");
    for when in [&before, &instant] {
        let (said, yes) = audited.answer(&[&ask[..], &["--at", when]].concat());
        assert!(!yes && said.starts_with("no: no right to read sensor/live"));
        assert!(said.contains("last allowed: never before"), "{said}");
    }
    let unknown = audited.answer(&[&ask[..], &["--at=1"]].concat());
    assert!(!unknown.1 && unknown.0.starts_with("no: there was no such login yet"));
    for (nonsense, remedy) in [
        (
            vec!["explain", "--user=eve", "--topic=x"],
            "subscriber list",
        ),
        (vec!["explain", "--user=ana"], "--topic sensor/live"),
        (
            vec!["explain", "--user=ana", "--topic=x", "--at=noon"],
            "noon",
        ),
        (vec!["payment", "xx"], "base58"),
        (
            vec!["prove", "--event=9999"],
            "no tree head covers event 9999",
        ),
    ] {
        let said = audited.audit(&nonsense);
        assert_eq!(said.code, Some(2), "{said:?}");
        assert!(said.out.is_empty() && said.err.contains(remedy), "{said:?}");
    }

    let payment = ["payment", &audited.digest];
    assert!(audited.yes(&payment).contains("booked for subscriber"));
    assert_eq!(audited.json(&payment)[0]["booked"], true);
    let money = audited.json(&["money"]);
    let iota = 360_000_000;
    assert_eq!(
        (&money["came_in"], &money["spent"]),
        (&iota.into(), &iota.into())
    );
    assert_eq!(money["by_subscriber"][ana]["paid"], iota);
    let said = audited.yes(&["money", "--accounts"]);
    assert!(
        said.contains("with 1 payment ") && said.contains("paid by ana"),
        "{said}"
    );
    assert_eq!(audited.json(&["replay"])["same"], true);
    let lease = |at: &str| {
        let state = audited.json(&["state", "--at", at]);
        let rights = state["access"].as_array().unwrap().clone();
        rights.into_iter().find(|it| it["who"] == **ana)
    };
    assert_eq!(lease("now").unwrap()["in_force"], true);
    let said = audited.yes(&["state"]);
    assert!(said.contains("\nana "), "people read names: {said}");
    assert_eq!(lease(&before), None);
}

#[test]
fn a_stranger_is_convinced_without_trusting_us() {
    let audited = Audited::new();
    let key = &*audited.key;
    let file = audited.file("log.jsonl");
    let file = path(&file);
    let trusting = ["--key", key];

    // Heads are told to anybody, and by nobody but the engine.
    let head = audited.mosquitto("$SYS/access/log/head");
    assert!(head.starts_with("log.example.org\n"), "{head}");
    assert_eq!(audited.mosquitto("$SYS/access/log/key").trim(), key);
    let status = audited.shop.status();
    let address = text(&status, "metrics");
    assert_eq!(ask(&address, "GET /log/head").1, head[..head.len() - 1]);
    assert_eq!(ask(&address, "GET /log/key").1.trim(), key);
    let mut stranger = Raw::enter(audited.shop.port(), V5, None);
    for topic in ["$SYS/access/log/head", "$SYS/access/log/key"] {
        let refused = stranger.publish(topic, "a forged one");
        assert!(refused.says("topics that begin with $"), "{refused:?}");
    }
    assert_eq!(audited.mosquitto("$SYS/access/log/head"), head);
    let kept = audited.keep("head.txt", &head);
    let kept = ["verify", "--key", key, "--head", path(&kept)];

    // The log, the file, and the file without any program of ours.
    assert!(audited.yes(&kept).starts_with("whole: "));
    assert_eq!(audited.json(&kept)["whole"], true);
    audited.yes(&["export", file]);
    let check = [&["verify", file], &kept[1..]].concat();
    assert!(
        audited
            .yes(&check)
            .contains("(1 of them from outside of it)")
    );
    let said = python(&[], &[&[file], &trusting[..]].concat());
    assert!(
        said.success && said.out.contains("the signatures hold"),
        "{said:?}"
    );
    let said = python(&["-S"], &[file]);
    assert!(
        said.success && said.out.contains("SIGNATURES WERE NOT CHECKED"),
        "{said:?}"
    );
    assert_eq!(
        python(&["-S"], &[&[file], &trusting[..]].concat()).code,
        Some(2)
    );

    // A changed amount, in a file that is valid otherwise.
    let honest = fs::read_to_string(file).unwrap();
    let forged = audited.keep(
        "forged.jsonl",
        &honest.replacen("1a15752a00", "1a15752a01", 1),
    );
    assert_ne!(honest, fs::read_to_string(&forged).unwrap());
    let (said, whole) = audited.answer(&["verify", path(&forged)]);
    assert!(!whole && said.starts_with("NOT WHOLE: "), "{said}");
    assert_eq!(python(&[], &[path(&forged)]).code, Some(1));

    // Ana's part proves as much, and says nothing about the plug.
    let hers = audited.file("ana.jsonl");
    audited.yes(&["export", path(&hers), "--user=ana"]);
    let check = ["verify", path(&hers), "--key", key];
    assert_eq!(
        audited.json(&check)["found"]["withheld"],
        2,
        "the plug and its rule"
    );
    let said = python(&[], &[path(&hers), "--key", key]);
    assert!(
        said.success && said.out.contains("(2 of them withheld)"),
        "{said:?}"
    );

    // One event, one page.
    let position = audited.granted.to_string();
    let proof = audited.yes(&["prove", "--event", &position]);
    let other = format!("\"index\": {},", audited.granted);
    let index = format!("\"index\": {},", audited.granted - 1);
    let changed = proof.replacen(&index, &other, 1);
    let proof = audited.keep("proof.json", &proof);
    let proof = ["check", path(&proof), "--key", key];
    assert!(audited.yes(&proof).starts_with("it holds: event "));
    let changed = audited.keep("changed.json", &changed);
    let changed = ["check", path(&changed), "--key", key];
    assert!(!audited.answer(&changed).1);
    let (right, wrong) = (audited.json(&proof), audited.json(&changed));
    assert_eq!(
        (&right["holds"], &wrong["holds"]),
        (&true.into(), &false.into())
    );

    // A new key, signed in by the last one.
    let fresh = audited.yes(&["rotate-key"]).trim().to_owned();
    assert_ne!(fresh, key);
    assert_eq!(audited.yes(&["key"]).trim(), fresh);
    eventually("the new key is told", || {
        (audited.mosquitto("$SYS/access/log/key").trim() == fresh).then_some(())
    });
    for trusted in [key, &fresh] {
        audited.yes(&["verify", "--key", trusted]);
    }
    audited.yes(&proof);
    let (said, holds) = audited.answer(&["check", proof[1], "--key", &fresh]);
    assert!(
        !holds && said.contains("no signature of"),
        "it is older: {said}"
    );
    let more = audited.yes(&["export", file, "--resume"]);
    assert!(more.contains(", 1 of them added now"), "{more}");
    for trusted in [key, &fresh] {
        audited.yes(&["verify", file, "--key", trusted]);
        let said = python(&[], &[file, "--key", trusted]);
        assert!(said.success, "{said:?}");
    }
    let size = head.lines().nth(1).unwrap();
    let grown = audited.yes(&["prove", "--since", size]);
    let grown = audited.keep("grown.json", &grown);
    assert!(
        audited
            .yes(&["check", path(&grown), "--key", key])
            .contains("begins with")
    );
}

/// A file that somebody made who has a retired key: the log up to the head that both keys have
/// signed, whose last event, the adoption of the new key, is withheld; then what he likes.
struct Forged {
    /// Up to that head.
    honest: String,
    /// What follows it.
    tail: String,
}

impl Forged {
    fn of(audited: &Audited, stolen: &HeadKey) -> Self {
        let file = audited.file("rotated.jsonl");
        audited.yes(&["export", path(&file)]);
        let text = fs::read_to_string(&file).unwrap();
        let mut events = text.lines().filter(|it| it.contains("\"stream\""));
        let adoption = events.next_back().unwrap().to_owned();
        assert!(adoption.contains("head_key_adopted"), "{adoption}");
        let event: Value = serde_json::from_str(&adoption).unwrap();
        let last = event["position"].as_u64().unwrap();
        let mut leaves: Vec<String> = (1..=last)
            .map(|it| {
                let proof = audited.yes(&["prove", "--event", &it.to_string()]);
                text_of(&proof, "leaf")
            })
            .collect();
        let withheld = |at: u64, leaf: &str| format!("{{\"position\":{at},\"leaf\":\"{leaf}\"}}");
        let honest = text.replace(&adoption, &withheld(last, leaves.last().unwrap()));
        leaves.push("07".repeat(32));
        let mut frontier = Frontier::default();
        for leaf in &leaves {
            frontier.push(hex::decode(leaf).unwrap().try_into().unwrap());
        }
        let (size, root) = (last + 1, frontier.root());
        let origin = stolen.verifier().origin().clone();
        let head = TreeHead { origin, size, root }.sign(&[stolen]);
        let commit = json!({"previous_size": last, "size": size, "root": hex::encode(root)});
        let lines = [
            withheld(size, &leaves[leaves.len() - 1]),
            commit.to_string(),
            json!({"head": head}).to_string(),
        ];
        let tail = lines.map(|it| it + "\n").concat();
        Self { honest, tail }
    }
}

fn text_of(object: &str, field: &str) -> String {
    text(&serde_json::from_str(object).unwrap(), field)
}

#[test]
fn a_stolen_retired_key_convinces_nobody_who_has_the_new_one() {
    let audited = Audited::new();
    let kept = fs::read_to_string(audited.shop.data().join("keys/log.key")).unwrap();
    let stolen = HeadKey::from_text(kept.trim_end()).unwrap();
    let fresh = audited.yes(&["rotate-key"]).trim().to_owned();
    let Forged { honest, tail } = Forged::of(&audited, &stolen);
    let title = "{\"format\":\"tanglegate-log\",\"version\":1";
    let whose = format!("{title},\"subject\":\"{}\"", audited.ana);
    let of_ana = honest.replacen(title, &whose, 1);
    for (name, content, whole) in [
        ("hers.jsonl", of_ana.clone(), true),
        ("forged.jsonl", of_ana + &tail, false),
        ("everybodys.jsonl", honest, false),
    ] {
        let file = audited.keep(name, &content);
        let trusting = [path(&file), "--key", &fresh];
        let (said, found) = audited.answer(&[&["verify"], &trusting[..]].concat());
        assert_eq!(found, whole, "{name}: {said}");
        let said = python(&[], &trusting);
        assert_eq!(said.success, whole, "{name}: {said:?}");
    }
}

#[test]
fn a_transaction_anchors_one_tree_head_for_ever() {
    let audited = Audited::new();
    let before = audited.json(&["heads"])[0].clone();
    audited.shop.register("bob");
    audited.covered(before["size"].as_u64().unwrap() + 1);
    let after = audited.json(&["heads"])[0].clone();
    let socket = audited.shop.data().join("run/control.sock");
    let door = Control::new(&socket).unwrap();
    let tell = |head: &Value, transaction: [u8; 32]| {
        let request = AnchorRequest {
            size: head["size"].as_u64().unwrap(),
            root: text(head, "root"),
            transaction: Digest(transaction).to_string(),
        };
        let told = door.post::<Outcome>(&["v1", "log", "anchors"], &request);
        audited.shop.block_on(told)
    };
    let (one, mut two) = ([5; 32], [5; 32]);
    two[31] = 6;
    let first = tell(&before, one).unwrap();
    assert!(!first.before, "{first:?}");
    let again = tell(&before, one).unwrap();
    assert!(again.before && again.position == first.position);
    let refused = tell(&after, one).unwrap_err().to_string();
    assert!(refused.contains("another tree head"), "{refused}");
    let other = tell(&after, two).unwrap();
    assert!(!other.before, "it is another transaction: {other:?}");
    let anchors = audited.json(&["anchors"]);
    assert_eq!(anchors.as_array().unwrap().len(), 2);
}

#[test]
fn an_auditor_needs_the_readers_role_and_nothing_else() {
    let audited = Audited::new();
    let login = "create role auditor login password 'x' in role tanglegate_reader";
    audited.database(login).unwrap();
    let url = audited.shop.database_url();
    let (_, place) = url.split_once('@').unwrap();
    let url = format!("postgres://auditor:x@{place}");
    // Without the engine's data folder, as on any other machine.
    let elsewhere = audited.file("auditor");
    let run = |arguments: &[&str]| {
        let mut command = crate::shop::program();
        command.env("DATABASE_URL", &url);
        command.args(["--data-dir", path(&elsewhere), "audit"]);
        finish(command.args(arguments), "")
    };
    let ask = |arguments: &[&str]| told_by(arguments, run(arguments));
    everything_holds(ask, audited.granted, &["--user=ana"]);
    let file = audited.file("auditor.jsonl");
    assert!(ask(&["export", path(&file)]).1);
    assert!(ask(&["verify", path(&file), "--key", &audited.key]).1);
    assert!(ask(&["payment", &audited.digest]).1);
    assert!(!elsewhere.exists(), "an audit writes nothing");

    // The head at home is of another log: that is a mistake of the asking person, and no damage.
    let keys = elsewhere.join("keys");
    fs::create_dir_all(&keys).unwrap();
    let head = audited.shop.data().join("keys/log.head");
    let head = fs::read_to_string(head).unwrap();
    let head = head.replace("log.example.org", "log.example.net");
    fs::write(keys.join("log.head"), head).unwrap();
    let said = run(&["verify"]);
    let mistaken = said.err.contains("log.example.net") && said.err.contains("--data-dir");
    assert!(said.code == Some(2) && mistaken, "{said:?}");

    for forbidden in [
        "delete from event_log.event",
        "insert into event_log.tree_head values (1, 'x', now())",
        "update projection.subscriber set credit = 7",
        "select key from vault.subject_key",
    ] {
        let refused = run_at(&audited.shop, &url, forbidden).unwrap_err();
        assert!(
            refused.to_string().contains("permission denied"),
            "{forbidden}: {refused}"
        );
    }
}

#[test]
fn the_forgotten_and_the_stopped_are_answered_for_all_the_same() {
    let mut audited = Audited::new();
    audited.shop.say(&["subscriber", "erase", "ana", "--yes"]);
    let who = ["--subscriber", &*audited.ana.clone()];
    let now = [&["explain"], &who[..], &["--topic=sensor/live"]].concat();
    let (said, yes) = audited.answer(&now);
    assert!(
        !yes && said.starts_with("no: this login was erased"),
        "{said}"
    );
    let gone = audited.audit(&["explain", "--user=ana", "--topic=sensor/live"]);
    assert_eq!(gone.code, Some(2));
    everything_holds(|it| audited.answer(it), audited.granted, &who);

    assert_eq!(audited.shop.stop(), Some(0));
    everything_holds(|it| audited.answer(it), audited.granted, &who);
    let left = audited.shop.database_processes();
    assert!(left.is_empty(), "the audit stops what it started: {left:?}");
    let file = audited.file("log.jsonl");
    audited.yes(&["export", path(&file)]);
    audited.yes(&["verify", path(&file), "--key", &audited.key]);
    let said = python(&[], &[path(&file), "--key", &audited.key]);
    assert!(said.success, "{said:?}");

    // An audit of nothing says so, and makes nothing.
    let nothing = audited.file("nothing");
    let mut command = crate::shop::program();
    command.args(["--data-dir", path(&nothing), "audit", "verify"]);
    let said = finish(&mut command, "");
    assert_eq!(said.code, Some(2));
    assert!(
        said.err.contains("there is no log in") && !nothing.exists(),
        "{said:?}"
    );

    audited.shop.start();
    everything_holds(|it| audited.answer(it), audited.granted, &who);
}
