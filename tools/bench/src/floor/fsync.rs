//! What one durable write costs on this disk at this minute: 8 KiB and `fdatasync`, one after the other.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use hdrhistogram::Histogram;

use crate::machine;

const BLOCK: usize = 8 * 1024;
/// The file is written before it is measured, so that no write has to grow it.
const BLOCKS: u64 = 256;

/// Writes for `time` in a file of its own in `folder`; nanoseconds for each write with its flush.
///
/// # Errors
/// The folder is in memory, where a flush proves nothing; the disk refuses.
pub fn measure(folder: &Path, time: Duration) -> Result<Histogram<u64>> {
    if machine::is_in_memory(folder) {
        anyhow::bail!(
            "{} is in memory: name a folder on a disk with --data",
            folder.display()
        );
    }
    let path = folder.join(format!("fsync-{}", std::process::id()));
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    let measured = write_for(&file, time);
    fs::remove_file(&path)?;
    measured
}

fn write_for(file: &File, time: Duration) -> Result<Histogram<u64>> {
    let block = [7; BLOCK];
    for number in 0..BLOCKS {
        file.write_all_at(&block, number * BLOCK as u64)?;
    }
    file.sync_all()?;
    let mut nanos = Histogram::new(3)?;
    let began = Instant::now();
    for number in 0.. {
        let start = Instant::now();
        if start - began >= time {
            break;
        }
        file.write_all_at(&block, number % BLOCKS * BLOCK as u64)?;
        file.sync_data()?;
        nanos.record(u64::try_from(start.elapsed().as_nanos())?)?;
    }
    Ok(nanos)
}

/// One line for a person.
pub fn described(nanos: &Histogram<u64>) -> String {
    let ms = |quantile| nanos.value_at_quantile(quantile) as f64 / 1e6;
    format!(
        "8 KiB fdatasync p50 {:.3} ms, p99 {:.3} ms ({} writes)",
        ms(0.5),
        ms(0.99),
        nanos.len()
    )
}
