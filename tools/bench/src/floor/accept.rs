//! The bare process: started, it accepts one connection, answers one byte and waits for the other end to go.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::Command,
    time::Duration,
};

use anyhow::Result;

use crate::{
    machine::Cores,
    process::{Process, free_address},
};

/// Accepts one connection at `address`.
pub fn serve(address: SocketAddr) -> Result<()> {
    let (mut stream, _) = TcpListener::bind(address)?.accept()?;
    stream.write_all(b"!")?;
    let _ = stream.read(&mut [0])?;
    Ok(())
}

/// Starts this program as [`serve`]; from just before the start to the byte that says it has accepted.
pub fn measure(cores: &Cores, folder: &Path) -> Result<Duration> {
    let address = free_address()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["floor", "accept", "--listen", &address.to_string()]);
    let mut process = Process::start(cores, command, &folder.join("accept.log"))?;
    let mut accepted = None;
    process.wait_until("it accepts", || {
        accepted = TcpStream::connect(address).ok().filter(|stream| {
            let mut stream: &TcpStream = stream;
            stream.read_exact(&mut [0]).is_ok()
        });
        accepted.is_some()
    })
}
