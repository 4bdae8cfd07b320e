//! Why a store cannot be opened, or gives up.

use std::path::PathBuf;

/// A store that cannot be opened, or has given up.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The folder cannot be made or read.
    #[error(
        "cannot keep sessions and messages in {folder}: {reason}; name a folder that this user \
         may write to"
    )]
    Folder {
        /// Which.
        folder: PathBuf,
        /// Why not.
        reason: String,
    },
    /// Another process has opened it.
    #[error(
        "the sessions and messages in {folder} are in use by another process; end it, or name \
         another folder"
    )]
    InUse {
        /// Which.
        folder: PathBuf,
    },
    /// There is something else in the folder.
    #[error(
        "{folder} holds something else than sessions and messages; name a folder for them alone, \
         for example {}",
        folder.join("sessions").display()
    )]
    Foreign {
        /// Which.
        folder: PathBuf,
    },
    /// Another version wrote it. It is left as it is.
    #[error(
        "the sessions and messages in {folder} were written by another version ({found:?}); run \
         that version, or move the folder away and lose them"
    )]
    Version {
        /// Which.
        folder: PathBuf,
        /// What it says of its version.
        found: String,
    },
    /// What is in the folder cannot be read.
    #[error(
        "the sessions and messages in {folder} are damaged ({reason}); restore the folder from a \
         copy, or move it away: then clients find no session, their queued messages are lost, and \
         so are retained messages until they are published anew"
    )]
    Damaged {
        /// Which.
        folder: PathBuf,
        /// What was found.
        reason: String,
    },
    /// It cannot be written any more.
    #[error(
        "sessions and messages can no longer be written to {folder}: {reason}; see to the disk \
         and restart"
    )]
    Write {
        /// Which.
        folder: PathBuf,
        /// Why not.
        reason: String,
    },
}
