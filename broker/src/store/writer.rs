//! The thread that writes.

use super::StoreError;
use super::disk::Disk;
use super::intake::{Intake, Life};
use std::io;
use std::sync::Arc;
use std::thread;

/// Starts the thread.
///
/// # Errors
/// When the system has no thread left.
pub(super) fn start(disk: Disk, intake: Arc<Intake>) -> io::Result<()> {
    let writer = thread::Builder::new().name("store".to_owned());
    writer.spawn(move || {
        let mut stopping = Stopping {
            life: Life::Failed(disk.lost()),
            intake,
        };
        let result = write(disk, &stopping.intake);
        stopping.life = match result {
            Ok(()) => Life::Closed,
            Err(error) => {
                tracing::error!(%error, "the store has failed");
                Life::Failed(error)
            }
        };
    })?;
    Ok(())
}

/// Tells everybody that the writer is gone, also when it panics.
struct Stopping {
    life: Life,
    intake: Arc<Intake>,
}

impl Drop for Stopping {
    fn drop(&mut self) {
        self.intake.stop(self.life.clone());
    }
}

fn write(mut disk: Disk, intake: &Intake) -> Result<(), StoreError> {
    // While one batch is written, the next one fills.
    while let Some(batch) = intake.next(disk.has_work()) {
        disk.write(&batch)?;
        intake.written(batch.number);
    }
    disk.close()
}
