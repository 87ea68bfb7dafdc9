//! The process-wide memory guard: new calls are refused while the process has as much memory as it may have, so that it
//! is not killed in the middle of all the others.

use std::fs;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::actors::gauges::MemoryState;
use crate::actors::live::Live;
use crate::actors::metrics::resident;

/// How often it looks: a crowd of large bodies grows within some hundred milliseconds.
const POLL: Duration = Duration::from_millis(100);
/// Hundredths of a cgroup's limit from which on no call is taken, where the operator set none.
const SHARE: u64 = 85;
/// Hundredths of the limit below which calls are taken again.
const RELIEF: u64 = 95;
/// Where cgroups are, and what the file of a limit is called: version 2, then version 1.
const CGROUPS: [(&str, &str); 2] =
    [("/sys/fs/cgroup", "memory.max"), ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")];
/// Limits from here on mean that there is none.
const NO_LIMIT: u64 = 1 << 50;

/// Watches, as a task of this thread. Where the system does not say, nothing is refused.
pub fn watch(live: Live, state: MemoryState) -> JoinHandle<()> {
    let by_cgroup = cgroup_limit().map(|limit| limit / 100 * SHARE);
    tokio::task::spawn_local(async move {
        loop {
            sleep(POLL).await;
            let limit = live.load().settings.server.memory_limit.or(by_cgroup);
            // Without a limit there is nothing to look at, and nothing to refuse.
            let seen = limit.and_then(|limit| Some((resident()?, limit)));
            let tight = seen.is_some_and(|(resident, limit)| is_tight(resident, limit, state.is_tight()));
            if state.set(tight) {
                let (resident_mib, limit_mib) = seen.map_or((0, 0), |(is, most)| (is >> 20, most >> 20));
                if tight {
                    tracing::warn!(resident_mib, limit_mib, "memory is short: new calls are refused");
                } else {
                    tracing::info!(resident_mib, limit_mib, "there is memory again: calls are taken");
                }
            }
        }
    })
}

/// The least that this process's cgroup and those above it allow.
fn cgroup_limit() -> Option<u64> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    CGROUPS
        .iter()
        .flat_map(|(root, file)| folders(&own).map(move |folder| format!("{root}{folder}/{file}")))
        .filter_map(|file| limit(&fs::read_to_string(file).ok()?))
        .min()
}

/// The folders of a process's cgroups and of those above them, by `/proc/self/cgroup`; in a container there may be the
/// root alone.
fn folders(own: &str) -> impl Iterator<Item = &str> {
    let paths = own.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    let up =
        |path| std::iter::successors(Some(path), |path: &&str| path.rsplit_once('/').map(|(above, _)| above));
    paths.flat_map(up).map(|path| path.trim_end_matches('/')).chain([""])
}

/// A limit that is refused at is not taken at again before there is some room below it.
fn is_tight(resident: u64, limit: u64, was_tight: bool) -> bool {
    resident >= if was_tight { limit / 100 * RELIEF } else { limit }
}

/// The limit of a cgroup, unless it has none.
fn limit(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|limit| *limit < NO_LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_holds_until_there_is_room_below_it() {
        for (resident, was_tight, tight) in [
            (999, false, false),
            (1000, false, true),
            (999, true, true),
            (950, true, true),
            (949, true, false),
        ] {
            assert_eq!(is_tight(resident, 1000, was_tight), tight, "{resident} {was_tight}");
        }
    }

    #[test]
    fn no_limit_is_read_as_none() {
        assert_eq!(limit("1073741824\n"), Some(1 << 30));
        assert_eq!((limit("max\n"), limit("9223372036854771712"), limit("")), (None, None, None));
    }

    #[test]
    fn a_cgroup_is_below_others() {
        let found: Vec<&str> = folders("0::/system.slice/gateway.service\n").collect();
        assert_eq!(found, ["/system.slice/gateway.service", "/system.slice", "", ""]);
        assert_eq!(folders("0::/\n").collect::<Vec<_>>(), ["", "", ""]);
        assert_eq!(folders("").collect::<Vec<_>>(), [""]);
    }

    #[test]
    fn this_process_has_some_memory() {
        assert!(resident().is_some_and(|bytes| bytes > 1 << 20));
    }
}
