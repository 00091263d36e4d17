//! Rewrites `contracts/src/gen` from `proto/`. Run by `make proto`; the result is committed.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

fn main() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    let (proto, out) = (root.join("proto"), root.join("contracts/src/gen"));
    let mut files = Vec::new();
    find(&proto, &mut files)?;
    files.sort();
    let descriptors = protox::compile(&files, [&proto]).context("the protobuf files do not compile")?;
    std::fs::create_dir_all(&out)?;
    tonic_prost_build::configure()
        .out_dir(&out)
        .emit_rerun_if_changed(false)
        .compile_fds(descriptors)
        .context("the code cannot be made")?;
    Ok(())
}

fn find(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            find(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "proto") {
            files.push(path);
        }
    }
    Ok(())
}
