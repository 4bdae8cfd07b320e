//! Whether a server may be trusted with money: checked on every start, whoever runs the server.

use sqlx::PgConnection;

use super::{OLDEST_MAJOR, PostgresError};

/// What a session says about its server and itself. Roles and databases can have settings of
/// their own, so it must be asked in a session like those that will be used.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
struct Facts {
    version_number: i32,
    version: String,
    encoding: String,
    read_only: String,
    replication_role: String,
    fsync: String,
    full_page_writes: String,
    synchronous_commit: String,
    standbys: String,
}

const QUESTION: &str = "
    select current_setting('server_version_num')::int as version_number,
           current_setting('server_version')          as version,
           current_setting('server_encoding')         as encoding,
           current_setting('transaction_read_only')   as read_only,
           current_setting('session_replication_role') as replication_role,
           current_setting('fsync')                   as fsync,
           current_setting('full_page_writes')        as full_page_writes,
           current_setting('synchronous_commit')      as synchronous_commit,
           current_setting('synchronous_standby_names') as standbys";

/// Checks the server behind `connection` and returns its version, such as `15.18`.
///
/// With `durable`, every setting that could lose an acknowledged commit is refused; without, only
/// what we could not work on at all, which is for tests.
///
/// # Errors
/// [`PostgresError::Setting`] with the name, the value and the remedy, or
/// [`PostgresError::Sql`].
pub async fn check(connection: &mut PgConnection, durable: bool) -> Result<String, PostgresError> {
    let facts: Facts = sqlx::query_as(QUESTION).fetch_one(connection).await?;
    judge(&facts, durable)?;
    Ok(facts.version)
}

fn judge(facts: &Facts, durable: bool) -> Result<(), PostgresError> {
    judge_ability(facts)?;
    if durable {
        judge_durability(facts)
    } else {
        Ok(())
    }
}

/// What we could not work on at all.
fn judge_ability(facts: &Facts) -> Result<(), PostgresError> {
    if facts.version_number < i32::try_from(OLDEST_MAJOR * 10_000).unwrap_or(i32::MAX) {
        return refuse(
            "server_version",
            &facts.version,
            "it is older than PostgreSQL 15",
            "upgrade the server to PostgreSQL 15 or newer",
        );
    }
    if facts.encoding != "UTF8" {
        return refuse(
            "server_encoding",
            &facts.encoding,
            "topics and names are Unicode, and this database cannot hold all of it",
            "create the database with `create database … encoding 'UTF8' template template0`",
        );
    }
    if facts.read_only != "off" {
        return refuse(
            "transaction_read_only",
            &facts.read_only,
            "nothing can be recorded here; it may be a standby",
            "name the primary in DATABASE_URL, or set default_transaction_read_only = off",
        );
    }
    if facts.replication_role != "origin" {
        return refuse(
            "session_replication_role",
            &facts.replication_role,
            "it switches off the triggers that keep the event log append-only",
            "run `alter role … reset session_replication_role`",
        );
    }
    Ok(())
}

/// What could lose a commit after we have acknowledged it.
fn judge_durability(facts: &Facts) -> Result<(), PostgresError> {
    const LOST: &str = "a power failure could lose payments that were already acknowledged";
    if facts.fsync != "on" {
        return refuse(
            "fsync",
            &facts.fsync,
            LOST,
            "set fsync = on and restart the server",
        );
    }
    if facts.full_page_writes != "on" {
        return refuse(
            "full_page_writes",
            &facts.full_page_writes,
            "a power failure could leave half-written pages",
            "set full_page_writes = on and reload the server",
        );
    }
    match facts.synchronous_commit.as_str() {
        "off" => refuse(
            "synchronous_commit",
            "off",
            LOST,
            "set synchronous_commit = on for the server, the database and the role",
        ),
        "local" if !facts.standbys.is_empty() => refuse(
            "synchronous_commit",
            "local",
            "it does not wait for the standbys in synchronous_standby_names, so that a fail-over \
             could lose payments that were already acknowledged",
            "set synchronous_commit = on for the server, the database and the role",
        ),
        _ => Ok(()),
    }
}

