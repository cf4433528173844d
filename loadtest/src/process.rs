//! What a process and its children have taken of the machine, from `/proc` (proc(5)).

use anyhow::{Context, Result};
use rustix::param::{clock_ticks_per_second, page_size};
use std::{fs, ops::AddAssign, time::Duration};

/// A process that is watched, with those that it started.
#[derive(Clone, Debug)]
pub struct Process {
    pub name: String,
    pub id: u32,
}

/// What was taken until a moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// In user and in system mode.
    pub cpu: Duration,
    /// Memory that is resident, in bytes; what several processes share counts for each.
    pub resident: u64,
    /// How often a thread gave up its processor, or had it taken away.
    pub switches: u64,
}

impl Usage {
    /// Since an earlier moment; memory may have become less.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(earlier.cpu),
            resident: self.resident.saturating_sub(earlier.resident),
            switches: self.switches.saturating_sub(earlier.switches),
        }
    }
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.cpu += other.cpu;
        self.resident += other.resident;
        self.switches += other.switches;
    }
}

impl Process {
    pub fn this() -> Self {
        Self {
            name: "generator".to_owned(),
            id: std::process::id(),
        }
    }

    /// An error when the process is gone. Children that end meanwhile count with their parent.
    pub fn usage(&self) -> Result<Usage> {
        let mut usage = Usage::default();
        let all = processes();
        add(&mut usage, self.id)
            .with_context(|| format!("{} (process {}) is gone", self.name, self.id))?;
        let mut parents = vec![self.id];
        while let Some(parent) = parents.pop() {
            for (child, _) in all.iter().filter(|(_, of)| *of == parent) {
                // One that has just ended counts with its parent.
                let _ = add(&mut usage, *child);
                parents.push(*child);
            }
        }
        Ok(usage)
    }
}

/// What the kernel keeps for all sockets and files of this machine, in bytes: its slabs, and the buffers of TCP. Both ends of
/// a connection are in there when both are on this machine.
pub fn kernel_memory() -> Result<u64> {
    let information = fs::read_to_string("/proc/meminfo")?;
    let slabs = number_after(&information, "Slab:").context("no Slab in /proc/meminfo")?;
    let sockets = fs::read_to_string("/proc/net/sockstat")?;
    let tcp = sockets.lines().find(|line| line.starts_with("TCP:"));
    let pages = tcp.and_then(|line| number_after(line, "mem"));
    let pages = pages.context("no TCP memory in /proc/net/sockstat")?;
    Ok(slabs * 1024 + pages * u64::try_from(page_size())?)
}

/// The number that follows a word.
fn number_after(text: &str, word: &str) -> Option<u64> {
    let mut words = text.split_whitespace().skip_while(|other| *other != word);
    words.nth(1)?.parse().ok()
}

fn add(usage: &mut Usage, id: u32) -> Result<()> {
    let stat = Stat::read(id).context("no such process")?;
    // The first is in steps of 10 ms, the second is exact and knows only the threads that there are.
    usage.cpu += stat.own.max(scheduled(id)) + stat.children;
    usage.resident += stat.resident;
    usage.switches += switches(id);
    Ok(())
}

/// Each process with its parent.
fn processes() -> Vec<(u32, u32)> {
    let entries = fs::read_dir("/proc").into_iter().flatten();
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|id| Some((id, Stat::read(id)?.parent)))
        .collect()
}

/// The fields of `/proc/ID/stat` that are used here.
struct Stat {
    parent: u32,
    own: Duration,
    /// Of those that have ended.
    children: Duration,
    resident: u64,
}

impl Stat {
    fn read(id: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{id}/stat")).ok()?)
    }

    fn parse(stat: &str) -> Option<Self> {
        // The name stands in brackets, and may hold brackets and blanks.
        let (_, fields) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        // proc(5) counts from 1, and `state`, the first here, is its third.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let tick = Duration::from_secs(1) / u32::try_from(clock_ticks_per_second()).ok()?;
        let ticks = |user, system| u32::try_from(field(user)? + field(system)?).ok();
        Some(Self {
            parent: field(4)?.try_into().ok()?,
            own: tick * ticks(14, 15)?,
            children: tick * ticks(16, 17)?,
            resident: field(24)? * u64::try_from(page_size()).ok()?,
        })
    }
}

/// How long the threads of a process have run, from `/proc/ID/task/THREAD/schedstat`, whose first number is in nanoseconds.
fn scheduled(id: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{id}/task"))
        .into_iter()
        .flatten();
    let run: u64 = threads
        .filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("schedstat")).ok())
        .filter_map(|text| text.split_whitespace().next()?.parse::<u64>().ok())
        .sum();
    Duration::from_nanos(run)
}

/// Of the threads that there are: those that have ended take theirs with them.
fn switches(id: u32) -> u64 {
    let threads = fs::read_dir(format!("/proc/{id}/task"))
        .into_iter()
        .flatten();
    threads
        .filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("status")).ok())
        .map(|status| switches_in(&status))
        .sum()
}

/// `voluntary_ctxt_switches` and `nonvoluntary_ctxt_switches`.
fn switches_in(status: &str) -> u64 {
    let lines = status.lines().filter(|line| line.contains("ctxt_switches"));
    lines
        .filter_map(|line| line.split_whitespace().next_back()?.parse::<u64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        process::{Command, Stdio},
        time::Instant,
    };

    #[test]
    fn work_is_counted_with_that_of_children() {
        let before = Process::this().usage().unwrap();
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(200) {
            std::hint::spin_loop();
        }
        let mut child = Command::new("sh")
            .args([
                "-c",
                "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; echo; cat",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = [0; 1];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut ready).unwrap();
        let with_child = Process::this().usage().unwrap().since(before);
        let of_child = Process {
            name: "sh".to_owned(),
            id: child.id(),
        };
        let of_child = of_child.usage().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();

        assert!(of_child.cpu >= Duration::from_millis(10), "{of_child:?}");
        assert!(with_child.cpu >= of_child.cpu, "{with_child:?}");
        assert!(
            with_child.cpu >= Duration::from_millis(100),
            "{with_child:?}"
        );
        assert!(of_child.resident > 100_000, "{of_child:?}");
        assert!(of_child.switches > 0, "{of_child:?}");
    }

    #[test]
    fn the_kernels_memory_is_read() {
        assert!(kernel_memory().unwrap() > 1 << 20);
        assert_eq!(
            number_after("TCP: inuse 5 orphan 0 mem 12", "mem"),
            Some(12)
        );
        assert_eq!(number_after("TCP: inuse 5 mem", "mem"), None);
    }

    #[test]
    fn a_process_that_is_gone_is_an_error() {
        let mut child = Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        let gone = Process {
            name: "server".to_owned(),
            id: child.id(),
        };
        let error = gone.usage().unwrap_err().to_string();
        assert!(error.contains("server (process"), "{error}");
    }

    #[test]
    fn a_name_may_hold_anything() {
        let stat = "7 (a) b (c) S 3 1 1 0 -1 0 0 0 0 0 100 50 0 0 20 0 1 0 5 4096 10 9";
        let stat = Stat::parse(stat).unwrap();
        assert_eq!(stat.parent, 3);
        assert_eq!(stat.own, Duration::from_millis(1_500));
    }
}
