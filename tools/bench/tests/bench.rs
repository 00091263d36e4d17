//! The whole bench against a stand-in: every scenario runs, and every kind of lost delivery fails the run.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

const BENCH: &str = env!("CARGO_BIN_EXE_bench");

/// The stand-in that makes `mistake`, or none when it is empty.
fn standin(folder: &Path, mistake: &str) -> PathBuf {
    let program = Path::new(BENCH).with_file_name("examples").join("standin");
    let copy = folder.join(if mistake.is_empty() {
        "standin".to_owned()
    } else {
        format!("standin-{mistake}")
    });
    // A copy under another name: the program reads its mistake from it.
    let _ = fs::remove_file(&copy);
    fs::copy(program, &copy).expect("the stand-in is built as an example");
    copy
}

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder for the test");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn run(folder: &Folder, mistake: &str, scenarios: &str, rounds: &str) -> (Output, String) {
    let (program, out) = (standin(&folder.0, mistake), folder.0.join("report.md"));
    let output = Command::new(BENCH)
        .args([
            "run",
            "--reduced",
            "--scenarios",
            scenarios,
            "--rounds",
            rounds,
            "--messenger",
        ])
        .arg(program)
        .arg("--data")
        .arg(&folder.0)
        .arg("--out")
        .arg(&out)
        .output()
        .expect("the bench starts");
    (output, fs::read_to_string(out).unwrap_or_default())
}

fn text(output: &Output) -> String {
    format!(
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[test]
fn every_scenario_ends_with_its_figures_and_a_clean_tally() {
    let folder = Folder::new("all");
    let (output, page) = run(&folder, "", "F1,F2,M1,D2,T1,T100,B1", "2");
    assert!(output.status.success(), "{}", text(&output));
    for scenario in ["F1", "F2", "M1", "D2", "T1", "T100", "B1"] {
        let row = page
            .lines()
            .find(|line| line.starts_with(&format!("| {scenario} |")))
            .unwrap();
        assert!(!row.contains("failed") && !row.contains("NaN"), "{row}");
    }
    // Two rounds, three sides, (5 + 50) messages to 20 connections.
    assert!(
        page.contains("F1: 6600 delivered, 0 missing, 0 duplicate, 0 misordered"),
        "{page}"
    );
    assert!(
        page.contains("Limits are raised")
            && page.contains("fdatasync")
            && page.contains("Load average"),
        "{page}"
    );
    assert!(page.contains("is no measurement"), "{page}");
    let left = fs::read_dir(&folder.0).unwrap().count();
    assert_eq!(
        left, 2,
        "the stand-in and the report, and no folder of a server"
    );
}

#[test]
fn a_missing_delivery_fails_the_run() {
    fails("missing", "F1", "missing");
}

#[test]
fn a_duplicate_delivery_fails_the_run() {
    fails("duplicate", "T100", "duplicate");
}

#[test]
fn a_misordered_delivery_fails_the_run() {
    fails("misordered", "F2", "misordered");
}

fn fails(mistake: &str, scenario: &str, counted_as: &str) {
    let folder = Folder::new(mistake);
    let (output, page) = run(&folder, mistake, scenario, "1");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(
        page.contains("NOT EVERYTHING WAS DELIVERED") && page.contains("| void |"),
        "{page}"
    );
    assert!(!page.contains(&format!(" 0 {counted_as}")), "{page}");
}

#[test]
fn a_refused_hello_shows_what_was_sent_and_received() {
    let folder = Folder::new("refusing");
    let (output, page) = run(&folder, "refusing", "T1", "1");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    for part in [
        "sent: {\"d\":{\"proto\":1",
        "received: {\"err\":{\"code\":\"bad_token\"",
        "| T1 | **failed**",
    ] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
}

#[test]
fn a_server_that_does_not_start_is_told_with_the_end_of_its_log() {
    let folder = Folder::new("broken");
    let program = folder.0.join("broken");
    fs::write(
        &program,
        "#!/bin/sh\necho unknown key http.public\nexit 3\n",
    )
    .unwrap();
    let mut mode = fs::metadata(&program).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut mode, 0o755);
    fs::set_permissions(&program, mode).unwrap();
    let output = Command::new(BENCH)
        .args(["run", "--reduced", "--scenarios", "T1", "--messenger"])
        .arg(&program)
        .arg("--data")
        .arg(&folder.0)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output).contains("unknown key http.public"),
        "{}",
        text(&output)
    );
}

#[test]
fn the_floors_measure_themselves() {
    let folder = Folder::new("floors");
    let run = |words: &[&str]| Command::new(BENCH).args(words).output().unwrap();
    let disk = run(&[
        "floor",
        "fsync",
        "--seconds",
        "1",
        "--data",
        folder.0.to_str().unwrap(),
    ]);
    assert!(text(&disk).contains("fdatasync p50"), "{}", text(&disk));
    let accept = run(&["floor", "accept"]);
    assert_eq!(
        text(&accept)
            .matches("ms from start to first accept")
            .count(),
        5,
        "{}",
        text(&accept)
    );
}