fn refuse(
    setting: &'static str,
    value: &str,
    why: &'static str,
    remedy: &'static str,
) -> Result<(), PostgresError> {
    Err(PostgresError::Setting {
        setting,
        value: value.to_owned(),
        why,
        remedy,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::testing::TestDatabase;
    use sqlx::{Connection, Executor};

    fn good() -> Facts {
        Facts {
            version_number: 150_018,
            version: "15.18".into(),
            encoding: "UTF8".into(),
            read_only: "off".into(),
            replication_role: "origin".into(),
            fsync: "on".into(),
            full_page_writes: "on".into(),
            synchronous_commit: "on".into(),
            standbys: String::new(),
        }
    }

    /// The setting that is refused, if one is.
    fn refused(durable: bool, change: impl FnOnce(&mut Facts)) -> Option<&'static str> {
        let mut facts = good();
        change(&mut facts);
        match judge(&facts, durable) {
            Ok(()) => None,
            Err(PostgresError::Setting { setting, .. }) => Some(setting),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn every_setting_that_loses_commits_is_refused_by_name() {
        assert_eq!(refused(true, |_| ()), None);
        assert_eq!(refused(true, |it| it.fsync = "off".into()), Some("fsync"));
        assert_eq!(
            refused(true, |it| it.full_page_writes = "off".into()),
            Some("full_page_writes")
        );
        assert_eq!(
            refused(true, |it| it.synchronous_commit = "off".into()),
            Some("synchronous_commit")
        );
        assert_eq!(refused(false, |it| it.fsync = "off".into()), None);
    }

    #[test]
    fn a_local_commit_is_refused_only_where_standbys_are_waited_for() {
        assert_eq!(
            refused(true, |it| it.synchronous_commit = "local".into()),
            None
        );
        let with_standby = |it: &mut Facts| {
            it.synchronous_commit = "local".into();
            it.standbys = "ANY 1 (a, b)".into();
        };
        assert_eq!(refused(true, with_standby), Some("synchronous_commit"));
        assert_eq!(refused(true, |it| it.standbys = "a".into()), None);
    }

    #[test]
    fn what_we_cannot_work_on_is_refused_in_tests_too() {
        let old = |it: &mut Facts| it.version_number = 140_009;
        assert_eq!(refused(false, old), Some("server_version"));
        assert_eq!(refused(false, |it| it.version_number = 150_000), None);
        assert_eq!(
            refused(false, |it| it.encoding = "LATIN1".into()),
            Some("server_encoding")
        );
        assert_eq!(
            refused(false, |it| it.read_only = "on".into()),
            Some("transaction_read_only")
        );
        assert_eq!(
            refused(false, |it| it.replication_role = "replica".into()),
            Some("session_replication_role")
        );
    }

    #[tokio::test]
    async fn a_real_server_without_fsync_is_refused_with_name_value_and_remedy() {
        let database = TestDatabase::create().await.expect("a database");
        let mut session = PgConnection::connect_with(&database.connect_options())
            .await
            .expect("connected");
        let version = check(&mut session, false)
            .await
            .expect("good enough for tests");
        assert!(
            version.starts_with(|first: char| first.is_ascii_digit()),
            "{version}"
        );
        let error = check(&mut session, true)
            .await
            .expect_err("fsync is off")
            .to_string();
        assert!(error.contains("fsync = off"), "{error}");
        assert!(
            error.contains("set fsync = on and restart the server"),
            "{error}"
        );
        session
            .execute("set default_transaction_read_only = on")
            .await
            .expect("set");
        let error = check(&mut session, false)
            .await
            .expect_err("read-only")
            .to_string();
        assert!(error.contains("transaction_read_only = on"), "{error}");
    }
}
