//! What instances use, as the kernel tells it of their processes (proc(5)); and the machine, as the only one of its cluster.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use paas_core::port::{DrainReport, InstanceId, Metrics, Node, Nodes, Usage};
use paas_core::{Bytes, Cpu, Error, ErrorKind, Result, TrackKey};

use super::LocalMachine;

/// Over how long processor time is measured.
const WINDOW: Duration = Duration::from_millis(250);

#[async_trait]
impl Metrics for LocalMachine {
    async fn usage(&self, track: &TrackKey) -> Result<BTreeMap<InstanceId, Usage>> {
        self.shared.check_open()?;
        let roots: Vec<(InstanceId, i32)> = {
            let sets = self.shared.sets();
            let of_track = sets.sets.iter().filter(|(key, _)| key.track == *track).map(|(_, set)| set);
            let members = of_track.flat_map(|set| &set.members).filter(|member| member.runs());
            let root = |container: &crate::Instance| container.dir().read_state().ok().flatten();
            members
                .filter_map(|member| Some((member.seen.id.clone(), root(member.container.as_ref()?)?.pid)))
                .collect()
        };
        if roots.is_empty() {
            return Ok(BTreeMap::new());
        }
        let before = measure(&roots);
        let begun = Instant::now();
        tokio::time::sleep(WINDOW).await;
        let after = measure(&roots);
        Ok(usage(&before, &after, begun.elapsed()))
    }
}

#[async_trait]
impl Nodes for LocalMachine {
    async fn list(&self) -> Result<Vec<Node>> {
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let total = memory.lines().find_map(|line| kilobytes(line, "MemTotal:")).unwrap_or_default();
        Ok(vec![Node {
            name: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            labels: BTreeMap::new(),
            cpu: Cpu::from_milli(cpus as u64 * 1000),
            memory: Bytes::new(total * 1024),
            most_instances: None,
            ready: true,
            schedulable: true,
            problems: self.limitations().iter().map(ToString::to_string).collect(),
        }])
    }

    async fn cordon(&self, _: &str, _: bool) -> Result<()> {
        Err(only_machine("cordon the machine"))
    }

    async fn drain(&self, _: &str, _: Duration) -> Result<DrainReport> {
        Err(only_machine("drain the machine"))
    }
}

fn only_machine(operation: &'static str) -> Error {
    Error::new(ErrorKind::Unsupported, operation)
        .with_source("it is the only one of its cluster")
        .with_remedy("Stop the applications with `paas stop`, or move their environment to another cluster.")
}

/// What the processes of an instance have used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sample {
    /// Processor time in clock ticks since they started.
    ticks: u64,
    /// Memory that is theirs alone or shared among them, in bytes: neither files nor programs, which can be read again.
    memory: u64,
}

/// A process by its parent.
#[derive(Debug, Clone, Copy)]
struct Process {
    parent: i32,
    ticks: u64,
}

fn measure(roots: &[(InstanceId, i32)]) -> BTreeMap<InstanceId, Sample> {
    let processes = processes();
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for (pid, process) in &processes {
        children.entry(process.parent).or_default().push(*pid);
    }
    let sample = |root: i32| {
        let (mut sample, mut left) = (Sample::default(), vec![root]);
        while let Some(pid) = left.pop() {
            let Some(process) = processes.get(&pid) else { continue };
            sample.ticks += process.ticks;
            sample.memory += memory(pid);
            left.extend(children.get(&pid).into_iter().flatten());
        }
        sample
    };
    roots.iter().map(|(id, root)| (id.clone(), sample(*root))).collect()
}

fn processes() -> HashMap<i32, Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: i32| Some((pid, parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?)))
        .collect()
}

/// The fields 4 (parent), 14 and 15 (processor time as a user and in the kernel) and 16 and 17 (those of children that have
/// ended) of a `stat`.
fn parse(stat: &str) -> Option<Process> {
    // The second field, the name, may hold spaces.
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<i64>().ok();
    let ticks = (14..=17).map(number).sum::<Option<i64>>()?;
    Some(Process { parent: i32::try_from(number(4)?).ok()?, ticks: u64::try_from(ticks).ok()? })
}

fn memory(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let of = |name: &str| status.lines().find_map(|line| kilobytes(line, name)).unwrap_or_default();
    (of("RssAnon:") + of("RssShmem:")) * 1024
}

/// The number of a line such as `RssAnon:      1234 kB`.
fn kilobytes(line: &str, name: &str) -> Option<u64> {
    line.strip_prefix(name)?.split_whitespace().next()?.parse().ok()
}

fn usage(
    before: &BTreeMap<InstanceId, Sample>,
    after: &BTreeMap<InstanceId, Sample>,
    time: Duration,
) -> BTreeMap<InstanceId, Usage> {
    let milliseconds = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1);
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    let used = |id: &InstanceId, after: &Sample| {
        // Of one that was started meanwhile nothing is known yet; of processes that ended, less than was used.
        let ticks = before.get(id).map(|before| after.ticks.saturating_sub(before.ticks));
        let cpu = ticks.map(|ticks| Cpu::from_milli(ticks * 1_000_000 / (per_second * milliseconds)));
        Usage { cpu, memory: Bytes::new(after.memory) }
    };
    after.iter().map(|(id, sample)| (id.clone(), used(id, sample))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_whatever_it_calls_itself() {
        let stat = "42 (a ) b (c) S 7 42 42 0 -1 4194560 1 2 3 4 10 5 2 1 20 0 1 0 100 0 0";
        let process = parse(stat).unwrap();
        assert_eq!((process.parent, process.ticks), (7, 18));
        assert!(parse("42 (short) S").is_none());
    }

    #[test]
    fn this_process_is_found_with_its_memory() {
        let id = InstanceId("me".to_owned());
        let me = i32::try_from(std::process::id()).unwrap();
        let sample = measure(&[(id.clone(), me)])[&id];
        assert!(sample.memory > 100_000, "{sample:?}");
    }

    #[test]
    fn processor_time_is_told_per_time() {
        let id = InstanceId("one".to_owned());
        let per_second = rustix::param::clock_ticks_per_second();
        let before = BTreeMap::from([(id.clone(), Sample { ticks: 0, memory: 0 })]);
        let after = BTreeMap::from([(id.clone(), Sample { ticks: per_second / 2, memory: 4096 })]);
        let used = usage(&before, &after, Duration::from_secs(1))[&id];
        assert_eq!(used, Usage { cpu: Some(Cpu::from_milli(500)), memory: Bytes::new(4096) });
        assert_eq!(usage(&BTreeMap::new(), &after, Duration::from_secs(1))[&id].cpu, None);
    }
}
