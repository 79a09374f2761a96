//! What processes use.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path, time::Duration};

use anyhow::Context as _;
use holdfast_tests::harness::process::resident_bytes;

/// The most memory that any of them keeps resident, in MB.
pub(crate) fn resident_megabytes(pids: &[u32]) -> anyhow::Result<f64> {
    let mut most = 0;
    for pid in pids {
        most = most.max(resident_bytes(*pid)?);
    }
    Ok(most as f64 / 1e6)
}

/// The time that all of them together have run, with that of the kernel for them.
pub(crate) fn processor_time(pids: &[u32]) -> anyhow::Result<Duration> {
    let mut ticks = 0;
    for pid in pids {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name may hold anything; utime and stime are fields 14 and 15, the state is field 3.
        let (_, rest) = stat.rsplit_once(") ").context("the stat of a process")?;
        let times = rest.split(' ').skip(11).take(2);
        for time in times {
            ticks += time.parse::<u64>()?;
        }
    }
    Ok(Duration::from_millis(ticks * TICK_MILLIS))
}

/// What the files of a folder take on disk, in MB: blocks, and not lengths.
pub(crate) fn disk_megabytes(folder: &Path) -> anyhow::Result<f64> {
    fn bytes(path: &Path) -> std::io::Result<u64> {
        let metadata = fs::symlink_metadata(path)?;
        let mut sum = metadata.blocks() * 512;
        if metadata.is_dir() {
            for entry in fs::read_dir(path)? {
                sum += bytes(&entry?.path())?;
            }
        }
        Ok(sum)
    }
    Ok(bytes(folder)? as f64 / 1e6)
}

/// Linux counts a process's time for others in hundredths of a second, on every machine.
const TICK_MILLIS: u64 = 10;

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_process_that_works_uses_time_and_no_more_than_its_threads_have() {
        let own = [std::process::id()];
        let before = processor_time(&own).unwrap();
        let began = Instant::now();
        let deadline = began + Duration::from_secs(2);
        let used = loop {
            // Work of its own, hardly any of the kernel's.
            let pause = Instant::now() + Duration::from_millis(10);
            while Instant::now() < pause {}
            let used = processor_time(&own).unwrap() - before;
            if used >= Duration::from_millis(50) {
                break used;
            }
            assert!(Instant::now() < deadline, "used {used:?}");
        };
        let threads = fs::read_dir("/proc/self/task").unwrap().count();
        let most = (began.elapsed() + Duration::from_millis(2 * TICK_MILLIS)) * threads as u32;
        assert!(used <= most, "{used:?} in {:?}", began.elapsed());
    }

    #[test]
    fn a_folder_takes_the_blocks_of_all_its_files() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("inner")).unwrap();
        fs::write(folder.path().join("inner/file"), vec![1; 1 << 20]).unwrap();
        fs::File::open(folder.path().join("inner/file"))
            .and_then(|file| file.sync_all())
            .unwrap();
        let megabytes = disk_megabytes(folder.path()).unwrap();
        assert!((1.0..1.2).contains(&megabytes), "{megabytes}");
    }
}
