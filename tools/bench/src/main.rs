//! `bench`: see docs/performance.md for what is measured and `bench` without arguments for how it is called.

use std::{path::Path, process::ExitCode};

use anyhow::Result;
use bench::{
    floor,
    machine::Cores,
    options::{self, Task},
    scenario,
    server::Folder,
};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match options::parse(&arguments).and_then(perform) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::from(2)
        }
    }
}

fn perform(task: Task) -> Result<ExitCode> {
    match task {
        Task::Run(run) => return scenario::run(&run),
        Task::Fanout { listen, way, bytes } => floor::fanout::serve(listen, way, bytes)?,
        Task::Follow { broker, topic } => floor::kafka::follow(broker, &topic)?,
        Task::Fsync { data, time } => println!(
            "{}",
            floor::fsync::described(&floor::fsync::measure(&data, time)?)
        ),
        Task::Accept {
            listen: Some(listen),
        } => floor::accept::serve(listen)?,
        Task::Accept { listen: None } => measure_accept(&std::env::temp_dir())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn measure_accept(parent: &Path) -> Result<()> {
    let (cores, folder) = (Cores::find()?, Folder::new(parent, "accept")?);
    for _ in 0..5 {
        let taken = floor::accept::measure(&cores, folder.path())?;
        println!(
            "{:.2} ms from start to first accept",
            taken.as_secs_f64() * 1e3
        );
    }
    Ok(())
}
