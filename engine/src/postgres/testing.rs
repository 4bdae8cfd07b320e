//! A database per test, from one server that all tests on the machine share.
//!
//! Every test process of one user attaches to the same server; the first one starts it. A session
//! inside the server watches: when no test has been attached for some seconds it shuts the server
//! down, so nothing outlives a run by more than that, however the tests ended. The server does not
//! fsync. Its data stay in the temporary folder, so that the next run starts in a tenth of a second.

use std::fs::{self, DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Pid;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, Executor, PgConnection};
use tokio::sync::oneshot;

use super::account::Account;
use super::folder::{Folder, open_lock};
use super::{PostgresError, cluster, leftover};

/// Key of the advisory lock that every test shares and that the watching session tries to get.
const USED: i64 = 0x7a6e_676c_6567_6174;

/// How long the server stays without a test, in seconds.
const LINGER: u32 = 5;

/// How long to wait for the server to come, to go, or to have a free connection.
const PATIENCE: Duration = Duration::from_secs(60);

/// An empty database of a test's own, dropped with this value.
#[derive(Debug)]
pub struct TestDatabase {
    url: String,
    options: PgConnectOptions,
    /// Dropping it tells the thread below to drop the database.
    done: Option<oneshot::Sender<()>>,
    /// Holds the administrative session, in a runtime that does not end with the test's.
    session: Option<thread::JoinHandle<()>>,
}

impl TestDatabase {
    /// Creates an empty database, starting the shared server where it does not run.
    ///
    /// # Errors
    /// [`PostgresError`]; [`PostgresError::NotFound`] where PostgreSQL is not installed (`./test`
    /// installs it).
    pub async fn create() -> Result<TestDatabase, PostgresError> {
        let (made, making) = oneshot::channel();
        let (done, dropped) = oneshot::channel();
        let session = thread::spawn(move || serve(made, dropped));
        let gone = || PostgresError::Ended {
            how: "the thread of the test database is gone".to_owned(),
            log: PathBuf::new(),
            output: String::new(),
        };
        let (url, options) = making.await.map_err(|_| gone())??;
        Ok(TestDatabase {
            url,
            options,
            done: Some(done),
            session: Some(session),
        })
    }

    /// URL of the database, as for `DATABASE_URL`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// How to connect to the database.
    pub fn connect_options(&self) -> PgConnectOptions {
        self.options.clone()
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        drop(self.done.take());
        if let Some(session) = self.session.take() {
            // Its panic has been printed already, and a panic while dropping would hide it.
            let _ = session.join();
        }
    }
}

type Made = Result<(String, PgConnectOptions), PostgresError>;

/// The life of one test database: made, used by the test, dropped.
fn serve(made: oneshot::Sender<Made>, dropped: oneshot::Receiver<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.expect("a test process can make a runtime");
    runtime.block_on(async {
        let name = format!("test_{}", uuid::Uuid::new_v4().simple());
        let (folder, mut session) = match create(&name).await {
            Ok(created) => created,
            Err(error) => return drop(made.send(Err(error))),
        };
        let options = cluster::connect_options(&folder).database(&name);
        let _ = made.send(Ok((cluster::url(&folder.socket, &name), options)));
        let _ = dropped.await;
        let statement = format!("drop database if exists {name} with (force)");
        // A server that was stopped meanwhile drops it when it starts again.
        let _ = session.execute(sqlx::AssertSqlSafe(statement)).await;
    });
}

