//! What the system says about a process: its memory, and the processor time it took.

use anyhow::Context;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Clock ticks per second in `/proc`: 100 on every Linux.
const TICKS: f64 = 100.0;

/// Resident memory of a process in bytes.
pub(in crate::bench) fn resident(process: u32) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))
        .context("memory can be weighed on Linux only")?;
    let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:"));
    let kib = line
        .and_then(|it| it.split_whitespace().next())
        .context("no VmRSS")?;
    Ok(kib.parse::<u64>()? * 1_024)
}

/// Seconds of processor time that a process has taken so far.
pub(in crate::bench) fn processor_time(process: u32) -> anyhow::Result<f64> {
    taken(format!("/proc/{process}/stat").as_ref())
}

/// User and system time of a process or thread, in seconds.
pub(in crate::bench) fn taken(stat: &Path) -> anyhow::Result<f64> {
    let stat = fs::read_to_string(stat).context("processor time is known on Linux only")?;
    // The name in parentheses may hold anything; the times are the 14th and 15th field.
    let (_, rest) = stat.rsplit_once(')').context("no name in stat")?;
    let times = rest.split_whitespace().skip(11).take(2);
    let ticks = times.map(str::parse::<f64>).sum::<Result<f64, _>>()?;
    Ok(ticks / TICKS)
}

/// Watches how busy a thread of the load is: one at 100 % would be measured in the server's place.
pub(in crate::bench) struct Busy {
    stat: PathBuf,
    begun: Instant,
    before: f64,
}

impl Busy {
    /// The thread that calls this.
    pub(in crate::bench) fn this_thread() -> anyhow::Result<PathBuf> {
        let thread =
            fs::read_link("/proc/thread-self").context("threads are known on Linux only")?;
        Ok(Path::new("/proc").join(thread).join("stat"))
    }

    /// From now on.
    pub(super) fn watch(stat: PathBuf) -> anyhow::Result<Self> {
        Ok(Self {
            before: taken(&stat)?,
            begun: Instant::now(),
            stat,
        })
    }

    /// The share of a processor that the thread took, from 0 to 1.
    pub(super) fn share(&self) -> anyhow::Result<f64> {
        let time = self.begun.elapsed().max(Duration::from_millis(1));
        Ok((taken(&self.stat)? - self.before) / time.as_secs_f64())
    }
}

/// Lets this process and those it starts have as many connections as the system allows; returns
/// how many files that is.
pub(in crate::bench) fn raise_file_limit() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let now = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    now.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_works_is_busy_and_one_that_sleeps_is_not() {
        let busy = |work: fn()| {
            let watched = Busy::watch(Busy::this_thread().unwrap()).unwrap();
            work();
            watched.share().unwrap()
        };
        let work = || {
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_millis(300) {
                std::hint::spin_loop();
            }
        };
        // Others want the processors too.
        assert!(busy(work) > 0.1);
        assert!(busy(|| std::thread::sleep(Duration::from_millis(300))) < 0.1);
    }

    #[test]
    fn this_process_has_memory_and_took_time() {
        assert!(resident(std::process::id()).unwrap() > 100_000);
        assert!(processor_time(std::process::id()).unwrap() >= 0.0);
    }
}
