//! Finding the server's programs on this machine.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::account::Account;
use super::command::command;
use super::{OLDEST_MAJOR, PostgresError};

/// Folders with one subfolder per version: Debian, Homebrew (both kinds of Mac), Postgres.app.
const VERSIONED: [&str; 4] = [
    "/usr/lib/postgresql",
    "/opt/homebrew/opt",
    "/usr/local/opt",
    "/Applications/Postgres.app/Contents/Versions",
];

/// Folders of other distributions and of a build from source.
const FIXED: [&str; 2] = ["/usr/local/pgsql/bin", "/usr/libexec/postgresql"];

/// A folder that holds `postgres` and `initdb` of one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binaries {
    /// The folder.
    pub folder: PathBuf,
    /// Major version, at least [`OLDEST_MAJOR`].
    pub major: u32,
    /// What `postgres --version` says, such as `15.18`.
    pub version: String,
}

impl Binaries {
    /// Finds the server's programs: in `TANGLEGATE_PG_BIN` alone where it is set, else in `PATH`
    /// and the places where distributions put them, newest first.
    ///
    /// With `written_by`, the major version of an existing data folder, only that one will do.
    ///
    /// # Errors
    /// [`PostgresError::NotFound`], [`PostgresError::NamedBinaries`], or
    /// [`PostgresError::NoAccount`].
    pub fn find(written_by: Option<u32>) -> Result<Binaries, PostgresError> {
        let account = Account::choose()?;
        if let Some(folder) = std::env::var_os("TANGLEGATE_PG_BIN").map(PathBuf::from) {
            return probe(&folder, &account)
                .and_then(|found| fits(found, written_by))
                .map_err(|why| PostgresError::NamedBinaries { folder, why });
        }
        let mut looked_in = candidates(std::env::var_os("PATH"));
        looked_in.retain(|folder| folder.is_dir());
        let mut refused = Vec::new();
        for folder in looked_in
            .iter()
            .filter(|folder| folder.join("postgres").exists())
        {
            match probe(folder, &account).and_then(|found| fits(found, written_by)) {
                Ok(found) => return Ok(found),
                Err(why) => refused.push(format!("{}: {why}", folder.display())),
            }
        }
        let note = (!refused.is_empty()).then(|| refused.join("; "));
        Err(PostgresError::NotFound { looked_in, note })
    }

    /// Path of one of the programs.
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// Every folder worth a look, each once, in order of preference.
fn candidates(path: Option<OsString>) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = path
        .iter()
        .flat_map(std::env::split_paths)
        .filter(|folder| folder.is_absolute())
        .collect();
    let mut versioned: Vec<(u32, PathBuf)> = VERSIONED
        .iter()
        .flat_map(|parent| versions_in(Path::new(parent)))
        .collect();
    versioned.sort_by(|left, right| right.cmp(left));
    folders.extend(versioned.into_iter().map(|(_, folder)| folder));
    folders.extend((OLDEST_MAJOR..OLDEST_MAJOR + 10).rev().map(|major| {
        PathBuf::from(format!("/usr/pgsql-{major}/bin")) // Fedora, RHEL and their kin
    }));
    folders.extend(FIXED.map(PathBuf::from));
    let mut seen = std::collections::HashSet::new();
    folders.retain(|folder| seen.insert(folder.clone()));
    folders
}

/// `bin` folders of the versions below `parent`: subfolders called `15` or `postgresql@15`.
fn versions_in(parent: &Path) -> Vec<(u32, PathBuf)> {
    let Ok(entries) = fs::read_dir(parent) else {
        return Vec::new();
    };
    let version = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        let number = name.strip_prefix("postgresql@").unwrap_or(&name);
        let major = number.split('.').next()?.parse().ok()?;
        Some((major, entry.path().join("bin")))
    };
    entries.flatten().filter_map(version).collect()
}