async fn create(name: &str) -> Result<(Folder, PgConnection), PostgresError> {
    let folder = shared_folder()?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let error = match attempt(&folder, name).await {
            Ok(session) => return Ok((folder, session)),
            Err(error @ PostgresError::Sql(_)) => error,
            Err(error) => return Err(error),
        };
        // The server is just leaving, or so many tests run that it has no connection free.
        if Instant::now() > deadline {
            return Err(error);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn attempt(folder: &Folder, name: &str) -> Result<PgConnection, PostgresError> {
    let mut session = match attach(folder).await {
        Ok(session) => session,
        Err(_) => {
            ensure_running(folder).await?;
            attach(folder).await?
        }
    };
    session
        .execute(sqlx::AssertSqlSafe(format!("create database {name}")))
        .await?;
    Ok(session)
}

/// A session that keeps the server from leaving.
async fn attach(folder: &Folder) -> Result<PgConnection, sqlx::Error> {
    let mut session = PgConnection::connect_with(&cluster::connect_options(folder)).await?;
    sqlx::query("select pg_advisory_lock_shared($1)")
        .bind(USED)
        .execute(&mut session)
        .await?;
    Ok(session)
}

fn shared_folder() -> Result<Folder, PostgresError> {
    let account = Account::choose()?;
    let us = rustix::process::geteuid().as_raw();
    Folder::prepare(
        &std::env::temp_dir().join(format!("tanglegate-tests-{us}")),
        account,
    )
}

/// Starts the server unless one runs. One process at a time does so; the others wait for it.
async fn ensure_running(folder: &Folder) -> Result<(), PostgresError> {
    let path = folder.root.join("start.lock");
    let lock = open_lock(&path)?;
    lock.lock().map_err(PostgresError::files("lock", &path))?;
    let data = folder.data();
    let deadline = Instant::now() + PATIENCE;
    while !leftover::processes_in(&data).is_empty() {
        // Somebody else was quicker, or the server is on its way out or full.
        if attach(folder).await.is_ok() {
            return Ok(());
        }
        if Instant::now() > deadline {
            leftover::clear(&data, &|_| ())?;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    match start(folder).await {
        // Left by another version, or damaged when the machine went down without syncing.
        Err(PostgresError::OtherMajor { .. } | PostgresError::Ended { .. }) => {
            fs::remove_dir_all(&data).map_err(PostgresError::files("remove", &data))?;
            start(folder).await
        }
        started => started,
    }
}

async fn start(folder: &Folder) -> Result<(), PostgresError> {
    let programs = cluster::programs(folder, &|_| ())?;
    leftover::clear(&folder.data(), &|_| ())?;
    leftover::unlock(&folder.socket, &folder.data())?;
    cluster::create(folder, &programs, false, &|_| ())?;
    let mut server = cluster::server(folder, &programs, false)?;
    // A group of its own: a test that is killed for being slow does not take the server along.
    server.args(["-c", "max_connections=400"]).process_group(0);
    let program = programs.program("postgres");
    let mut child = server
        .spawn()
        .map_err(|source| PostgresError::Run { program, source })?;
    let pid = Pid::from_raw(child.id().cast_signed()).expect("a child has a positive process id");
    let ended = thread::spawn(move || child.wait().map(|status| status.to_string()));
    let running = || ended.is_finished().then(|| "see its log".to_owned());
    cluster::wait_until_ready(folder, pid, running, &|_| ())?;
    drop_leftovers(folder).await?;
    watch(folder).await
}

/// Databases of tests that were killed.
async fn drop_leftovers(folder: &Folder) -> Result<(), PostgresError> {
    let mut session = PgConnection::connect_with(&cluster::connect_options(folder)).await?;
    let names: Vec<String> =
        sqlx::query_scalar("select datname from pg_database where datname like 'test\\_%'")
            .fetch_all(&mut session)
            .await?;
    for name in names {
        let statement = format!("drop database if exists {name} with (force)");
        session.execute(sqlx::AssertSqlSafe(statement)).await?;
    }
    session.close().await?;
    Ok(())
}

/// Starts the watching session and leaves it alone: PostgreSQL runs a statement to its end, also
/// when its client has gone, and this statement ends with the server.
async fn watch(folder: &Folder) -> Result<(), PostgresError> {
    const NAME: &str = "watches for tests";
    let options = cluster::connect_options(folder).application_name(NAME);
    let mut watching = PgConnection::connect_with(&options).await?;
    let mut session = PgConnection::connect_with(&cluster::connect_options(folder)).await?;
    let statement = watcher();
    let watches = watching.execute(sqlx::AssertSqlSafe(statement));
    let seen = async {
        let question = "select count(*) from pg_stat_activity \
                        where application_name = $1 and state = 'active'";
        loop {
            let active: i64 = sqlx::query_scalar(question)
                .bind(NAME)
                .fetch_one(&mut session)
                .await?;
            if active > 0 {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::select! {
        ended = watches => ended.map(|_| ()).map_err(PostgresError::from),
        seen = seen => seen,
    }
}

/// Holds the lock while it shuts down, so that a test that comes at that moment waits for the lock,
/// is turned away by the shutdown and starts the server again.
fn watcher() -> String {
    format!(
        "do $watch$
        declare
            idle int := 0;
            postmaster text := split_part(pg_read_file('postmaster.pid'), E'\\n', 1);
        begin
            loop
                perform pg_sleep(1);
                if pg_try_advisory_lock({USED}) then
                    idle := idle + 1;
                    if idle >= {LINGER} then
                        execute format('copy (select 1) to program %L', 'kill -INT ' || postmaster);
                        perform pg_sleep(60);
                    end if;
                    perform pg_advisory_unlock({USED});
                else
                    idle := 0;
                end if;
                commit;
            end loop;
        end $watch$"
    )
}

/// A folder of a test's own, removed with this value, that the account which runs a private
/// server can pass through.
#[derive(Debug)]
pub struct TestFolder {
    path: PathBuf,
}

impl TestFolder {
    /// Creates an empty folder.
    ///
    /// # Errors
    /// [`PostgresError::Files`] where the temporary folder refuses.
    pub fn create() -> Result<TestFolder, PostgresError> {
        let name = format!("tanglegate-{}", uuid::Uuid::new_v4().simple());
        let path = std::env::temp_dir().join(name);
        let made = DirBuilder::new().mode(0o711).create(&path);
        made.and_then(|()| fs::set_permissions(&path, Permissions::from_mode(0o711)))
            .and_then(|()| path.canonicalize())
            .map(|path| TestFolder { path })
            .map_err(PostgresError::files("create", &path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TestFolder {
    fn drop(&mut self) {
        // What is left in a temporary folder harms nobody.
        let _ = fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn two_tests_have_two_empty_databases_of_their_own() {
        let (one, other) = tokio::join!(TestDatabase::create(), TestDatabase::create());
        let (one, other) = (one.expect("created"), other.expect("created"));
        assert_ne!(one.url(), other.url());
        let mut session = PgConnection::connect(one.url()).await.expect("connected");
        session
            .execute("create table only_here (x int)")
            .await
            .expect("created");
        let mut session = PgConnection::connect_with(&other.connect_options())
            .await
            .expect("connected");
        session
            .execute("select * from only_here")
            .await
            .expect_err("it is the other database");
    }

    #[tokio::test]
    async fn a_database_is_gone_with_its_value_even_while_somebody_is_connected() {
        let database = TestDatabase::create().await.expect("created");
        let options = database.connect_options();
        let mut session = PgConnection::connect_with(&options)
            .await
            .expect("connected");
        drop(database);
        session.ping().await.expect_err("disconnected");
        let error = PgConnection::connect_with(&options)
            .await
            .expect_err("dropped")
            .to_string();
        assert!(error.contains("does not exist"), "{error}");
    }

    #[tokio::test]
    async fn data_that_no_server_can_use_are_made_anew() {
        let own = TestFolder::create().expect("a folder");
        let account = Account::choose().expect("an account");
        let folder = Folder::prepare(own.path(), account).expect("prepared");
        let data = folder.data();
        fs::rename(folder.unfinished().expect("created"), &data).expect("renamed");
        for version in ["9999", "15"] {
            fs::write(data.join("PG_VERSION"), version).expect("written");
            ensure_running(&folder).await.expect("it runs all the same");
            attach(&folder).await.expect("connected");
            leftover::clear(&data, &|_| ()).expect("stopped");
            fs::remove_file(data.join("postgresql.conf")).expect("damaged");
        }
    }

    #[tokio::test]
    async fn the_shared_server_has_one_watcher_that_will_shut_it_down() {
        let database = TestDatabase::create().await.expect("created");
        let mut session = PgConnection::connect_with(&database.connect_options())
            .await
            .expect("connected");
        let watchers: i64 = sqlx::query_scalar(
            "select count(*) from pg_stat_activity \
             where application_name = 'watches for tests' and state = 'active'",
        )
        .fetch_one(&mut session)
        .await
        .expect("counted");
        assert_eq!(watchers, 1);
    }
}
