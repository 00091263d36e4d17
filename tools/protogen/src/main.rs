//! Rewrites `contracts/src/gen` from `proto/`: the code, and the descriptors for reflection. Run by `make proto`; the
//! result is committed.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

fn main() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    let (proto, out) = (root.join("proto"), root.join("contracts/src/gen"));
    let mut files = Vec::new();
    find(&proto, &mut files)?;
    files.sort();
    let mut compiler = protox::Compiler::new([&proto])?;
    compiler.include_imports(true).include_source_info(true);
    compiler.open_files(&files).context("the protobuf files do not compile")?;
    std::fs::create_dir_all(&out)?;
    tonic_prost_build::configure()
        .out_dir(&out)
        .emit_rerun_if_changed(false)
        .bytes(".messenger.message.v1.Event.frame")
        .compile_fds(compiler.file_descriptor_set())
        .context("the code cannot be made")?;
    // What reflection tells; without the comments.
    compiler.include_source_info(false);
    let set = compiler.encode_file_descriptor_set();
    std::fs::write(out.join("descriptors.bin"), set).context("the descriptors cannot be written")?;
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