/// Runs both programs as the account that will run them: a wrapper or a half-moved build may
/// exist without working, or only for us.
fn probe(folder: &Path, account: &Account) -> Result<Binaries, String> {
    run(&folder.join("initdb"), account)?;
    let said = run(&folder.join("postgres"), account)?;
    let version = said
        .split_whitespace()
        .find(|word| word.starts_with(|first: char| first.is_ascii_digit()))
        .ok_or_else(|| format!("`postgres --version` says {said:?}, which names no version"))?;
    let digits = version
        .split(|next: char| !next.is_ascii_digit())
        .next()
        .unwrap_or_default();
    let major: u32 = digits
        .parse()
        .map_err(|_| format!("{version:?} is no version"))?;
    if major < OLDEST_MAJOR {
        return Err(format!("PostgreSQL {version} is older than {OLDEST_MAJOR}"));
    }
    Ok(Binaries {
        folder: folder.to_owned(),
        major,
        version: version.to_owned(),
    })
}

/// What `program --version` prints.
fn run(program: &Path, account: &Account) -> Result<String, String> {
    let output = command(program, account, Path::new("/"))
        .arg("--version")
        .output()
        .map_err(|error| format!("{} does not run: {error}", program.display()))?;
    if !output.status.success() {
        return Err(format!(
            "{} --version ended with {}",
            program.display(),
            output.status
        ));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn fits(found: Binaries, written_by: Option<u32>) -> Result<Binaries, String> {
    match written_by {
        Some(major) if major != found.major => Err(format!(
            "it is PostgreSQL {}, and the data was written by {major}",
            found.version
        )),
        _ => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::testing::TestFolder;
    use std::os::unix::fs::PermissionsExt;

    /// A folder with two shell scripts in the place of the programs.
    fn pretended(says: &str, status: u8) -> TestFolder {
        let folder = TestFolder::create().expect("a folder");
        for name in ["postgres", "initdb"] {
            let path = folder.path().join(name);
            let script = format!("#!/bin/sh\necho '{says}'\nexit {status}\n");
            fs::write(&path, script).expect("write");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("chmod");
        }
        folder
    }

    fn probed(says: &str, status: u8) -> Result<Binaries, String> {
        let account = Account::choose().expect("this machine has an account");
        probe(pretended(says, status).path(), &account)
    }

    #[test]
    fn versions_are_read_as_releases_and_betas_print_them() {
        let release = probed("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", 0);
        assert_eq!(release.expect("a release").version, "15.18");
        assert_eq!(
            probed("postgres (PostgreSQL) 19beta2", 0)
                .expect("a beta")
                .major,
            19
        );
    }

    #[test]
    fn an_old_or_broken_server_is_refused_with_its_reason() {
        let old = probed("postgres (PostgreSQL) 14.9", 0).expect_err("14 is too old");
        assert!(old.contains("14.9 is older than 15"), "{old}");
        let broken = probed("cannot find its libraries", 127).expect_err("it does not run");
        assert!(broken.contains("--version ended with"), "{broken}");
        let empty = probe(
            Path::new("/nonexistent"),
            &Account::choose().expect("an account"),
        );
        assert!(empty.expect_err("nothing there").contains("does not run"));
    }

    #[test]
    fn newer_versions_are_tried_first_and_no_folder_twice() {
        let folder = TestFolder::create().expect("a folder");
        for name in ["9.6", "15", "postgresql@17", "unrelated"] {
            fs::create_dir_all(folder.path().join(name)).expect("mkdir");
        }
        let mut found = versions_in(folder.path());
        found.sort();
        assert_eq!(
            found.iter().map(|(major, _)| *major).collect::<Vec<_>>(),
            [9, 15, 17]
        );
        let twice = candidates(Some("/usr/bin:/usr/bin:relative".into()));
        assert_eq!(
            twice
                .iter()
                .filter(|folder| folder.ends_with("usr/bin"))
                .count(),
            1
        );
        assert!(twice.iter().all(|folder| folder.is_absolute()));
    }

    #[test]
    fn data_of_another_version_is_not_given_to_this_one() {
        let found = Binaries {
            folder: "/x".into(),
            major: 17,
            version: "17.2".into(),
        };
        assert!(fits(found.clone(), None).is_ok() && fits(found.clone(), Some(17)).is_ok());
        let why = fits(found, Some(15)).expect_err("15 is not 17");
        assert!(why.contains("written by 15"), "{why}");
    }
}
